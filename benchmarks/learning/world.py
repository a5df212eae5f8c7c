"""The same photos for the published recipe and for ours, and the printing of figures."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import train
from benchmarks import REPOSITORY
from binventory.core.contents import md5_of
from features.frozen_backbone import calibrate_random_backbone
from ingestion.intake import KEPT_AS_SENT, Workbench, take_in
from modelling.backbones import build_backbone
from modelling.bin_model import BinModel
from photo import Preprocessing, prepare
from photos.batches import stacked
from shards import ShardWriter, list_shards, read_shards
from shards.lists import write_shard_list
from stacks.vocabulary import CLASSES, TRAIN, VALIDATION

READ_BY_TRAIN = (TRAIN, VALIDATION)


@dataclass(frozen=True)
class World:
    """The same photos twice: class folders of originals for the recipe, shards for ours."""

    folder: Path
    photos: int
    source: str
    weights: str
    """Of the backbone, for both: what the `weights` setting of embed.py takes."""

    def originals(self, split: str) -> Path:
        """Class folders of a split."""
        return self.folder / "originals" / split

    def shards(self, split: str) -> Path:
        """Shards of a split."""
        return self.folder / "shards" / split


def prepare_world(folder: Path, limit: int, weights: str) -> World:
    """Both layouts of the photos, split by blocks of 100 ids, and the weights that both start from."""
    photos, source = real_photos() or rendered_photos(folder)
    random.Random(0).shuffle(photos)
    photos = photos[: limit or None]
    world = World(folder, len(photos), source, str(folder / "random.safetensors") if weights == "none" else weights)
    blocks = sorted({int(path.stem) // 100 for path, _ in photos})
    held_out = set(random.Random(0).sample(blocks, max(1, len(blocks) // 10)))
    for split in READ_BY_TRAIN:
        chosen = [(path, count) for path, count in photos if (int(path.stem) // 100 in held_out) != (split == "train")]
        _write_split(world, split, chosen)
        print(f"{split}: {len(chosen)} photos")
    if weights == "none":
        _write_random_weights(world)
    return world


def _write_split(world: World, split: str, photos: list[tuple[Path, int]]) -> None:
    world.shards(split).mkdir(parents=True)
    for count in CLASSES:
        (world.originals(split) / str(count)).mkdir(parents=True)
    writer, bench = ShardWriter(world.shards(split) / f"{split}-00000.tar"), Workbench()
    for path, count in photos:
        (world.originals(split) / str(count) / path.name).symlink_to(path)
        data = path.read_bytes()
        photo = take_in(data, md5_of(data), bench, as_sent=split in KEPT_AS_SENT)
        writer.add(path.stem, photo.data, {"id": path.stem, "count": count, "items": []}, suffix=photo.suffix)
    write_shard_list(world.shards(split), [writer.close()])


def _write_random_weights(world: World) -> None:
    """Random weights as a file, ready before the clock starts, as pretrained ones would be."""
    model = BinModel(build_backbone("resnet50", seed=0), torch.nn.Identity(), Preprocessing()).eval()
    shard = list_shards(world.shards("train"))[0]
    photos = (prepare(sample.photo, model.preprocessing) for sample in islice(read_shards([shard]), 32))
    calibrate_random_backbone(model, stacked(photos, 32))
    save_file(model.backbone.network.state_dict(), world.weights)


def real_folder() -> Path | None:
    """Real photos, laid out like the public bucket, where they are at hand."""
    folder = REPOSITORY.parent / "shared" / "abid"
    return folder if folder.is_dir() else None


def real_photos() -> tuple[list[tuple[Path, int]], str] | None:
    """The photos of ../shared/abid with a count of 1 to 5."""
    folder = real_folder()
    if folder is None:
        return None
    with (folder / "labels.csv").open() as file:
        rows = [(row["image_id"], row["count"]) for row in csv.DictReader(file)]
    named = {str(count) for count in CLASSES}
    return [(folder / "bin-images" / f"{name}.jpg", int(count)) for name, count in rows if count in named], "real"


def rendered_photos(folder: Path) -> tuple[list[tuple[Path, int]], str]:
    """Rendered bins, where no real photos are at hand."""
    from binventory.render import render_bucket

    bucket = render_bucket(folder / "bucket", photos=300, seed=0)
    usable = [(name, count) for name, count in bucket.counts.items() if count in CLASSES]
    return [(folder / "bucket" / "bin-images" / f"{name}.jpg", count) for name, count in usable], "rendered"


def trial(embedding: Path, lr: float, size: int, *flags: str, epochs: int, output: Path) -> dict[str, Any]:
    """One training on features, its head left in `output`/model; its metrics."""
    train.main(
        ["--embedding", str(embedding), "--output", str(output / "model"), "--checkpoints", str(output / "saved"),
         "--artefact", "head", "--epochs", str(epochs), "--lr", str(lr), "--batch-size", str(size), *flags]
    )  # fmt: skip
    metrics: dict[str, Any] = json.loads((output / "model" / "metrics.json").read_text())
    return metrics


@dataclass(frozen=True)
class Spent:
    """What a piece of work took: seconds on the clock, and of processor time over all threads."""

    wall: float
    processor: float

    @classmethod
    def of(cls, work: Callable[[], object]) -> Spent:
        """Do it and see."""
        wall, processor = time.perf_counter(), time.process_time()
        work()
        return cls(time.perf_counter() - wall, time.process_time() - processor)

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.processor:.1f} s of processor time)"


def rounded(values: list[float]) -> str:
    """Losses in short."""
    return " ".join(f"{value:.3f}" for value in values)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Our scripts report to SageMaker; here only the figures matter."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
