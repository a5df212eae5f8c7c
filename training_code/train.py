"""Train the network that counts: a head on features that Embed wrote, or everything from the photos.

Prints one line an epoch for SageMaker's metrics, keeps the epoch with the best validation loss, and writes
model.safetensors, model.json and metrics.json into the model folder. A run that is interrupted at any moment and
started again with the same checkpoint folder ends with the same weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from features.files import FeatureSet, check_backbone, read_split, same_precision, split_by_of
from features.first_head import fit_first_head
from features.source import FeatureSource
from fitting.checkpoints import CheckpointFolder
from fitting.loop import Fit, FitSettings, Outcome, Source, Watcher
from fitting.objectives import OBJECTIVES
from fitting.optimiser import OPTIMISERS, Optimiser, Schedule
from fitting.precision import PRECISIONS, MixedPrecision
from fitting.ranks import DEFAULT_PORT, Ranks, hosts_of_job, joined_ranks, several_gpus_without_launcher
from jobs.container import JobContainer, JobError, StopSignal, checked_output, leave, run_job
from jobs.lineage import code_fingerprint, require_disjoint
from jobs.settings import parse_settings, setting
from jobs.tensor_files import digest_of_tensors
from modelling.bin_model import BinModel, ModelCard, combine_saved, read_card, save_model
from modelling.head import HEADS, ORDERED, CountHead
from photos.threads import decoding_threads
from serving.answer_rule import ANSWERS, MEDIAN
from stacks.vocabulary import CLASSES, TRAIN, VALIDATION
from watching.mlflow_tracking import MlflowTracking
from watching.profile_window import RunProfiler, profile_json, profile_rules
from watching.report import RunReport, write_run_report
from watching.rules import parse_rules
from watching.watcher import RunWatcher

if TYPE_CHECKING:
    from photo import Preprocessing
    from photos.source import PhotoSource

EXAMPLES = """examples:
  python train.py --embedding embedding --output model --lr 0.01 --batch-size 64
  python train.py --strategy full --backbone resnet50 --weights torchvision --lr 0.001 \\
      --train shards/train --validation shards/validation --output model
