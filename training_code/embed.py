"""Run the frozen backbone once over every photo and keep its features; tuning and training then read those.

Writes into the model folder: features/<split>/<shard>.view<k>.safetensors and backbone/ (weights and model.json).
View 0 is the photo as it is served; views 1..K are augmented, of the training split only. Finished files go through the
checkpoint folder, so a job that was reclaimed redoes only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from features.files import feature_file, write_features
from features.frozen_backbone import FrozenBackbone, calibrate_random_backbone, freeze
from features.quarantine import Quarantine
from fitting.ranks import hosts_of_job
from jobs.container import JobContainer, JobError, run_job, write_json
from jobs.settings import parse_settings, setting
from modelling.backbones import BACKBONES, load_backbone
from modelling.bin_model import BinModel, ModelCard, load_model, save_model
from modelling.openvino_graph import BATCH
from photo import PhotoError, Preprocessing
from photos.augmentation import Augmentation
from photos.batches import photo_view, read_ahead, stacked
from shards import Sample, ShardError, list_shards, read_shards

EXAMPLES = """examples:
  python embed.py --weights torchvision --train shards/train --validation shards/validation --output embedding
  python embed.py --weights none --views 2 --train shards/train --validation shards/validation --output embedding
"""
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class EmbedSettings:
    """What the Embed job is asked for."""

    strategy: str = setting("full: nothing to embed, the job only says so", "head", choices=("head", "full"))
    backbone: str = setting("network whose features are kept", "resnet50", choices=BACKBONES)
    weights: str = setting(
        "torchvision (ImageNet), channel (the channel `weights`), an s3:// uri, a path, or none for random ones",
        "torchvision",
    )
    views: int = setting("augmented views of each training photo, besides the photo itself", 0, low=0, high=64)
    seed: int = setting("seed of random weights and of the views", 0, low=0, high=2**31)
    precision: str = setting("numbers the backbone computes in", "auto", choices=("auto", "fp32", "bf16"))
    calibration_photos: int = setting("training photos that set a random backbone's batch norms", 32, low=2, high=4096)
    max_corrupt_share: float = setting("share of photos or shards that may be unreadable", 0.01, low=0, high=1)
    train: Path | None = setting("folder of training shards (default: the channel)", None)
    validation: Path | None = setting("folder of validation shards (default: the channel)", None)
    test: Path | None = setting("folder of test shards (default: the channel, if there is one)", None)
    output: Path | None = setting("where to write (default: the job's model folder)", None)


@dataclass(frozen=True)
class Part:
    """One file of features to make: one view of one shard."""

    split: str
    shard: Path
    view: int

    def file(self, folder: Path) -> Path:
        """Where it belongs under `folder`."""
        return feature_file(folder, self.split, self.shard.stem, self.view)


def main(arguments: list[str] | None = None) -> None:
    """Embed every split. Raises JobError where input or settings are wrong."""
    settings = parse_settings(EmbedSettings, arguments, __doc__ or "", EXAMPLES)
    container = JobContainer()
    output = settings.output or container.model
    if settings.strategy == "full":
        write_json(output / "embedding.json", {"strategy": "full", "note": "the backbone is trained: no features"})
        print("strategy full trains the backbone itself: nothing to embed")
        return
    started = time.monotonic()
    shards = _shards_by_split(settings, container)
    work = _work_folder(settings, shards, container, output)
    model = _backbone(settings, container, shards["train"], work)
    quarantine = Quarantine(settings.max_corrupt_share)
    parts = [part for part in _my_parts(shards, settings.views) if not part.file(work / "features").exists()]
    if parts:
        frozen = freeze(model, settings.precision)
        for part in parts:
            _embed_part(part, frozen, model.preprocessing, settings, work, quarantine)
        quarantine.check(sum(len(paths) for paths in shards.values()))
    _publish(work, output)
    seconds = time.monotonic() - started
    engine = frozen.engine if parts else "nothing left to do"
    write_json(output / "embedding.json", {
        **{key: value for key, value in asdict(settings).items() if not isinstance(value, Path)},
        "engine": engine, "photos": quarantine.read, "unreadable_photos": quarantine.photos,
        "unreadable_shards": quarantine.shards,
    })  # fmt: skip
    print(f"embedded photos={quarantine.read} parts={len(parts)} seconds={seconds:.1f} engine={engine}")


def _shards_by_split(settings: EmbedSettings, container: JobContainer) -> dict[str, list[Path]]:
    shards = {}
    for split in SPLITS:
        folder: Path | None = getattr(settings, split)
        if folder is None and split == "test" and not container.has_channel("test"):
            continue
        try:
            shards[split] = list_shards(folder or container.channel(split))
        except ShardError as error:
            raise JobError(f"split {split!r} is empty: {error}") from error
    return shards


def _work_folder(settings: EmbedSettings, shards: dict[str, list[Path]], container: JobContainer, output: Path) -> Path:
    """Where finished parts wait, keyed by the settings and the shards: a checkpoint prefix can be shared."""
    asked = {name: value for name, value in asdict(settings).items() if not isinstance(value, Path)}
    sizes = {split: [(path.name, path.stat().st_size) for path in paths] for split, paths in shards.items()}
    key = hashlib.sha256(json.dumps([asked, sizes], sort_keys=True).encode()).hexdigest()[:16]
    base = container.checkpoints if settings.output is None else output.with_name(output.name + ".parts")
    return base / f"embed-{key}"


def _backbone(settings: EmbedSettings, container: JobContainer, train: list[Path], work: Path) -> BinModel:
    """The backbone with its weights; one that a reclaimed attempt prepared is taken over as it is."""
    kept = work / "backbone"
    if (kept / "model.json").exists():
        return load_backbone_model(kept)
    backbone = load_backbone(settings.backbone, settings.weights, settings.seed, container)
    model = BinModel(backbone, torch.nn.Identity(), Preprocessing()).eval()
    if settings.weights == "none":
        photos = _calibration_photos(settings, train, model.preprocessing)
        if calibrate_random_backbone(model, stacked(iter(photos), 32)):
            print(f"weights none: random backbone, its batch norms set from {len(photos)} training photos")
    save_model(model, ModelCard(settings.backbone, settings.weights, settings.strategy), kept)
    return model


def load_backbone_model(folder: Path) -> BinModel:
    """The backbone that Embed wrote, without a head."""
    return load_model(folder)[0]


def _calibration_photos(settings: EmbedSettings, train: list[Path], pixels: Preprocessing) -> list[NDArray[np.uint8]]:
    photos: list[NDArray[np.uint8]] = []
    for sample in _readable(train[0], None):
        try:
            photos.append(photo_view(sample, 0, settings.seed, pixels, Augmentation()))
        except PhotoError:
            continue
        if len(photos) == settings.calibration_photos:
            break
    if len(photos) < 2:
        raise JobError(f"weights none needs at least 2 readable photos in {train[0].name} to set the batch norms")
    return photos


def _my_parts(shards: dict[str, list[Path]], views: int) -> list[Part]:
    """The parts of this machine: every n-th one of the job's n machines."""
    parts = [
        Part(split, shard, view)
        for split, paths in shards.items()
        for shard in paths
        for view in range(1 + (views if split == "train" else 0))
    ]
    hosts, mine = hosts_of_job()
    return parts[mine :: len(hosts)]


