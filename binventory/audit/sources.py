"""Where bins come from: a folder or an S3 prefix with photos, and metadata beside them or a CSV of records.

Both are read in listing order and never held whole: the ledger ranks the bins later.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from botocore.exceptions import ClientError

from binventory.batch.transform import MAX_PHOTO_BYTES as MAX_TRANSFORMED_BYTES
from binventory.core.aws import Aws, error_code
from binventory.core.contents import bucket_and_key
from binventory.core.errors import Exit, Problem
from binventory.core.objects import PAUSE, read_whole
from binventory.core.quick_objects import QuickObjects
from binventory.records import ids
from binventory.records.errors import RecordError
from binventory.records.metadata import MAX_METADATA_BYTES, Record, read_metadata

PHOTO_FOLDER: Final = "bin-images"
METADATA_FOLDER: Final = "metadata"
MAX_PHOTO_BYTES: Final = 16 * 1024 * 1024
_PAUSE: Final = PAUSE


class PhotoUnreadableError(Exception):
    """A photo cannot be read. `reason` is a stable code: no_photo, photo_too_large, outside."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Store(Protocol):
    """Files below a root, by relative path with forward slashes."""

    @property
    def address(self) -> str:
        """The root, as people write it."""

    def names(self, folder: str) -> Iterator[str]:
        """Names of the files directly in `folder` ("" is the root), sorted."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The file, at most limit + 1 bytes of it; None when there is none."""


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin to audit: the path of its photo, and how to read its record."""

    image_id: str
    photo: str
    """Path below the store's root."""
    record: Callable[[], Record]
    """Reads the record; raises RecordError."""


@dataclass(frozen=True)
class Folder:
    """A local folder."""

    root: Path

    @property
    def address(self) -> str:
        """The folder as given."""
        return str(self.root)

    def names(self, folder: str) -> Iterator[str]:
        """File names, as S3 sorts keys; one in another encoding than the system's has `\\xe9` for a byte that is none.

        No id has such a name, so it is set aside by that, and no file of that name is looked for.
        """
        place = self.root / folder
        if place.is_dir():
            with os.scandir(place) as entries:
                listed = sorted((entry.name for entry in entries if entry.is_file()), key=os.fsencode)
            yield from (os.fsencode(name).decode(errors="backslashreplace") for name in listed)

    def read(self, path: str, limit: int) -> bytes | None:
        """Refuses paths that lead out of the folder."""
        target = (self.root / path).resolve()
        if not target.is_relative_to(self.root.resolve()):
            raise PhotoUnreadableError("outside", f"{path[:120]!r} leads out of {self.root}")
        try:
            with target.open("rb") as stream:
                return stream.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None


