"""Answers for photos that the answering model has not seen: cuts by blocks of ids, and heads trained by train.py.

Parts of benchmarks/audit.py, benchmarks/accuracy.py and benchmarks/training_photos.py.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.scripts import require_success, script, start
from features.files import FeatureSet, Part, feature_file, write_features, write_part_list
from modelling.bin_model import read_card
from modelling.head import CountHead

BLOCK: Final = 100
"""Ids in a block: neighbours often show the same bin."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


def blocks_of(ids: Iterable[str]) -> Integers:
    """[n] block of each photo."""
    return np.array([int(photo) // BLOCK for photo in ids], dtype=np.int64)


def parts_of(blocks: Integers, parts: int, seed: int | None = None) -> Integers:
    """[n] part of each photo: whole blocks, each into the smallest part so far, in an order drawn from the seed.

    Without a seed the largest block comes first.
    """
    names, sizes = np.unique(blocks, return_counts=True)
    largest_first = np.argsort(-sizes, kind="stable")
    order = largest_first if seed is None else np.random.default_rng(seed).permutation(len(names))
    filled = np.zeros(parts)
    place: dict[int, int] = {}
    for index in order:
        smallest = int(filled.argmin())
        place[int(names[index])] = smallest
        filled[smallest] += sizes[index]
    return np.array([place[int(block)] for block in blocks], dtype=np.int64)


def run(program: str, *arguments: str, threads: int | None = None, log: Path | None = None) -> None:
    """Run one of the project's jobs by hand; its output is shown when it fails, and goes to `log` if there is one."""
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    command = [script(program), *arguments]
    if log is None:
        process = start(command, subprocess.PIPE, environment)
        said = process.communicate()[0].decode(errors="replace")
    else:
        with log.open("ab") as stream:
            process = start(command, stream, environment)
        process.wait()
        said = log.read_text(errors="replace")
    require_success(program, process.returncode, said)


def rows_of(features: FeatureSet, chosen: Mask) -> FeatureSet:
    """The features of the chosen photos."""
    rows = torch.from_numpy(np.flatnonzero(chosen))
    return replace(
        features,
        features=features.features[rows],
        counts=features.counts[rows],
        view=features.view[rows],
        ids=tuple(features.ids[row] for row in rows.tolist()),
    )


def write_embedding(folder: Path, splits: Mapping[str, FeatureSet], card: bytes) -> None:
    """Write the features of each split as embed.py leaves them for train.py; `card`: model.json of the backbone."""
    backbone = folder / "backbone" / "model.json"
    backbone.parent.mkdir(parents=True, exist_ok=True)
    backbone.write_bytes(card)
    for split, found in splits.items():
        path = feature_file(folder / "features", split, split, 0)
        write_features(path, found.features, found.counts.tolist(), list(found.ids), view=0, precision=found.precision)
    parts = {Part(split, split, 0): "" for split in splits}
    write_part_list(folder / "features", parts, read_card(backbone).tensors)


def head_logits(folder: Path, features: Tensor) -> Floats:
    """Logits [n, 5] of features [n, width] by the head that train.py saved alone in `folder`."""
    tensors = load_file(folder / "model.safetensors")
    head = CountHead(features.shape[1], kind=read_card(folder / "model.json").head)
    head.load_state_dict({name.removeprefix("head."): value for name, value in tensors.items()})
    with torch.inference_mode():
        return np.asarray(head.eval()(features).double().numpy())