"""
# Names only: importing torchvision to list them would cost every trial a second.
ARTEFACTS = ("auto", "model", "head")


@dataclass(frozen=True)
class TrainSettings:
    """The flags of a trial or of the final training."""

    strategy: str = setting("head: a head on frozen features; full: everything", "head", choices=("head", "full"))
    backbone: str = setting("network before the head (head: must be the embedded one)", "resnet50")
    weights: str | None = setting(
        "torchvision, packaged, channel, an s3:// uri, a path, or none for random (head: must be the embedded ones)",
        None, full="torchvision",
    )  # fmt: skip
    features: str = setting("every stage, or the last pool alone; embedded: what Embed was asked for", "embedded",
                            choices=("embedded", "stages", "last"), full="stages")  # fmt: skip
    fit: str | None = setting("whole frame squashed, or its centre (head: must be as embedded)", None,
                              choices=("whole", "crop"), full="whole")  # fmt: skip
    input_size: int | None = setting("side of the network's input, pixels (head: must be as embedded)", None,
                                     low=32, high=512, full=224)  # fmt: skip
    head: str = setting("ordered: one score and four thresholds; softmax: a score a count", ORDERED, choices=HEADS)
    answer: str = setting("which count is answered", MEDIAN, choices=ANSWERS)
    epochs: int = setting("passes over the training split", 20, low=1, high=10_000, full=8)
    lr: float = setting("peak learning rate", 0.03, low=1e-8, high=10, full=9e-4)
    batch_size: int = setting("photos a step, over all machines", 64, low=1, high=65_536, full=32)
    batch_norm: str = setting("full only: train on each batch's statistics, or keep the weights' own", "frozen",
                              choices=("frozen", "train"), only="full")  # fmt: skip
    loss: str = setting("what is minimised", "cross-entropy", choices=tuple(OBJECTIVES))
    label_smoothing: float = setting(
        "share of the loss that asks for every count alike", 0.0, low=0, high=0.9, full=0.05
    )
    squared_error: float = setting("weight of the expected count's squared error", 0.0, low=0, high=10, full=0.2)
    optimiser: str = setting("update rule", "sgd", choices=OPTIMISERS, full="adamw")
    weight_decay: float = setting("decay of weights towards zero", 0.02, low=0, high=10, full=0.01)
    head_rate: float = setting("full only: the head's learning rate, relative to lr", 0.3, low=0.01, high=100,
                               only="full")  # fmt: skip
    head_epochs: int = setting("full only: epochs of the head alone before everything; 0: none", 20, low=0, high=1000,
                               only="full")  # fmt: skip
    average: float = setting("decay of the averaged weights that are kept; 0: the last ones", 0.0, low=0, high=0.9999,
                             full=0.98)  # fmt: skip
    clip: float = setting("norm to which longer gradients are shortened; 0: never", 0.0, low=0, high=1e6, full=5.0)
    dropout: float = setting("share of the head's hidden units dropped while training", 0.5, low=0, high=0.95, full=0.2)
    precision: str = setting("numbers to compute in; auto: bf16 or else fp16 on a GPU, fp32 on a CPU", "auto",
                             choices=PRECISIONS)  # fmt: skip
    warm_up_epochs: float = setting(
        "epochs in which the learning rate rises to its peak", 1.0, low=0, high=1000, full=2.0
    )
    schedule: str = setting("learning rate after the warm-up", "cosine", choices=("cosine", "constant"))
    patience: int = setting("epochs without a better validation loss before the end; 0: never", 0, low=0, high=10_000,
                            full=3)  # fmt: skip
    seed: int = setting("seed of initial weights, order, views and dropout", 0, low=0, high=2**31)
    checkpoint_seconds: float = setting("seconds between checkpoints inside an epoch", 60.0, low=0)
    watch: str = setting("watch rules: default, off, or rule=warn|stop|off[:threshold],...", "default", listed=True)
    watch_every: int = setting("steps between looks at weights and gradients", 1, low=1, high=10_000)
    profile_steps: int = setting("steps whose operators are profiled; 0: none", 0, low=0, high=1000)
    mlflow: str = setting("MLflow tracking uri; none: no tracking", "none")
    artefact: str = setting("what to save; auto: the head alone in a tuning trial, else all", "auto", choices=ARTEFACTS)
    threads: int = setting("full only: threads that decode photos; 0: one a processor, from 2 to 16", 0,
                           low=0, high=256, only="full")  # fmt: skip
    max_corrupt_share: float = setting("full only: share of photos or shards that may be unreadable", 0.01,
                                       low=0, high=1, only="full")  # fmt: skip
    sealed: str = setting(
        "full only: digests of the splits' lists of shards, as step Seal recorded them; none: not held to any", "none"
    )
    embedding: Path | None = setting("head only: folder that embed.py wrote (default: the channel)", None, only="head")
    train: Path | None = setting("full only: folder of training shards (default: the channel)", None, only="full")
    validation: Path | None = setting(
        "full only: folder of validation shards (default: the channel)", None, only="full"
    )
    output: Path | None = setting("where to write the model (default: the job's model folder)", None)
    checkpoints: Path | None = setting(
        "where to keep checkpoints (default: the job's folder; outside a job, OUTPUT.checkpoints)", None
    )


@dataclass(frozen=True, eq=False)
class Task:
    """The input of the fit, for either strategy: network, data, and the card of the result."""

    network: nn.Module
    train: Source
    validation: Source
    counts: Tensor
    card: ModelCard
    data: tuple[str, ...]
    """Digests of the data and of the initial weights."""
    start: Callable[[], None] = lambda: None
    """Prepares the network of a run that continues no checkpoint."""


def main(arguments: list[str] | None = None) -> None:
    """Train to the end. Raises JobError where input or settings are wrong, before work where it can be known."""
    settings = parse_settings(TrainSettings, arguments, __doc__ or "", EXAMPLES)
    rules = parse_rules(settings.watch)
    container = JobContainer()
    output = container.model if settings.output is None else checked_output(settings.output)
    stop = StopSignal()
    with joined_ranks() as ranks:
        torch.manual_seed(settings.seed)
        head = settings.strategy == "head"
        task = _head_task(settings, container) if head else _full_task(settings, container, ranks)
        task.network.to(ranks.device)
        classes = {count: int((task.counts == count).sum()) for count in CLASSES}
        watcher = RunWatcher(rules, classes, every=settings.watch_every, speak=ranks.is_first)
        profiler = RunProfiler(settings.profile_steps, ranks, 0 if head else decoding_threads(settings.threads))
        tracking = _tracking(settings, container, ranks)
        started = time.monotonic()
        fit = _prepare(task, settings, container, ranks, stop, [watcher, profiler, *tracking])
        outcome = fit.run()
        measured = profiler.measured()
        if not ranks.is_first:
            return
        print(outcome.best.line("best epoch"), flush=True)
        _save(task, outcome, settings, container, output, fit.precision.kind)
        report = RunReport(
            f"Training on {len(task.train)} photos", _facts(task, outcome, settings), outcome, watcher.curves,
            watcher.reports(), profile_json(measured, profiler.operators), profile_rules(measured),
        )  # fmt: skip
        write_run_report(output, report, seconds=time.monotonic() - started)
        for tracker in tracking:
            tracker.finish(output)


def _tracking(settings: TrainSettings, container: JobContainer, ranks: Ranks) -> list[MlflowTracking]:
    """On every rank, because checkpoints hold the state of every watcher; the first one reports."""
    if settings.mlflow == "none":
        return []
    return [MlflowTracking(settings.mlflow, container.job_name, _asked(settings), active=ranks.is_first)]


def _prepare(
    task: Task, settings: TrainSettings, container: JobContainer, ranks: Ranks, stop: StopSignal,
    watchers: Sequence[Watcher],
) -> Fit:  # fmt: skip
    optimiser = Optimiser(task.network, settings.optimiser, settings.weight_decay, settings.head_rate)
    fit_settings = FitSettings(
        settings.epochs, settings.batch_size, settings.seed, settings.loss, settings.patience,
        settings.label_smoothing, settings.squared_error, settings.average, settings.clip, settings.answer,
    )  # fmt: skip
    steps_an_epoch = ranks.sampling(len(task.train), settings.batch_size, settings.seed).steps
    schedule = Schedule(
        settings.lr, steps_an_epoch * settings.epochs, round(steps_an_epoch * settings.warm_up_epochs),
        settings.schedule == "cosine",
    )  # fmt: skip
    if schedule.warm_up >= schedule.steps and ranks.is_first:
        highest = schedule.rate(schedule.steps - 1)
        print(f"warning: the warm-up of {settings.warm_up_epochs:g} epochs lasts as long as the training: the learning "
              f"rate reaches {highest:.3g}, not {settings.lr:g}", file=sys.stderr, flush=True)  # fmt: skip
    precision = MixedPrecision.of(settings.precision, ranks.device)
    fingerprint = _fingerprint(settings, task, ranks, precision.kind)
    ranks.require_same(fingerprint)
    folder = _checkpoint_folder(settings, container)
    checkpoints = CheckpointFolder(folder, fingerprint, every_seconds=settings.checkpoint_seconds)
    return Fit(
        task.network, optimiser, schedule, fit_settings, train=task.train, validation=task.validation,
        checkpoints=checkpoints, ranks=ranks, stop=stop, watchers=watchers,
        precision=precision, start=task.start,
    )  # fmt: skip


def _checkpoint_folder(settings: TrainSettings, container: JobContainer) -> Path:
    """A person may not write where a job's are: theirs are beside the model, as Embed keeps its finished files."""
    if settings.checkpoints is None and settings.output is not None and not container.is_job:
        output = settings.output.absolute()
        return output.with_name(f"{output.name}.checkpoints")
    return settings.checkpoints or container.own_checkpoints


