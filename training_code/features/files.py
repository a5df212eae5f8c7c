"""Features on disk: one safetensors file a shard and view, complete or absent, with the ids they belong to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from jobs.container import JobError


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of one split: `features` float32 [N, width], `counts` int64 [N], `ids` [N] in the same order.

    With K augmented views the training split holds every photo 1 + K times; `view` int64 [N] tells them apart.
    """

    features: Tensor
    counts: Tensor
    view: Tensor
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


def feature_file(folder: Path, split: str, shard: str, view: int) -> Path:
    """Where the features of one view of one shard are kept under `folder`."""
    return folder / split / f"{shard}.view{view}.safetensors"


def write_features(path: Path, features: Tensor, counts: Sequence[int], ids: Sequence[str], *, view: int) -> None:
    """Write one file atomically: after a reclaim it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"features": features.float().contiguous(), "counts": torch.tensor(counts, dtype=torch.int64)}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"ids": json.dumps(list(ids)), "view": str(view)})
    os.replace(partial, path)


def read_split(folder: Path, split: str) -> FeatureSet:
    """All features of a split, files in the order of their names, so that every reader sees the same order.

    Raises JobError where the split is missing, empty or mixes widths.
    """
    files = sorted((folder / split).glob("*.safetensors"))
    parts = [part for part in (_read_file(path) for path in files) if len(part)]
    if not parts:
        raise JobError(f"no features of split {split!r} under {folder}: did the Embed job get any photos for it?")
    widths = {part.features.shape[1] for part in parts}
    if len(widths) > 1:
        raise JobError(f"features of split {split!r} have different widths {sorted(widths)}: embed them again")
    return FeatureSet(
        torch.cat([part.features for part in parts]),
        torch.cat([part.counts for part in parts]),
        torch.cat([part.view for part in parts]),
        tuple(photo for part in parts for photo in part.ids),
    )


def _read_file(path: Path) -> FeatureSet:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            ids = tuple(json.loads(metadata["ids"]))
            features, counts = file.get_tensor("features"), file.get_tensor("counts")
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise JobError(f"feature file {path.name} cannot be read: {error}") from error
    if not len(ids) == len(features) == len(counts):
        raise JobError(f"feature file {path.name} is inconsistent: {len(ids)} ids, {len(features)} features")
    return FeatureSet(features, counts, torch.full((len(ids),), int(metadata["view"])), ids)
