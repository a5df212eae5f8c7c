"""S3: whole prefixes to folders and whole folders to prefixes, many objects in parallel."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from local_aws.core.errors import validation

_PARALLEL = 16
# One request a file: over loopback, an upload in parts takes twice as long.
_WHOLE = TransferConfig(multipart_threshold=1 << 40, use_threads=False)

# As image assets and older SDKs write it: with the bucket before it, or as the first part of the path.
_S3_HOST = re.compile(r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]+)\.)?s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com")


class S3Uri(NamedTuple):
    """A bucket and a key or prefix."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> S3Uri:
        """Split `s3://bucket/key`, or the same as `https`; raises a ValidationException that shows the text."""
        # A key may hold every character, also those that end the path of an address of the web.
        scheme, _, rest = uri.partition("://")
        authority, _, path = rest.partition("/")
        if scheme == "s3" and authority:
            return cls(authority, path)
        host = _S3_HOST.fullmatch(authority) if scheme == "https" else None
        if host is None:
            raise validation(f"Expected an S3 URI like s3://bucket/key, got {uri!r}")
        if host["bucket"]:
            return cls(host["bucket"], path)
        bucket, _, key = path.partition("/")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def encryption(key: str | None) -> dict[str, str]:
    """The members of PutObject that encrypt an object with a KMS key; none without a key."""
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}


class ObjectStore:
    """Copies between S3 and folders with one shared client. Raises botocore's `ClientError` when S3 refuses."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def keys(self, uri: str, *, folders: bool = False) -> Iterator[str]:
        """Every key that starts with the URI's key, in S3's order; without `folders` no key that ends with `/`."""
        where = S3Uri.parse(uri)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=where.bucket, Prefix=where.key)
        for page in pages:
            for entry in page.get("Contents", []):
                if folders or not entry["Key"].endswith("/"):
                    yield entry["Key"]

    def download_file(self, uri: str, target: Path) -> None:
        """Download one object to `target`; a reader never sees half a file."""
        where = S3Uri.parse(uri)
        self._fetch(where.bucket, where.key, target)

    def download_prefix(self, uri: str, directory: Path) -> list[Path]:
        """Download every object under a prefix into `directory`, in the layout of a SageMaker channel.

        Returns the paths in the order of the keys.
        """
        where = S3Uri.parse(uri)
        directory.mkdir(parents=True, exist_ok=True)
        keys = list(self.keys(uri))
        targets = [_inside(directory, relative_path(where.key, key)) for key in keys]
        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(lambda pair: self._fetch(where.bucket, *pair), zip(keys, targets, strict=True)))
        return targets

    def upload_file(self, source: Path, uri: str, key: str | None = None) -> None:
        """Upload one file as one object, encrypted with a KMS key if one is given."""
        where = S3Uri.parse(uri)
        self._store(source, where.bucket, where.key, key)

    def delete(self, uri: str) -> None:
        """Delete one object; one that is gone is no error."""
        where = S3Uri.parse(uri)
        self._client.delete_object(Bucket=where.bucket, Key=where.key)

    def upload_tree(self, directory: Path, uri: str, key: str | None = None) -> list[str]:
        """Upload every file in `directory` below the prefix, joined by `/`; returns the keys, sorted."""
        where = S3Uri.parse(uri)
        prefix = where.key.rstrip("/") + "/" if where.key else ""
        files = sorted(path for path in directory.rglob("*") if path.is_file())
        keys = [prefix + path.relative_to(directory).as_posix() for path in files]

        def store(pair: tuple[Path, str]) -> None:
            self._store(pair[0], where.bucket, pair[1], key)

        with ThreadPoolExecutor(_PARALLEL) as pool:
            list(pool.map(store, zip(files, keys, strict=True)))
        return keys

    def _store(self, source: Path, bucket: str, key: str, kms_key: str | None) -> None:
        try:
            self._client.upload_file(str(source), bucket, key, ExtraArgs=encryption(kms_key), Config=_WHOLE)
        except S3UploadFailedError as error:
            # boto3 hides the answer of S3 behind an error that is no ClientError.
            if isinstance(error.__context__, ClientError):
                raise error.__context__ from None
            raise

    def _fetch(self, bucket: str, key: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
        body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
        with partial.open("wb") as file:
            for chunk in iter(lambda: body.read(1 << 20), b""):
                file.write(chunk)
        partial.replace(target)


def relative_path(prefix: str, key: str) -> str:
    """The path of the object `key` of the source `prefix` in the channel's folder.

    For `data/train/` and for `data/train`, `data/train/1.jpg` has the path `1.jpg`. A source that names one object has
    its file name. S3 prefixes are plain text, so `data/train` also has `data/train-2/1.jpg`, as `train-2/1.jpg`.
    """
    if key == prefix:
        return key.rsplit("/", 1)[-1]
    if not prefix or prefix.endswith("/"):
        return key[len(prefix) :]
    if key.startswith(prefix + "/"):
        return key[len(prefix) + 1 :]
    return key[prefix.rfind("/") + 1 :]


def _inside(directory: Path, relative: str) -> Path:
    target = (directory / relative).resolve()
    if not target.is_relative_to(directory.resolve()):
        raise validation(f"The S3 key {relative!r} would be written outside its channel's folder")
    return target
