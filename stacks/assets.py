"""The source archive of the pipeline's jobs: the same files always give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TRAINING_CODE = REPOSITORY / "training_code"
INFERENCE_CODE = REPOSITORY / "inference_code"
SHARED_MODULES = (INFERENCE_CODE / "photo.py",)
"""What training and serving must agree on: written once, in the serving folder, and packed with the training code."""
_LEFT_OUT = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store"})


@dataclass(frozen=True)
class SourceArchive:
    """A `.tar.gz` and the hash of what is in it."""

    path: Path
    sha256: str
    """Of the uncompressed archive: compressors differ between machines, and the hash must not."""


def write_source_archive(folder: Path) -> SourceArchive:
    """Packs the training code into `folder`, flat, as the jobs import it.

    Raises:
        FileExistsError: two files would have the same name in the archive.
    """
    packed = _tar(dict(sorted(_members())))
    path = folder / "sourcedir.tar.gz"
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
        compressed.write(packed)
    return SourceArchive(path=path, sha256=hashlib.sha256(packed).hexdigest())


def _members() -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    files = [(path.relative_to(TRAINING_CODE).as_posix(), path) for path in TRAINING_CODE.rglob("*") if _belongs(path)]
    for name, path in [*files, *((path.name, path) for path in SHARED_MODULES)]:
        if name in seen:
            raise FileExistsError(f"{name} is in {TRAINING_CODE.name}/ and in {path.parent.name}/: rename one of them")
        seen.add(name)
        yield name, path


def _belongs(path: Path) -> bool:
    parts = path.relative_to(TRAINING_CODE).parts
    return path.is_file() and path.suffix != ".pyc" and not any(part in _LEFT_OUT for part in parts)


def _tar(members: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, path in members.items():
            content = path.read_bytes()
            # A fresh TarInfo has no owner, mode 0644 and time 0: nothing of this machine enters the archive.
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
