"""The model artefact: its files, its description in serving.json, and the checks of both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from arithmetic import SERVED
from digests import SEAL, DamagedFile, unseal
from photo import Preprocessing, is_number
from serving.answer_rule import ANSWERS, MOST_PROBABLE
from serving.archive import ArchiveError, unpack_files
from serving.onnx_scan import NotOnnx, keeps_weights_outside

MODEL_FILE: Final = "model.onnx"
DESCRIPTION_FILE: Final = "serving.json"
MAX_MODEL_BYTES: Final = 1024**3
MAX_DESCRIPTION_BYTES: Final = 1024**2
# A fitted temperature lies between 0.05 and 20; far from them, answers would be no probabilities.
TEMPERATURES: Final = (0.01, 100)
MAX_CLASSES: Final = 100
MAX_COUNT: Final = 1000


class ArtefactError(Exception):
    """The model artefact is incomplete, contradictory or unsafe; the message names the file, the field and the cure."""


@dataclass(frozen=True)
class Description:
    """serving.json: the meaning of the inputs and outputs of model.onnx."""

    classes: tuple[int, ...]
    preprocessing: Preprocessing
    temperature: float
    precision: str
    answer: str = MOST_PROBABLE
    """The rule by which the answered count is chosen, one of ANSWERS."""
    split_by: str = ""
    """What put the photos that it was trained on into their splits; empty where that is not known."""

    @classmethod
    def parse(cls, text: str | bytes) -> Description:
        """Read the text of serving.json. Raises ArtefactError, which names the wrong field."""
        try:
            fields: Any = json.loads(text)
            if not isinstance(fields, dict):
                raise ArtefactError(f"{DESCRIPTION_FILE} must hold one object")
            if type(fields["schema"]) is not int or fields["schema"] != 1:
                raise ArtefactError(f"{DESCRIPTION_FILE}: schema is {fields['schema']!r}, this server reads 1")
            return cls(
                classes=tuple(fields["classes"]),
                preprocessing=Preprocessing.of(fields["preprocessing"]),
                temperature=fields["temperature"],
                precision=fields["precision"],
                # Models that were made before the rule was written down answer the most probable count.
                answer=fields.get("answer", MOST_PROBABLE),
                split_by=fields.get("split_by", ""),
            )
        except KeyError as error:
            raise ArtefactError(f"{DESCRIPTION_FILE}: the field {error} is missing") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise ArtefactError(f"{DESCRIPTION_FILE}: {error}") from error

    def __post_init__(self) -> None:
        low, high = TEMPERATURES
        counts = self.classes
        if not 1 <= len(counts) <= MAX_CLASSES or not all(
            type(each) is int and 0 <= each <= MAX_COUNT for each in counts
        ):
            raise ValueError(f"classes must be 1 to {MAX_CLASSES} counts from 0 to {MAX_COUNT}, not {list(counts)}")
        if len(set(counts)) != len(counts):
            raise ValueError(f"classes repeat a count: {list(counts)}")
        if not is_number(self.temperature) or not low <= self.temperature <= high:
            raise ValueError(f"temperature must be a number from {low} to {high}, not {self.temperature!r}")
        if self.precision not in SERVED:
            raise ValueError(f"precision must be one of {', '.join(SERVED)}, not {self.precision!r}")
        if self.answer not in ANSWERS:
            raise ValueError(f"answer must be one of {', '.join(ANSWERS)}, not {self.answer!r}")
        if self.answer != MOST_PROBABLE and list(counts) != sorted(counts):
            raise ValueError(f"the {self.answer} needs ascending classes: {list(counts)}")
        if not isinstance(self.split_by, str):
            raise ValueError(f"split_by must be a text, not {self.split_by!r}")


@dataclass(frozen=True)
class Artefact:
    """A checked model, in memory: nothing is read from its folder afterwards."""

    description: Description
    graph: bytes
    digest: str
    seal: str
    """The digest of serving.json, which names that of the graph: one digest for the whole archive."""

    @classmethod
    def read(cls, folder: Path) -> Artefact:
        """Read and check the folder into which model.tar.gz was unpacked. Raises ArtefactError."""
        if not folder.is_dir():
            raise ArtefactError(f"{folder} is no folder; unpack model.tar.gz there")
        text = _read_plain(folder / DESCRIPTION_FILE, MAX_DESCRIPTION_BYTES)
        graph = _read_plain(folder / MODEL_FILE, MAX_MODEL_BYTES)
        digest = hashlib.sha256(graph).hexdigest()
        seal, named = _seal_and_graph(text)
        if named != digest:
            raise ArtefactError(
                f"{MODEL_FILE} is damaged: it does not have the digest that {DESCRIPTION_FILE} names; "
                "copy the archive again"
            )
        description = Description.parse(text)
        try:
            outside = keeps_weights_outside(graph)
        except NotOnnx as error:
            raise ArtefactError(f"{MODEL_FILE} is no ONNX model: {error}") from error
        if outside:
            raise ArtefactError(f"{MODEL_FILE} keeps weights outside itself; export them into the file")
        return cls(description=description, graph=graph, digest=digest, seal=seal)


def _seal_and_graph(description: bytes) -> tuple[str, str]:
    """The digests of serving.json, which is checked, and of model.onnx, which it names. Raises ArtefactError."""
    try:
        fields = json.loads(description)
        graph = str(unseal(fields, DESCRIPTION_FILE)["graph"])
        return str(fields[SEAL]), graph
    except DamagedFile as error:
        raise ArtefactError(f"{error}; copy the archive again, or evaluate the model again") from error
    except KeyError as error:
        raise ArtefactError(f"{DESCRIPTION_FILE}: the field {error} is missing") from error
    except UnicodeDecodeError as error:
        raise ArtefactError(f"{DESCRIPTION_FILE} is not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{DESCRIPTION_FILE}: {error}") from error


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a model.tar.gz into an empty folder. Raises ArtefactError for content that no model needs."""
    try:
        unpack_files(archive, folder, max_bytes=MAX_MODEL_BYTES + MAX_DESCRIPTION_BYTES)
    except ArchiveError as error:
        raise ArtefactError(str(error)) from error


def _read_plain(path: Path, limit: int) -> bytes:
    if path.is_symlink():
        raise ArtefactError(f"{path.name} is a link; a model holds plain files only")
    if not path.is_file():
        raise ArtefactError(f"{path.name} is missing; the artefact needs {MODEL_FILE} and {DESCRIPTION_FILE}")
    if path.stat().st_size > limit:
        raise ArtefactError(f"{path.name} has {path.stat().st_size} bytes, more than the {limit} allowed")
    return path.read_bytes()
