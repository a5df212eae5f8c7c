"""How long the work takes: rates scaled by cores. Every number here is an assumption, derived in docs/costs.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from binventory.core.errors import Exit, Problem
from binventory.core.known_photos import KnownPhotos
from binventory.core.words import counted
from binventory.cost.machines import InstanceType, machine
from binventory.cost.networks import relative_work
from stacks.names import BACKBONE, EMBED, EPOCHS, EVALUATE, INGEST, LIMIT_PER_CLASS, STRATEGY, TRAIN, TUNE, VIEWS
from stacks.vocabulary import CLASSES

DATASET_PHOTOS = 535_234
HOURS_A_MONTH = 730.0
DAYS_A_MONTH = HOURS_A_MONTH / 24
# ResNet50 needs 4.09 G multiply-adds a photo; the rates below are photos a second and vCPU of an AVX-512 machine, at
# the share of the peak that was reached (docs/costs.md derives them). networks.py says how much another network needs.
EMBED_RATE = 12.0
PREPARE_RATE = 300.0  # of decoding and preparing a photo, which is part of the time above and the same for each network
INGEST_RATE = 25.0
HEAD_RATE = 20_000.0
SERVE_RATE = 20.0
GPU_EMBED_RATE = 900.0  # photos a second of one T4 or better, all of an instance's GPUs counted as one
STEP_PASSES = 3.0  # a step of fine-tuning, in forward passes of the backbone: the way back costs two
TRAIN_SHARE = 0.8
JOB_OVERHEAD_SECONDS = 150.0  # from start to the first useful second: image, code, packages


@dataclass(frozen=True)
class Workload:
    """The photos, views and epochs of an execution."""

    photos: int
    views: int
    """Augmented views of each training photo, besides the photo itself."""
    epochs: int
    strategy: str = "head"
    """`full`: Embed has nothing to do, and each epoch of Tune and Train runs the whole network over the photos."""
    network: float = 1.0
    """Multiply-adds of the backbone for one photo, in those of a ResNet50 at 224 pixels."""

    def __post_init__(self) -> None:
        for name, least in (("photos", 1), ("views", 0), ("epochs", 1)):
            if getattr(self, name) < least:
                raise Problem(
                    f"--{name} {getattr(self, name)} is not possible",
                    f"it must be at least {least}",
                    f"give a larger number for --{name}",
                    code=Exit.USAGE,
                )

    @property
    def passes(self) -> float:
        """How often Embed sees a photo, on average: once, and once for each view of the training split."""
        return 0.0 if self.strategy == "full" else 1 + TRAIN_SHARE * self.views

    @classmethod
    def of(cls, parameters: Mapping[str, object], photos: int | None, input_size: int) -> Workload:
        """From the pipeline's parameters; `photos` overrides how many there are. `input_size` is in pixels."""
        found = photos if photos is not None else (_most_photos(parameters) or DATASET_PHOTOS)
        strategy = str(parameters.get(STRATEGY) or "head")
        network = relative_work(str(parameters.get(BACKBONE)), input_size)
        return cls(found, int(str(parameters.get(VIEWS, 0))), int(str(parameters.get(EPOCHS) or 1)), strategy, network)


def expected_for(parameters: Mapping[str, object], known: KnownPhotos, input_size: int) -> tuple[Workload, str]:
    """The work of an execution with these parameters, and the beginning of a sentence that says for how many photos.

    It says so where the number is not that of the photos that there are.
    """
    most = _most_photos(parameters)
    if known.number is not None:
        work = Workload.of(parameters, min(known.number, most) if most else known.number, input_size)
        return work, f"Expected for {counted(work.photos, 'photo')}"
    seen = f"more than {known.least:,} are there" if known.least else "how many are there is not known"
    work = Workload.of(parameters, most or max(DATASET_PHOTOS, known.least), input_size)
    why = f"the most that {LIMIT_PER_CLASS} {parameters[LIMIT_PER_CLASS]} takes" if most else "which is an assumption"
    return work, f"Expected for {counted(work.photos, 'photo')}, {why} ({seen})"


def _most_photos(parameters: Mapping[str, object]) -> int:
    """How many photos the limit of each class takes in all; 0 without a limit."""
    return int(str(parameters.get(LIMIT_PER_CLASS) or 0)) * len(CLASSES)


def seconds(step: str, instance_type: str, instance_count: int, work: Workload) -> float:
    """Expected seconds of one run of a step's job."""
    one = machine(instance_type)
    cores = one.vcpus * instance_count
    embed = _embed_rate(one, instance_count, work.network)
    learn = embed / STEP_PASSES if work.strategy == "full" else HEAD_RATE * cores
    fit = work.photos * TRAIN_SHARE * work.epochs / learn
    useful = {
        INGEST: work.photos / (INGEST_RATE * cores),
        EMBED: work.photos * work.passes / embed,
        TUNE: fit,
        TRAIN: fit,
        EVALUATE: work.photos * 0.3 / embed,
    }
    return JOB_OVERHEAD_SECONDS + useful.get(step, 0.0)


def _embed_rate(one: InstanceType, instance_count: int, network: float) -> float:
    """Photos a second that machines embed: a processor prepares a photo, then it or the GPU runs the network."""
    prepared = PREPARE_RATE * one.vcpus
    if one.gpus:
        # Photos are prepared while the GPU works.
        return min(GPU_EMBED_RATE / network, prepared) * instance_count
    alone = 1 / EMBED_RATE - 1 / PREPARE_RATE
    return one.vcpus * instance_count / (1 / PREPARE_RATE + alone * network)
