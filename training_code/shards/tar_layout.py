"""The tar layout of a shard: headers of plain files, written and read in a tenth of tarfile's time.

The format is USTAR. All members are plain files with ASCII names, the same mode, no owner and no time, so the same
samples make the same bytes.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Final

from shards.lists import ShardError

BLOCK: Final = tarfile.BLOCKSIZE
"""Bytes of a header; the content of a member is filled up to a multiple of it."""
END: Final = bytes(2 * BLOCK)
"""Marks the end of a shard."""


def _common_header() -> bytes:
    info = tarfile.TarInfo()
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


# The parts that all headers share, around name (at 0), size (at 124) and checksum (at 148).
_NAME_BYTES: Final = tarfile.LENGTH_NAME
_COMMON: Final = _common_header()
_BEFORE_SIZE, _MODIFIED, _AFTER_CHECKSUM = _COMMON[_NAME_BYTES:124], _COMMON[136:148], _COMMON[156:]
# The checksum is the sum of all bytes, with spaces in its place.
_COMMON_SUM: Final = sum(_BEFORE_SIZE) + sum(_MODIFIED) + sum(_AFTER_CHECKSUM) + 8 * ord(" ")


def member_header(name: str, size: int) -> bytes:
    """The header of a plain file of `size` bytes: only name, size and checksum differ from member to member.

    Raises ShardError for a name that is not ASCII or too long.
    """
    field = name.encode().ljust(_NAME_BYTES, b"\0")
    if len(field) > _NAME_BYTES or not name.isascii():
        raise ShardError(f"{name!r} cannot be a member's name: it needs ASCII, {_NAME_BYTES} characters at most")
    length = b"%011o\0" % size
    checksum = _COMMON_SUM + sum(field) + sum(length)
    return b"%b%b%b%b%06o\0 %b" % (field, _BEFORE_SIZE, length, _MODIFIED, checksum, _AFTER_CHECKSUM)


def parse_header(header: bytes, path: Path, offset: int) -> tuple[str, int]:
    """Name and size of the member whose header stands at `offset` of a shard. Raises ShardError for no plain file."""
    try:
        if sum(header) - sum(header[148:156]) + 8 * ord(" ") != int(header[148:156].strip(b"\0 "), 8):
            raise ValueError("bad checksum")
        name, size = header[:100].rstrip(b"\0").decode("ascii"), int(header[124:136].strip(b"\0 "), 8)
    except ValueError as error:
        raise ShardError(f"{path} is damaged at byte {offset}: {error}; ingest it again") from error
    if header[156:157] not in (tarfile.REGTYPE, tarfile.AREGTYPE) or size < 0:
        raise ShardError(f"{path}: member {name!r} is not a plain file")
    return name, size
