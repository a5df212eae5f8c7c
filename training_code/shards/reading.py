"""Reads shards without unpacking them: in order with constant memory, or at random.

    for sample in read_shards("train/"):
        ...
    index = ShardIndex("train/")
    index[7].photo, index.counts, index.ids

Every photo is compared with the digest in its record, and the records of a shard with the list of shards beside it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from shards.lists import ShardError, ShardLists, ShardSummary, list_shards
from shards.tar_layout import BLOCK, parse_header
from shards.writing import DIGEST

PHOTO_SUFFIXES: Final = (".jpg", ".png")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled bin photo."""

    id: str
    photo: bytes
    """Encoded: in the training split a small JPEG, in the others the bytes of the source, JPEG or PNG."""
    count: int
    """Items in the bin, 1..5."""
    items: tuple[str, ...] = ()
    """The SKUs recorded in the bin; empty where only a count was known."""
    width: int = 0
    height: int = 0
    """Pixels of the photo as the source had it; 0 where unknown."""
    block: str = ""
    """The block of neighbouring ids by which Ingest has put it into a split; empty where unknown."""


ReportDamage = Callable[[str, str], None]
"""Called with the id of a damaged photo and the evidence."""


def read_shards(shards: str | Path | Iterable[Path], left_out: ReportDamage | None = None) -> Iterator[Sample]:
    """Every sample of a folder of shards, or of the given shards, in order, with one sample in memory.

    A damaged photo is reported to `left_out` and skipped; without `left_out` it raises ShardError. At the end of each
    shard its records are compared with the list, which may raise ShardError: only then its samples are trustworthy.
    """
    lists = ShardLists()
    for path in list_shards(shards) if isinstance(shards, str | Path) else shards:
        with _opened(path, lists.of(path)) as shard:
            for photo_member, record_member in shard.pairs():
                sample, digest = _sample(photo_member, record_member, path)
                if hashlib.sha256(sample.photo).hexdigest() == digest:
                    yield sample
                    continue
                error = _damaged_photo(path, sample.id)
                if left_out is None:
                    raise error
                left_out(sample.id, str(error))


class ShardIndex(Sequence[Sample]):
    """Random access to a folder of shards. The constructor reads every record; each access reads one photo.

    The constructor raises ShardError for a shard whose records do not match its list, an access for a damaged photo.
    Safe to share between threads and to send to another process: files are opened on use.
    """

    def __init__(self, shards: str | Path | Iterable[Path]) -> None:
        self.paths: list[Path] = list_shards(shards) if isinstance(shards, str | Path) else list(shards)
        self.ids: list[str] = []
        self.counts: list[int] = []
        self.records: list[Sample] = []
        """Every sample, without its photo."""
        self._places: list[tuple[int, int, int, str]] = []
        lists = ShardLists()
        for number, path in enumerate(self.paths):
            self._scan(number, path, lists)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number, offset, size, digest = self._places[index]
        photo = read_at(self.paths[number], offset, size)
        if hashlib.sha256(photo).hexdigest() != digest:
            raise _damaged_photo(self.paths[number], self.ids[index])
        return replace(self.records[index], photo=photo)

    def _scan(self, number: int, path: Path, lists: ShardLists) -> None:
        with _opened(path, lists.of(path)) as shard:
            for photo_member, record_member in shard.pairs(skip_photos=True):
                sample, digest = _sample(photo_member, record_member, path)
                self.ids.append(sample.id)
                self.counts.append(sample.count)
                self.records.append(sample)
                self._places.append((number, photo_member.offset, photo_member.size, digest))


def _damaged_photo(path: Path, sample_id: str) -> ShardError:
    return ShardError(f"{path}: photo {sample_id} is damaged, it is not the one that its record names; ingest it again")


def read_at(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes of a shard from `offset`, as `ShardWriter.add` reported them."""
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(size)
    if len(data) != size:
        raise ShardError(f"{path} ends before byte {offset + size}; it was cut, ingest it again")
    return data


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    offset: int
    size: int
    data: bytes


class _OpenShard:
    """A shard that is read in order: its members, and at the end their comparison with the list."""

    def __init__(self, stream: BinaryIO, path: Path, entry: ShardSummary) -> None:
        self._stream = stream
        self._path = path
        self._entry = entry

    def pairs(self, *, skip_photos: bool = False) -> Iterator[tuple[_Member, _Member]]:
        """Photo and record of every sample. Raises ShardError for a malformed shard, and at the end for a wrong one."""
        records, samples = hashlib.sha256(), 0
        while (photo := _next_member(self._stream, self._path, skip=skip_photos)) is not None:
            record = _next_member(self._stream, self._path, skip=False)
            key, suffix = os.path.splitext(photo.name)
            if record is None or suffix not in PHOTO_SUFFIXES or record.name != f"{key}.json":
                raise ShardError(f"{self._path}: member {photo.name!r} is not followed by its record {key}.json")
            records.update(record.data)
            samples += 1
            yield photo, record
        entry, ends_at = self._entry, self._stream.tell() + BLOCK
        if ends_at != entry.size or samples != entry.samples:
            raise ShardError(
                f"{self._path} is damaged: it ends after {samples} of {entry.samples} samples, at byte {ends_at} of "
                f"{entry.size}; ingest it again"
            )
        if records.hexdigest() != entry.records:
            raise ShardError(f"{self._path} is damaged: its records are not those that its list names; ingest it again")


@contextmanager
def _opened(path: Path, entry: ShardSummary) -> Iterator[_OpenShard]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ShardError(f"{path} cannot be read ({error.strerror}), its list names it; ingest it again") from error
    with stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if size != entry.size:
            raise ShardError(
                f"{path} has {size} bytes, its list says {entry.size}; it was cut or replaced, ingest again"
            )
        yield _OpenShard(stream, path, entry)


def _next_member(stream: BinaryIO, path: Path, *, skip: bool) -> _Member | None:
    header = stream.read(BLOCK)
    if not header.strip(b"\0"):
        if len(header) < BLOCK:
            raise ShardError(f"{path} has no end mark; it was cut while being written or copied, ingest it again")
        return None
    name, size = parse_header(header, path, stream.tell() - len(header))
    offset = stream.tell()
    padded = size + -size % BLOCK
    if skip:
        stream.seek(padded, io.SEEK_CUR)
        return _Member(name, offset, size, b"")
    data = stream.read(padded)
    if len(data) != padded:
        raise ShardError(f"{path} ends inside member {name!r}; it was cut, ingest it again")
    return _Member(name, offset, size, data[:size])


def _sample(photo: _Member, record_member: _Member, path: Path) -> tuple[Sample, str]:
    """The sample and the digest that its photo must have."""
    try:
        record = json.loads(record_member.data)
        sample = Sample(
            id=str(record["id"]),
            photo=photo.data,
            count=int(record["count"]),
            items=tuple(record.get("items", ())),
            width=int(record.get("width", 0)),
            height=int(record.get("height", 0)),
            # Half a million photos share some thousand names.
            block=sys.intern(str(record.get("block", ""))),
        )
        digest = str(record[DIGEST])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ShardError(
            f"{path}: record {record_member.name!r} has no readable id and count, or no digest of its photo; "
            "ingest it again"
        ) from error
    if f"{sample.id}.json" != record_member.name:
        raise ShardError(f"{path}: record {record_member.name!r} is of photo {sample.id}; ingest it again")
    return sample, digest
