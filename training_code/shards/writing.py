"""Writes shards: the same samples make the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from shards.lists import ShardSummary
from shards.tar_layout import BLOCK, END, member_header

DIGEST: Final = "sha256"
"""Field of a record that holds the SHA-256 of its photo."""
# Few large writes, because each one releases the interpreter and waits to get it back.
_WRITE: Final = 1024 * 1024
_JSON: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class Placed(NamedTuple):
    """Position and digest of a sample's photo in its shard."""

    offset: int
    """Of the photo's bytes."""
    sha256: str
    """Of the photo's bytes."""


class ShardWriter:
    """Writes one shard under a temporary name; `close` renames it, so a visible shard is complete."""

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
        """Append one sample. `record` must have id and count; the photo's digest is added."""
        digest = hashlib.sha256(photo).hexdigest()
        text = _JSON.encode({**record, DIGEST: digest}).encode()
        offset = self._member(f"{sample_id}{suffix}", photo)
        self._member(f"{sample_id}.json", text)
        self._records.update(text)
        self._samples += 1
        return Placed(offset, digest)

    def close(self) -> ShardSummary:
        """Finish the file, flush it to the disk and give it its name."""
        self._write(END)
        self._flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self._path)
        digests = self._digest.hexdigest(), self._records.hexdigest()
        return ShardSummary(self._path.name, self._samples, self._size, *digests)

    def discard(self) -> None:
        """Remove the temporary file."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _member(self, name: str, data: bytes) -> int:
        self._write(member_header(name, len(data)))
        offset = self._size
        self._write(data)
        self._write(bytes(-len(data) % BLOCK))
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
