"""Features on disk: one file a shard and view, whole or refused, and the list of all files that belong to an embedding.

features/parts.json                          which files there are, what each was made from, and the backbone
features/<split>/<shard>.view<k>.safetensors
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from digests import DamagedFile, read_sealed, seal
from jobs.container import JobError
from jobs.tensor_files import read_tensors, write_tensors
from serving.cores import usable_cpus

LIST: Final = "parts.json"


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of one split: `features` float32 [N, width], `counts` int64 [N], `ids` [N] in the same order.

    With K augmented views the training split holds every photo 1 + K times; `view` int64 [N] tells them apart.
    `precision` names the numbers that the backbone computed in.
    """

    features: Tensor
    counts: Tensor
    view: Tensor
    ids: tuple[str, ...]
    digest: str = ""
    """Of the files that they were read from."""
    precision: str = "fp32"

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Part:
    """One file of features: one view of one shard."""

    split: str
    shard: str
    """The shard's name without its suffix."""
    view: int

    @property
    def name(self) -> str:
        """Its path under the folder of features."""
        return f"{self.split}/{self.shard}.view{self.view}.safetensors"


@dataclass(frozen=True)
class LeftOut:
    """What of a shard is not among its features."""

    photos: Mapping[str, str] = field(default_factory=dict)
    """Ids of photos that could not be read, with the reason."""
    shard: str = ""
    """Why the shard could not be read at all; empty where it could."""

    def __bool__(self) -> bool:
        return bool(self.photos or self.shard)


@dataclass(frozen=True, eq=False)
class PartFile:
    """What a file of features holds."""

    features: Tensor
    counts: Tensor
    ids: tuple[str, ...]
    view: int
    precision: str
    left_out: LeftOut
    digest: str


def feature_file(folder: Path, split: str, shard: str, view: int) -> Path:
    """Where the features of one view of one shard are kept under `folder`."""
    return folder / Part(split, shard, view).name


def write_features(
    path: Path, features: Tensor, counts: Sequence[int], ids: Sequence[str], *, view: int, precision: str,
    made_from: str = "", left_out: LeftOut | None = None,
) -> None:  # fmt: skip
    """Write one file atomically: after a reclaim it is there whole or not at all.

    `made_from` is the digest of everything that decides the features, as the list of parts says it too.
    """
    out = left_out or LeftOut()
    tensors = {"features": features.float(), "counts": torch.tensor(counts, dtype=torch.int64)}
    about = {
        "part": _name(path), "made_from": made_from, "view": view, "precision": precision, "ids": list(ids),
        "left_out_photos": dict(out.photos), "left_out_shard": out.shard,
    }  # fmt: skip
    write_tensors(path, tensors, about)


def read_features(path: Path, made_from: str) -> PartFile:
    """What `write_features` has written for the same name and origin. Raises JobError for anything else."""
    try:
        tensors, about, digest = read_tensors(path)
        if about["part"] != _name(path) or about["made_from"] != made_from:
            raise JobError(
                f"feature file {path.name} was made from other photos or settings, or on a processor that computes in "
                f"other numbers (it is in {about['precision']}); embed again, with precision fp32 if machines differ"
            )
        features, counts, ids = tensors["features"], tensors["counts"], tuple(about["ids"])
        left_out = LeftOut(about["left_out_photos"], about["left_out_shard"])
        view, precision = int(about["view"]), str(about["precision"])
    except (OSError, DamagedFile, KeyError, TypeError) as error:
        raise JobError(f"feature file {path.name} cannot be read: {error}; embed again") from error
    if not len(ids) == len(features) == len(counts):
        raise JobError(f"feature file {path.name} is inconsistent: {len(ids)} ids, {len(features)} features")
    return PartFile(features, counts, ids, view, precision, left_out, digest)


def write_part_list(folder: Path, parts: Mapping[Part, str], backbone: str, *, split_by: str = "") -> None:
    """Write the list of the files of an embedding with their origins.

    `backbone` is the digest of its weights, `split_by` what put the photos into their splits.
    """
    origins = {part.name: origin for part, origin in parts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (LIST + ".partial")
    partial.write_bytes(seal({"backbone": backbone, "parts": origins, "split_by": split_by}))
    os.replace(partial, folder / LIST)


def check_backbone(folder: Path, backbone: str) -> None:
    """Raise JobError unless the features were computed with the backbone whose weights have this digest."""
    if _read_part_list(folder)["backbone"] != backbone:
        raise JobError(f"the features in {folder} were computed with another backbone than the one beside them")


def split_by_of(folder: Path) -> str:
    """What put the photos into their splits; empty where the list does not say."""
    return str(_read_part_list(folder).get("split_by", ""))


def read_split(folder: Path, split: str) -> FeatureSet:
    """All features of a split, files in the order of their names, so that every reader sees the same order.

    Raises JobError where the split is empty or mixes widths or precisions, and where a file is missing, damaged or not
    on the list.
    """
    listed: dict[str, str] = _read_part_list(folder)["parts"]
    if foreign := sorted({_name(path) for path in (folder / split).glob("*.safetensors")} - set(listed)):
        raise JobError(f"feature file {foreign[0]} is not on the list {LIST}; remove it, or embed again")
    names = sorted(name for name in listed if name.startswith(f"{split}/"))
    # Digests are computed without the interpreter, so that every core takes a file.
    with ThreadPoolExecutor(usable_cpus()) as pool:
        files = list(pool.map(lambda name: read_features(folder / name, listed[name]), names))
    parts = [part for part in files if len(part.ids)]
    if not parts:
        raise JobError(f"no features of split {split!r} under {folder}: did the Embed job get any photos for it?")
    widths = {part.features.shape[1] for part in parts}
    if len(widths) > 1:
        raise JobError(f"features of split {split!r} have different widths {sorted(widths)}: embed them again")
    return FeatureSet(
        torch.cat([part.features for part in parts]),
        torch.cat([part.counts for part in parts]),
        torch.cat([torch.full((len(part.ids),), part.view) for part in parts]),
        tuple(photo for part in parts for photo in part.ids),
        hashlib.sha256(" ".join(part.digest for part in files).encode()).hexdigest(),
        same_precision(parts),
    )


def same_precision(parts: Sequence[FeatureSet | PartFile]) -> str:
    """The precision of all parts. Raises JobError where they differ: a head must not see two kinds of features."""
    precisions = sorted({part.precision for part in parts})
    if len(precisions) > 1:
        raise JobError(
            f"some features were computed in {' and some in '.join(precisions)}, on machines of different processors: "
            "embed again with precision fp32, which all of them have"
        )
    return precisions[0]


def _read_part_list(folder: Path) -> dict[str, Any]:
    try:
        return read_sealed(folder / LIST)
    except FileNotFoundError as error:
        raise JobError(
            f"no features under {folder}: it has no {LIST}, by which they are checked; run Embed to its end"
        ) from error
    except (OSError, DamagedFile) as error:
        raise JobError(f"the list of features in {folder} cannot be used: {error}; embed again") from error


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