@dataclass(frozen=True)
class Prefix:
    """An S3 prefix."""

    aws: Aws
    bucket: str
    prefix: str
    """Empty, or ends with a slash."""
    large: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    """Bytes of the listed files that no transform job takes, by path."""
    quick: QuickObjects = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quick", QuickObjects(self.aws, self.bucket))

    @classmethod
    def parse(cls, aws: Aws, uri: str) -> Prefix:
        """From `s3://bucket/prefix`."""
        bucket, prefix = bucket_and_key(uri)
        if not uri.startswith("s3://") or not bucket:
            raise Problem(f"{uri} is no S3 prefix", "it has no bucket", "write s3://bucket/prefix/", code=Exit.USAGE)
        return cls(aws, bucket, prefix if not prefix or prefix.endswith("/") else prefix + "/")

    @property
    def address(self) -> str:
        """The prefix as an S3 URI."""
        return f"s3://{self.bucket}/{self.prefix}"

    def names(self, folder: str) -> Iterator[str]:
        """Object names directly below, page by page. The key of the folder, which a console makes, is no file in it."""
        start = f"{self.prefix}{folder}/" if folder else self.prefix
        pages = self.aws.client("s3").get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=start, Delimiter="/"):
            for entry in page.get("Contents", []):
                if entry["Key"] == start:
                    continue
                if entry["Size"] > MAX_TRANSFORMED_BYTES:
                    self.large[str(entry["Key"])[len(self.prefix) :]] = int(entry["Size"])
                yield str(entry["Key"])[len(start) :]

    def size(self, path: str) -> int | None:
        """Bytes of an object, unread; None when there is none."""
        try:
            return int(self.aws.client("s3").head_object(Bucket=self.bucket, Key=self.prefix + path)["ContentLength"])
        except ClientError as error:
            if error_code(error) in {"NoSuchKey", "404"}:
                return None
            raise

    def changed(self, paths: Collection[str]) -> datetime | None:
        """When the last of these objects was written; None where there is none of them. It lists their folder."""
        keys = {self.prefix + path for path in paths}
        folders = {key.rpartition("/")[0] for key in keys}
        start = f"{folders.pop()}/" if len(folders) == 1 and folders != {""} else self.prefix
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
        found = (entry for page in pages for entry in page.get("Contents", []) if entry["Key"] in keys)
        return max((entry["LastModified"] for entry in found), default=None)

    def read(self, path: str, limit: int) -> bytes | None:
        """Reads the object's first limit + 1 bytes, again where the connection ends before they are there.

        Raises Problem when they never arrive: that says nothing about the bin.
        """
        if (data := self.quick.read(self.prefix + path, limit)) is not None:
            return data
        where = {"Bucket": self.bucket, "Key": self.prefix + path}
        try:
            get = partial(self.aws.client("s3").get_object, **where)
            return read_whole(get, f"{self.address}{path}", most=limit + 1, pause=_PAUSE)
        except ClientError as error:
            if error_code(error) in {"NoSuchKey", "404"}:
                return None
            raise


def read_photo(store: Store, path: str) -> bytes:
    """The photo's bytes. Raises PhotoUnreadableError."""
    data = store.read(path, MAX_PHOTO_BYTES)
    if data is None:
        raise PhotoUnreadableError("no_photo", f"there is no photo {path[:200]}")
    if len(data) > MAX_PHOTO_BYTES:
        raise PhotoUnreadableError("photo_too_large", f"{path[:200]} has more than {MAX_PHOTO_BYTES} bytes")
    return data


def bins_with_metadata(store: Store) -> Iterator[Bin]:
    """Bins of a store laid out like the public bucket: `bin-images/<id>.jpg` and `metadata/<id>.json`."""
    photos = (name for name in store.names(PHOTO_FOLDER) if ids.is_photo(name))
    # In the order of the names, those that begin with the same id are neighbours.
    for _, group in itertools.groupby(photos, key=lambda name: name.partition(".")[0]):
        first: dict[str, str] = {}
        for name in sorted(group, key=ids.preference):
            stem, path = PurePosixPath(name).stem, f"{PHOTO_FOLDER}/{name}"
            if first.setdefault(stem, name) is name:
                yield Bin(stem, path, _metadata_reader(store, stem))
            else:
                yield second_bin(path, name, first[stem])


def photo_folder(store: Store) -> str:
    """`bin-images/` where the store has such a folder with files, else its root ("")."""
    return f"{PHOTO_FOLDER}/" if next(iter(store.names(PHOTO_FOLDER)), None) else ""


def _metadata_reader(store: Store, image_id: str) -> Callable[[], Record]:
    def read() -> Record:
        ids.checked_id(image_id)
        data = store.read(f"{METADATA_FOLDER}/{image_id}.json", MAX_METADATA_BYTES)
        if data is None:
            raise RecordError("metadata_missing", f"there is no {METADATA_FOLDER}/{image_id}.json")
        return read_metadata(image_id, data)

    return read


def second_bin(path: str, name: str, first: str) -> Bin:
    """Names a photo that is not used, because its bin has another one."""

    def refuse() -> Record:
        raise ids.second_photo(name, first)

    return Bin(path, path, refuse)