def _head_task(settings: TrainSettings, container: JobContainer) -> Task:
    folder = settings.embedding or container.channel("embedding")
    card = read_card(folder / "backbone" / "model.json")
    check_backbone(folder / "features", card.tensors)
    if card.backbone != settings.backbone:
        raise JobError(f"backbone is {settings.backbone}, but the features were embedded with {card.backbone}")
    _require_as_embedded(settings, card)
    splits = [read_split(folder / "features", split) for split in (TRAIN, VALIDATION)]
    card, splits = _asked_features(settings.features, card, splits)
    card = replace(
        card, computed_in={"features": same_precision(splits)}, head=settings.head, answer=settings.answer,
        split_by=split_by_of(folder / "features"),
    )  # fmt: skip
    train, validation = (FeatureSource(features, settings.seed) for features in splits)
    _check_counts(train.counts, validation.counts)
    require_disjoint({TRAIN: train.ids, VALIDATION: validation.ids})
    head = CountHead(train.views.shape[2], dropout=settings.dropout, kind=settings.head)
    head.standardise_on(train.views.flatten(0, 1), card.feature_groups)
    return Task(head, train, validation, train.counts, card, (train.digest, validation.digest))


def _require_as_embedded(settings: TrainSettings, card: ModelCard) -> None:
    """Raise JobError where a flag asks for what the features were not made with: it would have no effect."""
    made = {"weights": card.weights, "fit": card.preprocessing.fit, "input_size": card.preprocessing.crop}
    for name, found in made.items():
        asked = getattr(settings, name)
        if asked is not None and asked != found:
            flag = "--" + name.replace("_", "-")
            raise JobError(
                f"{flag} is {asked}, but the features were embedded with {found}: leave it out, or embed again"
            )


