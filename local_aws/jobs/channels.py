"""Input data of jobs: the objects of a data source, downloaded into the layout of a channel.

Each object is downloaded once, stored by its ETag and linked into the folder of every job, so that five trials share
one download. When a job has written into such a file, its time stamp differs and the object is downloaded again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.errors import AwsError
from local_aws.core.objects import S3Uri, relative_path

_PARALLEL = 8


class DataError(Exception):
    """Input that cannot be read; the message is the job's FailureReason."""


class RemoteObject(NamedTuple):
    """One object of a data source, and its path in the channel's folder."""

    bucket: str
    key: str
    etag: str
    path: str


class ObjectName(NamedTuple):
    """The address of one object of a data source, and its path relative to the source."""

    bucket: str
    key: str
    path: str


@dataclass(frozen=True)
class DataSource:
    """Where data come from, as S3DataSource and ProcessingS3Input describe it.

    Args:
        uri: prefix, or manifest file for `ManifestFile`.
        kind: `S3Prefix` or `ManifestFile`.
        sharded: each machine gets every n-th object instead of all objects.
    """

    uri: str
    kind: str = "S3Prefix"
    sharded: bool = False


class Downloader:
    """Downloads data sources into folders.

    Args:
        client: boto3's S3 client.
        folder: of the downloaded objects, on the same file system as the jobs' folders.
    """

    def __init__(self, client: Any, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._known: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def using(self, client: Any) -> Downloader:
        """A downloader with the same cache of objects and another client's rights."""
        other = copy.copy(self)
        other._client = client
        return other

    def fetch(self, source: DataSource, target: Path, *, role: str, machine: int = 0, machines: int = 1) -> int:
        """Put the machine's part of a source into `target`; returns the number of files. Raises `DataError`."""
        target.mkdir(parents=True, exist_ok=True)
        try:
            objects = sorted(self._objects(source), key=lambda item: item.key)
        except (AwsError, ClientError, BotoCoreError, ValueError) as error:
            raise DataError(_nothing_found(source.uri, role, str(error))) from error
        if not objects:
            raise DataError(_nothing_found(source.uri, role, "no object has this prefix"))
        mine = objects[machine::machines] if source.sharded else objects
        try:
            with ThreadPoolExecutor(_PARALLEL) as pool:
                for _ in pool.map(lambda item: self._place(item, target), mine):
                    pass
        except (ClientError, BotoCoreError, OSError) as error:
            raise DataError(f"ClientError: Data download failed: {source.uri}: {error}") from error
        return len(mine)

    def names(self, source: DataSource) -> Iterator[ObjectName]:
        """The objects of a source in their order. Raises `DataError`; an empty source is allowed."""
        try:
            if source.kind == "ManifestFile":
                yield from self._manifest_names(source.uri)
            else:
                for item in self._prefix(source.uri):
                    yield ObjectName(item.bucket, item.key, item.path)
        except (AwsError, ClientError, BotoCoreError, ValueError) as error:
            raise DataError(f"ClientError: {source.uri} cannot be read: {error}") from error

    def list(self, uri: str) -> list[RemoteObject]:
        """The objects under a prefix; there may be none."""
        return list(self._prefix(uri))

    def place_copy(self, item: RemoteObject, target: Path) -> None:
        """Download one object to a file that the job may change."""
        path = _inside(target, item.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._download(item, path)

    def _objects(self, source: DataSource) -> Iterator[RemoteObject]:
        if source.kind == "ManifestFile":
            yield from self._manifest(source.uri)
        else:
            yield from self._prefix(source.uri)

    def _prefix(self, uri: str) -> Iterator[RemoteObject]:
        where = S3Uri.parse(uri)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=where.bucket, Prefix=where.key)
        for page in pages:
            for entry in page.get("Contents", []):
                key = entry["Key"]
                if not key.endswith("/"):
                    yield RemoteObject(where.bucket, key, entry["ETag"].strip('"'), relative_path(where.key, key))

    def _manifest(self, uri: str) -> Iterator[RemoteObject]:
        for bucket, key, path in self._manifest_names(uri):
            head = self._client.head_object(Bucket=bucket, Key=key)
            yield RemoteObject(bucket, key, head["ETag"].strip('"'), path)

    def _manifest_names(self, uri: str) -> Iterator[ObjectName]:
        where = S3Uri.parse(uri)
        lines = json.loads(self._client.get_object(Bucket=where.bucket, Key=where.key)["Body"].read())
        if not isinstance(lines, list) or not lines or not isinstance(lines[0], dict) or "prefix" not in lines[0]:
            raise DataError(f"ClientError: Invalid manifest {uri}: the first entry must be an object with a prefix")
        base = S3Uri.parse(lines[0]["prefix"])
        for name in lines[1:]:
            yield ObjectName(base.bucket, base.key + str(name), str(name))

    def _place(self, item: RemoteObject, target: Path) -> None:
        path = _inside(target, item.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        identity = "\n".join((item.bucket, item.key, item.etag))
        kept = self._folder / hashlib.sha256(identity.encode()).hexdigest()
        if not self._unchanged(identity, kept):
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = kept.with_name(f"{kept.name}.{threading.get_ident()}")
            self._download(item, partial)
            partial.chmod(0o444)
            state = partial.stat()
            with self._lock:
                partial.replace(kept)
                self._known[identity] = (state.st_size, state.st_mtime_ns)
        try:
            os.link(kept, path)
        except FileExistsError:
            raise DataError(f"ClientError: two objects of the input have the path {item.path!r}") from None
        except OSError:  # on another file system
            shutil.copyfile(kept, path)

    def _unchanged(self, identity: str, kept: Path) -> bool:
        with self._lock:
            known = self._known.get(identity)
        if known is None or not kept.exists():
            return False
        state = kept.stat()
        return known == (state.st_size, state.st_mtime_ns)

    def _download(self, item: RemoteObject, path: Path) -> None:
        body = self._client.get_object(Bucket=item.bucket, Key=item.key)["Body"]
        with path.open("wb") as file:
            for chunk in body.iter_chunks(1 << 20):
                file.write(chunk)


def _inside(folder: Path, relative: str) -> Path:
    path = Path(os.path.normpath(folder / relative))
    if not path.is_relative_to(folder) or path == folder:
        raise DataError(f"ClientError: the object name {relative!r} would lie outside its channel's folder")
    return path


def _nothing_found(uri: str, role: str, detail: str) -> str:
    bucket = uri.removeprefix("s3://").split("/", 1)[0]
    return (
        f'ClientError: Data download failed:No S3 objects found under S3 URL "{uri}" given in input data source. '
        "Please ensure that the bucket exists in the selected region, that objects exist under that S3 prefix, and "
        f'that the role "{role}" has "s3:ListBucket" permissions on bucket "{bucket}". Error message from S3: {detail}'
    )
