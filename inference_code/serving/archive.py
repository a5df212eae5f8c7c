"""Archives of plain files, unpacked without trust: nothing is written before every header has been read and checked."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import IO, Final, cast

MAX_MEMBERS: Final = 64
# Names of any length that a person would give. tarfile reads a header into memory whole, whatever length it claims.
MAX_HEADER_BYTES: Final = 256 * 1024


class ArchiveError(Exception):
    """The archive is broken, unsafe or too large; the message says which."""


def unpack_files(archive: Path, folder: Path, *, max_bytes: int) -> None:
    """Unpack a .tar.gz of at most MAX_MEMBERS plain files and folders, and `max_bytes` of content, into a folder.

    Raises ArchiveError for links, devices, absolute paths, paths with `..`, sparse files, and for more members, bytes
    or headers than that, before anything is written.
    """
    try:
        with gzip.open(archive) as stream:
            bounded = _BoundedStream(stream, max_bytes)
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r:") as tar:
                members = _checked(tar, folder, max_bytes)
                bounded.allow_content()
                tar.extractall(folder, members, filter="data")
    except ArchiveError:
        raise
    # Parsers of hostile bytes fail in every way there is (struct.error, RecursionError, ...): all mean the same here.
    except Exception as error:
        raise ArchiveError(f"{archive.name} cannot be unpacked: {error}") from error


def _checked(tar: tarfile.TarFile, folder: Path, max_bytes: int) -> list[tarfile.TarInfo]:
    members: list[tarfile.TarInfo] = []
    total = 0
    for member in tar:
        total += member.size
        if not (member.isreg() or member.isdir()) or member.issparse():
            raise ArchiveError(f"{member.name!r} is no plain file; a model holds nothing else")
        if not (folder / member.name).resolve().is_relative_to(folder.resolve()):
            raise ArchiveError(f"{member.name!r} would be written outside the model's folder")
        if len(members) >= MAX_MEMBERS or total > max_bytes or member.size < 0:
            raise ArchiveError(f"the archive unpacks to more than {MAX_MEMBERS} files or {max_bytes} bytes")
        members.append(member)
    return members


class _BoundedStream:
    """The decompressed bytes of an archive, of which headers may have few and content may have `max_bytes`."""

    def __init__(self, stream: gzip.GzipFile, max_bytes: int) -> None:
        self._stream = stream
        self._last = max_bytes + MAX_MEMBERS * tarfile.RECORDSIZE + MAX_HEADER_BYTES
        self._left: int | None = MAX_HEADER_BYTES

    def allow_content(self) -> None:
        """From now on, contents are read."""
        self._left = None

    def read(self, size: int = -1) -> bytes:
        if self._left is not None:
            self._left -= size
            if size < 0 or self._left < 0:
                raise ArchiveError(f"the archive has more than {MAX_HEADER_BYTES} bytes of headers")
        return self._stream.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        if position > self._last:
            raise ArchiveError(f"the archive unpacks to more than {self._last} bytes")
        return self._stream.seek(position, whence)

    def tell(self) -> int:
        return self._stream.tell()
