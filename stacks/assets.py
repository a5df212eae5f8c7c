"""The source archive of the pipeline's jobs: the same files always give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

REPOSITORY = Path(__file__).resolve().parent.parent
TRAINING_CODE = REPOSITORY / "training_code"
INFERENCE_CODE = REPOSITORY / "inference_code"
WHEELS = "wheels"
"""Folder of the archive with the packages that the training image lacks, for jobs that reach no package index."""
WHEELHOUSE = REPOSITORY / "build" / WHEELS
"""Where `make wheels` puts them."""
SHARED_MODULES = (
    "digests.py",
    "photo.py",
    "arithmetic.py",
    "inference.py",
    "serving/__init__.py",
    "serving/answer_rule.py",
    "serving/answers.py",
    "serving/artefact.py",
    "serving/cores.py",
    "serving/network.py",
    "serving/onnx_scan.py",
    "serving/requests.py",
)
"""What training and serving must agree on, from a photo's bytes to the answer: written once, in the serving folder, and
packed with the training code. The server around it is not needed there."""
_LEFT_OUT = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store"})


@dataclass(frozen=True)
class SourceArchive:
    """A `.tar.gz` and the hash of what is in it."""

    path: Path
    sha256: str
    """Of the uncompressed archive: compressors differ between machines, and the hash must not."""


def write_source_archive(folder: Path, wheelhouse: Path | None = None) -> SourceArchive:
    """Packs the training code into `folder`, flat, as the jobs import it, and the wheels of a folder beside it.

    Raises:
        FileExistsError: two files would have the same name in the archive.
        MissingWheelsError: the folder of wheels lacks one that the training code's lock names.
    """
    wheels = {f"{WHEELS}/{path.name}": path for path in complete_wheels(wheelhouse)} if wheelhouse else {}
    packed = _tar(dict(sorted([*_members(), *wheels.items()])))
    path = folder / "sourcedir.tar.gz"
    with path.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
        compressed.write(packed)
    return SourceArchive(path=path, sha256=hashlib.sha256(packed).hexdigest())


class MissingWheelsError(Exception):
    """Jobs in a network reach no package index, and what they install is not there; the message says the cure."""


def complete_wheels(wheelhouse: Path) -> list[Path]:
    """The wheels in a folder, in the order of their names.

    Raises:
        MissingWheelsError: the training code's lock names one that is not there.
    """
    wheels = sorted(wheelhouse.glob("*.whl"))
    have = {(name, str(version)) for name, version, *_ in (parse_wheel_filename(path.name) for path in wheels)}
    lock = (TRAINING_CODE / "requirements.txt").read_text()
    pins = re.findall(r"^([\w.-]+)==([^\s\\]+)", lock, re.MULTILINE)
    if missing := [f"{name}=={version}" for name, version in pins if (canonicalize_name(name), version) not in have]:
        raise MissingWheelsError(
            f"network.mode\n    jobs reach no package index there, and {WHEELHOUSE.relative_to(REPOSITORY)}/ lacks "
            f"{', '.join(missing)}: run `make wheels`"
        )
    return wheels


def _members() -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    files = [(path.relative_to(TRAINING_CODE).as_posix(), path) for path in TRAINING_CODE.rglob("*") if _belongs(path)]
    for name, path in [*files, *((name, INFERENCE_CODE / name) for name in SHARED_MODULES)]:
        if name in seen:
            raise FileExistsError(
                f"{name} is in {TRAINING_CODE.name}/ and in {INFERENCE_CODE.name}/: rename one of them"
            )
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
