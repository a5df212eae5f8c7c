"""EfficientNet-Lite0 as the pipeline serves it: trained on real photos, and int8 only where its gate lets it be.

The project's own jobs do the work: Embed, Train (a head on frozen ImageNet features) and Evaluate.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.counting.photos import read
from benchmarks.held_out import parts_of, run
from serving.artefact import unpack
from stacks.vocabulary import TEST, TRAIN, VALIDATION

_BACKBONE: Final = ("--backbone", "efficientnet_lite0")
# Of ten parts of the blocks of ids.
_PARTS: Final = {VALIDATION: (0, 1), TEST: (2, 3), TRAIN: (4, 5, 6, 7, 8, 9)}


def make(folder: Path, photos: Path) -> tuple[Path, str]:
    """The model's folder as the server reads it, and why it has its precision; made on the first call."""
    served = folder / "served"
    if not served.is_dir():
        _archive(folder, photos)
        unpack(folder / "evaluated" / "serving" / "model.tar.gz", served)
    document = json.loads((served / "serving.json").read_bytes())
    return served, f"{document['precision']}: {document['quantisation']['reason']}"


def archive(folder: Path) -> Path:
    """The model.tar.gz of a model that was made."""
    return folder / "evaluated" / "serving" / "model.tar.gz"


def _archive(folder: Path, photos: Path) -> None:
    found = read(photos)
    part = parts_of(found.blocks, 10, seed=0)
    places = []
    for name, parts in _PARTS.items():
        places += [f"--{name}", str(found.write(np.isin(part, parts), folder / name))]
    learnt = [each for name in (TRAIN, VALIDATION) for each in (f"--{name}", str(folder / name))]
    run("embed.py", *learnt, "--output", str(folder / "embedding"), *_BACKBONE, "--weights", "packaged")
    kept = ["--output", str(folder / "model"), "--checkpoints", str(folder / "checkpoints")]
    run("train.py", "--embedding", str(folder / "embedding"), *kept, *_BACKBONE)
    run("evaluate.py", "--model", str(folder / "model"), *places, "--output", str(folder / "evaluated"))
