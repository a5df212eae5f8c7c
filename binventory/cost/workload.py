"""How long the work takes: rates scaled by cores. Every number here is an assumption, derived in docs/costs.md."""

from __future__ import annotations

from dataclasses import dataclass

from binventory.core.errors import Exit, Problem
from binventory.core.known_photos import KnownPhotos
from binventory.core.words import counted
from binventory.cost.machines import machine
from stacks.names import EMBED, EPOCHS, EVALUATE, INGEST, LIMIT_PER_CLASS, STRATEGY, TRAIN, TUNE, VIEWS
from stacks.vocabulary import CLASSES

DATASET_PHOTOS = 535_234
HOURS_A_MONTH = 730.0
DAYS_A_MONTH = HOURS_A_MONTH / 24
# ResNet50 needs 4.09 G multiply-adds a photo; the rates below are photos a second and vCPU of an AVX-512 machine, at
# the share of the peak that was reached (docs/costs.md derives them).
EMBED_RATE = 12.0
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
    def of(cls, parameters: dict[str, object], photos: int | None) -> Workload:
        """From the pipeline's parameter defaults; `photos` overrides how many there are."""
        found = photos if photos is not None else (_most_photos(parameters) or DATASET_PHOTOS)
        strategy = str(parameters.get(STRATEGY) or "head")
        return cls(found, int(str(parameters.get(VIEWS, 0))), int(str(parameters.get(EPOCHS) or 1)), strategy)


def expected_for(parameters: dict[str, object], known: KnownPhotos) -> tuple[Workload, str]:
    """The work of an execution with these parameters, and the beginning of a sentence that says for how many photos.

    It says so where the number is not that of the photos that there are.
    """
    most = _most_photos(parameters)
    if known.number is not None:
        work = Workload.of(parameters, min(known.number, most) if most else known.number)
        return work, f"Expected for {counted(work.photos, 'photo')}"
    seen = f"more than {known.least:,} are there" if known.least else "how many are there is not known"
    work = Workload.of(parameters, most or max(DATASET_PHOTOS, known.least))
    why = f"the most that {LIMIT_PER_CLASS} {parameters[LIMIT_PER_CLASS]} takes" if most else "which is an assumption"
    return work, f"Expected for {counted(work.photos, 'photo')}, {why} ({seen})"


def _most_photos(parameters: dict[str, object]) -> int:
    """How many photos the limit of each class takes in all; 0 without a limit."""
    return int(str(parameters.get(LIMIT_PER_CLASS) or 0)) * len(CLASSES)


def seconds(step: str, instance_type: str, instance_count: int, work: Workload) -> float:
    """Expected seconds of one run of a step's job."""
    one = machine(instance_type)
    cores = one.vcpus * instance_count
    embed = GPU_EMBED_RATE * instance_count if one.gpus else EMBED_RATE * cores
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
