"""The model artefact: what it must hold, what it says about itself, and what is refused."""

from __future__ import annotations

import hashlib
import json
import math
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from arithmetic import SERVED
from digests import DamagedFile, unseal
from photo import Preprocessing
from serving.answer_rule import ANSWERS, MOST_PROBABLE
from serving.onnx_scan import NotOnnx, keeps_weights_outside

MODEL_FILE: Final = "model.onnx"
DESCRIPTION_FILE: Final = "serving.json"
MAX_MODEL_BYTES: Final = 1024**3
MAX_DESCRIPTION_BYTES: Final = 1024**2
# A damaged or hostile archive must not fill the disk: the real ones hold a few files.
MAX_MEMBERS: Final = 64


class ArtefactError(Exception):
    """The model artefact is incomplete, contradictory or unsafe; the message names the file, the field and the cure."""


@dataclass(frozen=True)
class Description:
    """serving.json: what the numbers in and out of model.onnx mean."""

    classes: tuple[int, ...]
    preprocessing: Preprocessing
    temperature: float
    precision: str
    answer: str = MOST_PROBABLE
    """The rule by which the answered count is chosen, one of ANSWERS."""

    @classmethod
    def parse(cls, text: str) -> Description:
        """From the text of serving.json. Raises ArtefactError naming the wrong field."""
        try:
            fields: Any = json.loads(text)
            if fields["schema"] != 1:
                raise ArtefactError(f"{DESCRIPTION_FILE}: schema is {fields['schema']!r}, this server reads 1")
            description = cls(
                classes=tuple(fields["classes"]),
                preprocessing=Preprocessing.of(fields["preprocessing"]),
                temperature=float(fields["temperature"]),
                precision=str(fields["precision"]),
                # Models that were made before the rule was written down answer the most probable count.
                answer=str(fields.get("answer", MOST_PROBABLE)),
            )
        except KeyError as error:
            raise ArtefactError(f"{DESCRIPTION_FILE}: the field {error} is missing") from error
        except (ValueError, TypeError) as error:
            raise ArtefactError(f"{DESCRIPTION_FILE}: {error}") from error
        description._check()
        return description

    def _check(self) -> None:
        if not self.classes or not all(type(count) is int and 0 <= count <= 1000 for count in self.classes):
            raise ArtefactError(f"{DESCRIPTION_FILE}: classes must be counts, not {list(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise ArtefactError(f"{DESCRIPTION_FILE}: classes repeat a count: {list(self.classes)}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ArtefactError(f"{DESCRIPTION_FILE}: temperature must be positive, not {self.temperature}")
        if self.precision not in SERVED:
            raise ArtefactError(
                f"{DESCRIPTION_FILE}: precision must be one of {', '.join(SERVED)}, not {self.precision!r}"
            )
        if self.answer not in ANSWERS:
            raise ArtefactError(f"{DESCRIPTION_FILE}: answer must be one of {', '.join(ANSWERS)}, not {self.answer!r}")
        if self.answer != MOST_PROBABLE and list(self.classes) != sorted(self.classes):
            raise ArtefactError(f"{DESCRIPTION_FILE}: the {self.answer} needs ascending classes: {list(self.classes)}")


@dataclass(frozen=True)
class Artefact:
    """A model folder that passed its checks, as bytes: nothing is read from the folder afterwards."""

    description: Description
    graph: bytes
    digest: str

    @classmethod
    def read(cls, folder: Path) -> Artefact:
        """From the folder that model.tar.gz was unpacked into. Raises ArtefactError."""
        if not folder.is_dir():
            raise ArtefactError(f"{folder} is no folder; unpack model.tar.gz there")
        text = _read_plain(folder / DESCRIPTION_FILE, MAX_DESCRIPTION_BYTES)
        graph = _read_plain(folder / MODEL_FILE, MAX_MODEL_BYTES)
        digest = hashlib.sha256(graph).hexdigest()
        if _digest_of_graph(text) != digest:
            raise ArtefactError(
                f"{MODEL_FILE} is damaged: it does not have the digest that {DESCRIPTION_FILE} names; "
                "copy the archive again"
            )
        description = Description.parse(text.decode())
        try:
            outside = keeps_weights_outside(graph)
        except NotOnnx as error:
            raise ArtefactError(f"{MODEL_FILE} is no ONNX model: {error}") from error
        if outside:
            raise ArtefactError(f"{MODEL_FILE} keeps weights outside itself; export them into the file")
        return cls(description=description, graph=graph, digest=digest)


def _digest_of_graph(description: bytes) -> str:
    """What serving.json, which carries a digest of itself, says of model.onnx. Raises ArtefactError."""
    try:
        return str(unseal(json.loads(description), DESCRIPTION_FILE)["graph"])
    except DamagedFile as error:
        raise ArtefactError(f"{error}; copy the archive again, or evaluate the model again") from error
    except KeyError as error:
        raise ArtefactError(f"{DESCRIPTION_FILE}: the field {error} is missing") from error
    except UnicodeDecodeError as error:
        raise ArtefactError(f"{DESCRIPTION_FILE} is not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{DESCRIPTION_FILE}: {error}") from error


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a model.tar.gz into an empty folder, refusing whatever a model has no use for. Raises ArtefactError.

    Links, devices, absolute or climbing paths, and more bytes or members than any real model has: all end it before
    anything is written.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members: list[tarfile.TarInfo] = []
            total = 0
            for member in tar:
                total += member.size
                _check_member(member, len(members), total, folder)
                members.append(member)
            tar.extractall(folder, members, filter="data")
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise ArtefactError(f"{archive.name} cannot be unpacked: {error}") from error


def _check_member(member: tarfile.TarInfo, already: int, total: int, folder: Path) -> None:
    if not (member.isreg() or member.isdir()):
        raise ArtefactError(f"{member.name!r} is a link or a device; a model holds plain files only")
    if not (folder / member.name).resolve().is_relative_to(folder.resolve()):
        raise ArtefactError(f"{member.name!r} would be written outside the model's folder")
    if already >= MAX_MEMBERS or total > MAX_MODEL_BYTES + MAX_DESCRIPTION_BYTES:
        raise ArtefactError(f"the archive unpacks to more than {MAX_MEMBERS} files or {MAX_MODEL_BYTES} bytes")


def _read_plain(path: Path, limit: int) -> bytes:
    if path.is_symlink():
        raise ArtefactError(f"{path.name} is a link; a model holds plain files only")
    if not path.is_file():
        raise ArtefactError(f"{path.name} is missing; the artefact needs {MODEL_FILE} and {DESCRIPTION_FILE}")
    if path.stat().st_size > limit:
        raise ArtefactError(f"{path.name} has {path.stat().st_size} bytes, more than the {limit} allowed")
    return path.read_bytes()