def _asked_features(asked: str, card: ModelCard, splits: list[FeatureSet]) -> tuple[ModelCard, list[FeatureSet]]:
    """The features that the head shall read: all that were embedded, or the last pool of every stage's, their first."""
    if asked in ("embedded", card.features):
        return card, splits
    if asked != "last":
        raise JobError(f"features is {asked}, but Embed has written those of {card.features} only: embed again")
    width = card.feature_groups[0]
    cut = [replace(split, features=split.features[:, :width].contiguous()) for split in splits]
    return replace(card, features=asked, feature_groups=(width,)), cut


def _full_task(settings: TrainSettings, container: JobContainer, ranks: Ranks) -> Task:
    # Here, not above: a trial on features should not wait for torchvision and Pillow.
    from modelling.backbones import load_backbone, preprocessing_of
    from shards.lists import read_split_by

    assert settings.weights is not None and settings.fit is not None and settings.input_size is not None
    if settings.artefact == "head" or settings.features == "embedded":
        flag = "--artefact head" if settings.artefact == "head" else "--features embedded"
        raise JobError(f"{flag} needs strategy head: with full, everything is trained, and Embed has written nothing")
    pixels = preprocessing_of(settings.backbone, settings.fit, settings.input_size)
    train = _photo_source(settings, TRAIN, settings.train or container.channel(TRAIN), pixels)
    validation = _photo_source(settings, VALIDATION, settings.validation or container.channel(VALIDATION), pixels)
    _check_counts(train.counts, validation.counts)
    require_disjoint({TRAIN: train.ids, VALIDATION: validation.ids})
    backbone = load_backbone(settings.backbone, settings.weights, settings.seed, container, settings.features)
    # The seed identifies random weights, because processors draw them differently.
    start = "" if settings.weights == "none" else digest_of_tensors(backbone.network.state_dict())
    model = BinModel(backbone, CountHead(backbone.width, dropout=settings.dropout, kind=settings.head), pixels)
    model.frozen_norms = settings.batch_norm == "frozen"
    if ranks.size > 1 and ranks.device.type == "cuda":
        model.backbone = nn.SyncBatchNorm.convert_sync_batchnorm(model.backbone)
    # The layout that convolutions on CPU and GPU prefer.
    model.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    card = ModelCard(
        settings.backbone, settings.weights, "full", preprocessing=pixels, features=settings.features,
        feature_groups=backbone.groups, head=settings.head, answer=settings.answer,
        split_by=read_split_by(settings.train or container.channel(TRAIN)),
    )  # fmt: skip

    def fit_head() -> None:
        if settings.head_epochs:
            fit_first_head(model, train, epochs=settings.head_epochs, seed=settings.seed)

    return Task(model, train, validation, train.counts, card, (train.digest, validation.digest, start), fit_head)


