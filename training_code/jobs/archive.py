"""Archives: the same files make the same bytes, and unpacking trusts no archive."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from jobs.container import JobError

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
        with tarfile.open(archive, "r:gz") as tar:
            members = tar.getmembers()
            odd = [member.name for member in members if not (member.isreg() or member.isdir())]
            if odd:
                raise JobError(f"{archive.name}: member {odd[0]!r} is no plain file; a model holds nothing else")
            if sum(member.size for member in members) > _LARGEST:
                raise JobError(f"{archive.name} unpacks to more than {_LARGEST} bytes")
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise JobError(f"{archive.name} cannot be unpacked: {error}") from error
