"""What decides the features of one file, as digests: what is kept is used for the same photos, code and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import arithmetic
import digests
import photo
import photo_parts
import photo_upright
from features.files import Part
from jobs.tensor_files import digest_of_tensors
from modelling.backbones import Backbone
from shards import ShardSummary
from stacks import vocabulary

_HERE: Final = Path(__file__).parents[1]
_PACKAGES: Final = ("features", "modelling", "photos", "shards")
_MODULES: Final = (arithmetic, digests, photo, photo_parts, photo_upright, vocabulary)
_LIBRARIES: Final = ("torch", "torchvision", "openvino", "pillow", "numpy")


def settings_digest(settings: Mapping[str, Any], backbone: Backbone, weights: str, calibrated_on: str) -> str:
    """Of the settings, the code, and the weights as they were loaded.

    Random weights are known by their seed alone: processors differ in how they draw them. `calibrated_on` is the digest
    of the shard whose photos set the batch norms of a random backbone.
    """
    loaded = calibrated_on if weights == "none" else digest_of_tensors(backbone.network.state_dict())
    return _digest({"settings": dict(settings), "weights": loaded, "code": _code()})


def part_digest(settings: str, backbone: str, precision: str, part: Part, shard: ShardSummary) -> str:
    """Of everything that decides one file.

    `backbone` is the digest of the saved backbone's weights, `precision` what this processor computes features in.
    """
    return _digest([settings, backbone, precision, part.name, shard.sha256])


def code_files() -> list[Path]:
    """The sources that decide features: those of Embed, and those elsewhere through which a photo passes."""
    own = [path for name in _PACKAGES for path in sorted((_HERE / name).rglob("*.py"))]
    own += [_HERE / "embed.py", _HERE / "fitting" / "precision.py"]
    return [*own, *(Path(str(module.__file__)) for module in _MODULES)]


def _code() -> dict[str, str]:
    """The sources that decide features, and the libraries that compute them."""
    files = {_place(path): digests.sha256_of(path) for path in code_files()}
    return files | {name: _version(name) for name in _LIBRARIES}


def _place(path: Path) -> str:
    """The path under the code's folder, because two packages may have a file of one name; else the name."""
    return path.relative_to(_HERE).as_posix() if path.is_relative_to(_HERE) else path.name


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
