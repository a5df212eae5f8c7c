"""Shards: tar files in WebDataset's layout; the same samples make the same bytes, and they are read without unpacking.

A sample is two neighbouring members, the photo `<id>.jpg` or `<id>.png` and `<id>.json`
(`{"count": 3, "id": "00231", "items": ["B000A59POM"], "sha256": ..., ...}`), so any tar tool or WebDataset reads them
too. Every photo is held to the digest in its record, and the records of a shard to the list of shards beside it.

    for sample in read_shards("train/"):          # sequential, constant memory
        ...
    index = ShardIndex("train/")                  # random access
    index[7].photo, index.counts, index.ids
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from shard_lists import ShardError as ShardError
from shard_lists import ShardLists
from shard_lists import ShardSummary as ShardSummary
from shard_lists import list_shards as list_shards

_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * _BLOCK)
# Few large writes: each hands the interpreter to another thread and waits to have it back.
_WRITE: Final = 1024 * 1024
_DIGEST: Final = "sha256"
PHOTO_SUFFIXES: Final = (".jpg", ".png")
_JSON: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def _common_header() -> bytes:
    info = tarfile.TarInfo()
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


# What all headers have in common, around name (at 0), size (at 124) and checksum (at 148).
_NAME_BYTES: Final = tarfile.LENGTH_NAME
_COMMON: Final = _common_header()
_BEFORE_SIZE, _MODIFIED, _AFTER_CHECKSUM = _COMMON[_NAME_BYTES:124], _COMMON[136:148], _COMMON[156:]
# The checksum is the sum of all bytes with spaces in its own place.
_COMMON_SUM: Final = sum(_BEFORE_SIZE) + sum(_MODIFIED) + sum(_AFTER_CHECKSUM) + 8 * ord(" ")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled bin photo."""

    id: str
    photo: bytes
    """Encoded: in the training split a small JPEG, in the others the bytes that the source had, JPEG or PNG."""
    count: int
    """Items in the bin, 1..5."""
    items: tuple[str, ...] = ()
    """The SKUs recorded in the bin; empty where only a count was known."""
    width: int = 0
    height: int = 0
    """Pixels of the photo as the source had it; 0 where unknown."""


class Placed(NamedTuple):
    """Where a sample's photo lies in its shard, and what it is."""

    offset: int
    """Of the photo's bytes."""
    sha256: str
    """Of the photo's bytes."""


class ShardWriter:
    """Writes one shard under a temporary name; `close` gives it its own, so a shard that is seen is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._digest = hashlib.sha256()
        self._records = hashlib.sha256()
        self._buffer = bytearray()
        self._size = 0
        self._samples = 0
        self._file: BinaryIO = self._part.open("wb")

    def add(self, sample_id: str, photo: bytes, record: dict[str, Any], *, suffix: str = ".jpg") -> Placed:
        """Append one sample. `record` must hold id and count; the photo's digest is added to it."""
        digest = hashlib.sha256(photo).hexdigest()
        text = _JSON.encode({**record, _DIGEST: digest}).encode()
        offset = self._member(f"{sample_id}{suffix}", photo)
        self._member(f"{sample_id}.json", text)
        self._records.update(text)
        self._samples += 1
        return Placed(offset, digest)

    def close(self) -> ShardSummary:
        """Finish the file, flush it to the disk and publish it under its own name."""
        self._write(_END)
        self._flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self._path)
        digests = self._digest.hexdigest(), self._records.hexdigest()
        return ShardSummary(self._path.name, self._samples, self._size, *digests)

    def discard(self) -> None:
        """Drop what was written; nothing appears under the shard's name."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _member(self, name: str, data: bytes) -> int:
        self._write(_header(name, len(data)))
        offset = self._size
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))
        return offset

    def _write(self, data: bytes) -> None:
        self._buffer += data
        self._size += len(data)
        if len(self._buffer) >= _WRITE:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._buffer)
        self._digest.update(self._buffer)
        self._buffer.clear()


def _header(name: str, size: int) -> bytes:
    """The USTAR header of a plain file: tarfile's bytes in a tenth of its time, since only three fields ever change."""
    field = name.encode().ljust(_NAME_BYTES, b"\0")
    if len(field) > _NAME_BYTES or not name.isascii():
        raise ShardError(f"{name!r} cannot be a member's name: it needs ASCII, {_NAME_BYTES} characters at most")
    length = b"%011o\0" % size
    checksum = _COMMON_SUM + sum(field) + sum(length)
    return b"%b%b%b%b%06o\0 %b" % (field, _BEFORE_SIZE, length, _MODIFIED, checksum, _AFTER_CHECKSUM)


