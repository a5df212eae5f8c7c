"""What is packed for jobs, functions and the endpoint. Equal files give an equal archive, byte for byte."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

REPOSITORY = Path(__file__).resolve().parent.parent.parent
TRAINING_CODE = REPOSITORY / "training_code"
INFERENCE_CODE = REPOSITORY / "inference_code"
LAMBDA_CODE = REPOSITORY / "lambda_code"
WHEELS = "wheels"
"""Folder in the archive: the packages that the training image lacks, for jobs that reach no package index."""
WHEELHOUSE = REPOSITORY / "build" / WHEELS
"""Where `make wheels` puts them."""
SHARED_MODULES = (
    "digests.py",
    "photo.py",
    "photo_parts.py",
    "photo_upright.py",
    "arithmetic.py",
    "silent_openvino.py",
    "inference.py",
    "serving/__init__.py",
    "serving/answer_rule.py",
    "serving/answers.py",
    "serving/archive.py",
    "serving/artefact.py",
    "serving/cores.py",
    "serving/json_bodies.py",
    "serving/network.py",
    "serving/npy_bodies.py",
    "serving/onnx_scan.py",
    "serving/refusals.py",
    "serving/requests.py",
    "serving/weights.py",
)
"""What training and serving must agree on, from a photo's bytes to the answer: written once, in the serving folder, and
packed with the training code. The server around it is not needed there."""
NAMES_FOR_JOBS = (
    "stacks/__init__.py",
    "stacks/backbones.py",
    "stacks/vocabulary.py",
    "stacks/watch_rules.py",
    "binventory/__init__.py",
    "binventory/core/__init__.py",
    "binventory/core/contents.py",
    "binventory/pages/__init__.py",
    "binventory/pages/base.html",
    "binventory/pages/charts.py",
    "binventory/pages/document.py",
    "binventory/pages/style.css",
    "binventory/records/__init__.py",
    "binventory/records/errors.py",
    "binventory/records/ids.py",
    "binventory/records/labels.py",
    "binventory/records/metadata.py",
    "binventory/records/tables.py",
)
"""What the training code shares with stacks and the command line: constants, the kit of HTML pages, the readers of
records and of objects. Packed under the same names; these files need no package but those of the training image."""
NAMES_FOR_FUNCTIONS = (
    "stacks/__init__.py",
    "stacks/environments.py",
    "stacks/names.py",
    "binventory/__init__.py",
    "binventory/core/__init__.py",
    "binventory/core/contents.py",
)
"""What functions share with stacks and the command line, packed with the functions under the same names."""
_FOR_ALL = 0o644
_FOLDER_FOR_ALL = 0o755
_LEFT_OUT = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".DS_Store"})


@dataclass(frozen=True)
class SourceArchive:
    """A `.tar.gz` and the hash of what is in it."""

    path: Path
    sha256: str
    """Of the uncompressed archive: machines compress differently, and the hash must be the same on all."""


def write_source_archive(folder: Path, wheelhouse: Path | None = None) -> SourceArchive:
    """Packs the training code into `folder`, flat as the jobs import it, with the wheels of `wheelhouse`.

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


def lambda_files() -> dict[str, Path]:
    """The files of the functions' asset, by their names in it."""
    own = {path.relative_to(LAMBDA_CODE).as_posix(): path for path in sorted(LAMBDA_CODE.rglob("*.py"))}
    return own | {name: REPOSITORY / name for name in NAMES_FOR_FUNCTIONS}


def write_lambda_code(folder: Path) -> None:
    """Copies the files of the functions' asset into a folder."""
    _copy_for_all(lambda_files(), folder)


def write_image_code(folder: Path) -> None:
    """Copies the files of the serving image's build context into a folder."""
    files = (path.relative_to(INFERENCE_CODE) for path in sorted(INFERENCE_CODE.rglob("*")) if path.is_file())
    kept = [file for file in files if not any(part == "__pycache__" or part[0] == "." for part in file.parts)]
    _copy_for_all({file.as_posix(): INFERENCE_CODE / file for file in kept if file.name != "requirements.in"}, folder)


def _copy_for_all(files: Mapping[str, Path], folder: Path) -> None:
    """Copies files so that every user may read them: Lambda and SageMaker keep the modes, and may not run as root.

    The modes of a checkout follow the umask of its user: with 027 or 077 no function could import its code.
    """
    for name, path in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(_FOR_ALL)
    open_for_all(folder)


def open_for_all(folder: Path) -> None:
    """Lets every user into a folder and those below it."""
    for place in (folder, *folder.rglob("*")):
        if place.is_dir():
            place.chmod(_FOLDER_FOR_ALL)


class MissingWheelsError(Exception):
    """A wheel is missing that jobs in a network install; the message names it."""


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
            f"with network.mode jobs reach no package index, and {WHEELHOUSE.relative_to(REPOSITORY)}/ lacks "
            f"{', '.join(missing)}"
        )
    return wheels


def _members() -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    files = [(path.relative_to(TRAINING_CODE).as_posix(), path) for path in TRAINING_CODE.rglob("*") if _belongs(path)]
    shared = [(name, INFERENCE_CODE / name) for name in SHARED_MODULES]
    for name, path in [*files, *shared, *((name, REPOSITORY / name) for name in NAMES_FOR_JOBS)]:
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
            # A new TarInfo has no owner, mode 0644 and time 0, so nothing of this machine enters the archive.
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