def _embed_part(
    part: Part, frozen: FrozenBackbone, pixels: Preprocessing, settings: EmbedSettings, work: Path, bad: Quarantine
) -> None:
    counts: list[int] = []
    ids: list[str] = []

    def decode(sample: Sample) -> tuple[Sample, NDArray[np.uint8] | PhotoError]:
        try:
            return sample, photo_view(sample, part.view, settings.seed, pixels, Augmentation())
        except PhotoError as error:
            return sample, error

    def photos() -> Iterator[NDArray[np.uint8]]:
        samples = _readable(part.shard, bad)
        for sample, photo in read_ahead(decode, samples, threads=2, ahead=4 * BATCH):
            bad.read += 1
            if isinstance(photo, PhotoError):
                bad.add_photo(sample.id, str(photo))
                continue
            counts.append(sample.count)
            ids.append(sample.id)
            yield photo

    features = list(frozen.run(stacked(photos(), BATCH)))
    found = torch.cat(features) if features else torch.zeros(0, 1)
    write_features(part.file(work / "features"), found, counts, ids, view=part.view)
    print(f"embedded split={part.split} shard={part.shard.name} view={part.view} photos={len(ids)}", flush=True)


def _readable(shard: Path, bad: Quarantine | None) -> Iterator[Sample]:
    """The samples of a shard up to where it is damaged."""
    try:
        yield from read_shards([shard])
    except ShardError as error:
        if bad is not None:
            bad.add_shard(shard, str(error))


def _publish(work: Path, output: Path) -> None:
    for name in ("features", "backbone"):
        shutil.copytree(work / name, output / name, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(run_job(main))