LeftOut = Callable[[str, str], None]
"""Is given the id of a photo that is damaged, and how that shows."""


def read_shards(shards: str | Path | Iterable[Path], left_out: LeftOut | None = None) -> Iterator[Sample]:
    """Every sample of a folder of shards, or of the shards given, in order, holding one sample at a time.

    A photo that is damaged is reported to `left_out`, and the next one follows; without it, it raises ShardError. What
    was read of a shard counts only once its end is reached: then its records are held to its list, or ShardError.
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
    """Random access to a folder of shards. Reads every record once when built (not the photos), then one sample a call.

    Raises ShardError when built for a shard whose records are not those of its list, and at a call for a photo that is
    damaged. Safe to share between threads and to send to another process: files are opened on use.
    """

    def __init__(self, shards: str | Path | Iterable[Path]) -> None:
        self.paths: list[Path] = list_shards(shards) if isinstance(shards, str | Path) else list(shards)
        self.ids: list[str] = []
        self.counts: list[int] = []
        self.records: list[Sample] = []
        """Every sample without its photo."""
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
    """A shard while it is read through: its members, and at the end whether they are what its list says."""

    def __init__(self, stream: BinaryIO, path: Path, entry: ShardSummary) -> None:
        self._stream = stream
        self._path = path
        self._entry = entry

    def pairs(self, *, skip_photos: bool = False) -> Iterator[tuple[_Member, _Member]]:
        """Photo and record of every sample. Raises ShardError for what is no shard, and at the end for another one."""
        records, samples = hashlib.sha256(), 0
        while (photo := _next_member(self._stream, self._path, skip=skip_photos)) is not None:
            record = _next_member(self._stream, self._path, skip=False)
            key, suffix = os.path.splitext(photo.name)
            if record is None or suffix not in PHOTO_SUFFIXES or record.name != f"{key}.json":
                raise ShardError(f"{self._path}: member {photo.name!r} is not followed by its record {key}.json")
            records.update(record.data)
            samples += 1
            yield photo, record
        entry, ends_at = self._entry, self._stream.tell() + _BLOCK
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
    header = stream.read(_BLOCK)
    if not header.strip(b"\0"):
        if len(header) < _BLOCK:
            raise ShardError(f"{path} has no end mark; it was cut while being written or copied, ingest it again")
        return None
    name, size = _parse_header(header, path, stream.tell() - len(header))
    offset = stream.tell()
    padded = size + -size % _BLOCK
    if skip:
        stream.seek(padded, io.SEEK_CUR)
        return _Member(name, offset, size, b"")
    data = stream.read(padded)
    if len(data) != padded:
        raise ShardError(f"{path} ends inside member {name!r}; it was cut, ingest it again")
    return _Member(name, offset, size, data[:size])


def _parse_header(header: bytes, path: Path, offset: int) -> tuple[str, int]:
    """Name and size from a plain file's header. tarfile reads one too, in ten times the time."""
    try:
        if sum(header) - sum(header[148:156]) + 8 * ord(" ") != int(header[148:156].strip(b"\0 "), 8):
            raise ValueError("bad checksum")
        name, size = header[:100].rstrip(b"\0").decode("ascii"), int(header[124:136].strip(b"\0 "), 8)
    except ValueError as error:
        raise ShardError(f"{path} is damaged at byte {offset}: {error}; ingest it again") from error
    if header[156:157] not in (tarfile.REGTYPE, tarfile.AREGTYPE) or size < 0:
        raise ShardError(f"{path}: member {name!r} is not a plain file")
    return name, size


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
        )
        digest = str(record[_DIGEST])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ShardError(
            f"{path}: record {record_member.name!r} has no readable id and count, or no digest of its photo; "
            "ingest it again"
        ) from error
    if f"{sample.id}.json" != record_member.name:
        raise ShardError(f"{path}: record {record_member.name!r} is of photo {sample.id}; ingest it again")
    return sample, digest