def _photo_source(settings: TrainSettings, split: str, folder: Path, pixels: Preprocessing) -> PhotoSource:
    from photos.augmentation import Augmentation
    from photos.source import PhotoSource
    from shards import ShardError, check_sealed

    try:
        check_sealed(split, folder, settings.sealed)
    except ShardError as error:
        raise JobError(str(error)) from error
    return PhotoSource(
        folder, pixels, Augmentation.of(pixels.fit), seed=settings.seed, threads=decoding_threads(settings.threads),
        max_corrupt_share=settings.max_corrupt_share,
    )  # fmt: skip


def _check_counts(*splits: Tensor) -> None:
    found = sorted({int(count) for split in splits for count in split.unique()})
    if not set(found) <= set(CLASSES):
        raise JobError(f"the data holds counts {found}, the model counts {CLASSES[0]} to {CLASSES[-1]}; ingest again")


def _asked(settings: TrainSettings) -> dict[str, Any]:
    """The settings without folders."""
    return {
        name: value for name, value in asdict(settings).items() if value is not None and not isinstance(value, Path)
    }


def _fingerprint(settings: TrainSettings, task: Task, ranks: Ranks, numbers: str) -> str:
    """SHA-256 of what must be equal to continue a checkpoint.

    It is the settings without folders, the data, the number of processes, the code, and `numbers`: the precision that
    was chosen here, which with `auto` differs from machine to machine.
    """
    values = _asked(settings) | {"computed in": numbers, "code": code_fingerprint(), "torch": torch.__version__}
    values |= {"ranks": ranks.size, "train": list(task.train.ids), "validation": list(task.validation.ids)}
    values["data"] = task.data
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _facts(task: Task, outcome: Outcome, settings: TrainSettings) -> dict[str, str]:
    best = outcome.best
    return {
        "strategy": settings.strategy, "backbone": f"{task.card.backbone}, weights {task.card.weights}",
        "photos": f"{len(task.train)} to train, {len(task.validation)} to validate",
        "kept epoch": f"{best.epoch} of {len(outcome.history)}: validation loss {best.validation_loss:.4f}, accuracy "
                      f"{best.validation_accuracy:.4f}, RMSE {best.validation_rmse:.4f}",
        "settings": ", ".join(f"{name} {value}" for name, value in sorted(_asked(settings).items())),
    }  # fmt: skip


def _save(
    task: Task, outcome: Outcome, settings: TrainSettings, container: JobContainer, output: Path, numbers: str
) -> None:
    metrics = {name: value for name, value in asdict(outcome.best).items() if name != "epoch"}
    summary = {
        "hyperparameters": _asked(settings), "best_epoch": outcome.best.epoch, "steps": outcome.steps,
        "photos": len(task.train),
    }  # fmt: skip
    computed_in = {**task.card.computed_in, "training": numbers}
    card = replace(
        task.card, strategy=settings.strategy, loss=settings.loss, training=summary, metrics=metrics,
        computed_in=computed_in,
    )  # fmt: skip
    if isinstance(task.network, BinModel):
        save_model(task.network, card, output)
        return
    head = {f"head.{name}": value for name, value in task.network.state_dict().items()}
    whole = settings.artefact == "model" or (settings.artefact == "auto" and not container.is_trial)
    backbone = (settings.embedding or container.channel("embedding")) / "backbone"
    combine_saved(backbone if whole else None, head, card, output)


def launch(arguments: list[str]) -> int:
    """Run main, in one process a GPU where this machine has several. Returns the exit status."""
    gpus = several_gpus_without_launcher()
    if not gpus:
        return run_job(lambda: main(arguments))
    found: list[tuple[list[str], int]] = []
    if failed := run_job(lambda: found.append(hosts_of_job())):
        return failed
    hosts, place = found[0]
    address = os.environ.get("MASTER_ADDR", hosts[0])
    port = os.environ.get("MASTER_PORT", DEFAULT_PORT)
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", f"--nnodes={len(hosts)}", f"--node-rank={place}",
        f"--nproc-per-node={gpus}", f"--master-addr={address}", f"--master-port={port}", __file__,
    ]  # fmt: skip
    return subprocess.run([*torchrun, *arguments], check=False).returncode


if __name__ == "__main__":
    # A thread of gloo may still drop a tensor of the last sum, which aborts a process whose interpreter is taken down.
    leave(launch(sys.argv[1:]))
