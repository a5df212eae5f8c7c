"""Small splits of rendered photos and made-up features, for tests of the training code."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from digests import read_sealed, seal
from features.files import Part, feature_file, write_features, write_part_list
from tests.listed import write_shard

if TYPE_CHECKING:
    from modelling.bin_model import BinModel

SMALL_INPUT = ("--input-size", "64")
"""Flags for a job whose test asks nothing of the photos' size."""
# The networks of these tests are tiny: a second thread only spins, and takes a core from the test beside.
torch.set_num_threads(1)


@cache
def jpeg(count: int, seed: int) -> bytes:
    """A photo on which `count` bright squares can be counted, on noise."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 80, (256, 288, 3), dtype=np.uint8)
    for place in random.permutation(12)[:count]:
        top, left = 8 + 80 * (place % 3), 8 + 70 * (place // 3)
        pixels[top : top + 60, left : left + 55] = random.integers(150, 255, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_split(folder: Path, split: str, photos: int, *, shards: int = 1, first: int = 100) -> Path:
    """A folder of shards with counts 1..5 in turn; ids from `first`."""
    place = folder / split
    place.mkdir(parents=True)
    for number in range(shards):
        samples = []
        for row in range(number, photos, shards):
            count, name = row % 5 + 1, f"{first + row:05d}"
            samples.append((name, jpeg(count, first + row), {"id": name, "count": count, "items": [f"SKU{row}"]}))
        write_shard(place / f"{split}-{number:05d}.tar", samples)
    return place


@cache
def _small_backbone() -> BinModel:
    """Read only."""
    from modelling.backbones import build_backbone
    from modelling.bin_model import BinModel
    from photo import Preprocessing

    return BinModel(build_backbone("small", 0), torch.nn.Identity(), Preprocessing())


def write_embedding(
    folder: Path, *, train: int = 60, validation: int = 20, width: int = 6, views: int = 0, seed: int = 0,
    scale: Sequence[float] = (1.0,),
) -> Path:  # fmt: skip
    """The output of Embed, with features that separate the counts, on any scale; the backbone is `small`."""
    from modelling.bin_model import ModelCard, read_card, save_model

    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(5, width, generator=generator)
    factor = torch.tensor([scale[i % len(scale)] for i in range(width)])
    parts = {}
    for split, photos in (("train", train), ("validation", validation)):
        counts = [row % 5 + 1 for row in range(photos)]
        for view in range(1 + (views if split == "train" else 0)):
            noise = 0.7 * torch.randn(photos, width, generator=generator)
            features = (direction[torch.tensor(counts) - 1] + noise) * factor
            ids = [f"{split}{row}" for row in range(photos)]
            write_features(
                feature_file(folder / "features", split, f"{split}-0", view),
                features,
                counts,
                ids,
                view=view,
                precision="fp32",
            )
            parts[Part(split, f"{split}-0", view)] = ""
    save_model(_small_backbone(), ModelCard("small", "none", "head"), folder / "backbone")
    write_part_list(folder / "features", parts, read_card(folder / "backbone" / "model.json").tensors)
    return folder


def add_features(
    folder: Path, split: str, name: str, features: torch.Tensor, counts: list[int], precision: str = "fp32"
) -> Path:
    """One more file of features in an embedding, of photos `name`0, `name`1, ..."""
    path = feature_file(folder / "features", split, name, 0)
    write_features(path, features, counts, [f"{name}{row}" for row in range(len(counts))], view=0, precision=precision)
    listed = read_sealed(folder / "features" / "parts.json")
    listed["parts"] |= {f"{split}/{path.name}": ""}
    (folder / "features" / "parts.json").write_bytes(seal(listed))
    return path
