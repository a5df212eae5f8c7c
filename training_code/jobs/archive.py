"""Archives: the same files make the same bytes, and unpacking trusts no archive."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from jobs.container import JobError
from serving.archive import ArchiveError, unpack_files

_LARGEST = 2 * 1024**3


def write_archive(path: Path, files: Mapping[str, Path]) -> None:
    """Write a .tar.gz of name -> file. It contains no time, owner or mode of this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Stored: weights hardly compress, and different versions of zlib compress to different bytes.
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in sorted(files):
            data = files[name].read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def open_archive(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz of plain files. Raises JobError for anything that points outside, links, or is too large."""
    try:
        unpack_files(archive, folder, max_bytes=_LARGEST)
    except ArchiveError as error:
        raise JobError(str(error)) from error
