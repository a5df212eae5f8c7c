"""Everything fine-tuned: the first steps in each precision, and a whole training answered on blocks it has not seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accelerating.jobs import CPU, Row, job
from benchmarks.claims import claim
from benchmarks.counting.models import answers_for_quarter, shards_beside_quarter
from benchmarks.counting.photos import Photos
from benchmarks.counting.shown import show
from stacks.vocabulary import TRAIN, VALIDATION


def first_steps(folder: Path, rows: Sequence[Row], flags: Sequence[str]) -> None:
    """Mean cross-entropy of one epoch and seconds a step, from the same weights over the same photos."""
    exact = 0.0
    for row in rows:
        place = _trained(folder / row.folder, row, flags)
        loss = _mean_loss(place)
        print(f"  first epoch {row.name}: training loss {loss:.4f}, {times(place)}")
        if row is CPU:
            exact = loss
        else:
            claim(f"{row.folder}_first_epoch_loss_over_cpu", loss / exact, at_most=1.01)


def compared(photos: Photos, folder: Path, rows: Sequence[Row], flags: Sequence[str]) -> None:
    """The whole fine-tuning of benchmarks/accuracy.py in each precision."""
    losses: dict[str, float] = {}
    for row in rows:
        place = folder / row.folder
        shards = shards_beside_quarter(photos, folder / "shards")
        _trained(place, row, [*flags, "--train", str(shards[TRAIN]), "--validation", str(shards[VALIDATION])])
        metrics = json.loads((place / "model" / "metrics.json").read_text())
        losses[row.name] = metrics["best"]["validation_loss"]
        print(f"  whole {row.name}: {metrics['seconds']:.0f} s, {times(place)}, validation loss {losses[row.name]:.4f}")
        show(f"  whole {row.name}", answers_for_quarter(place / "model", photos, "median"))
    exact = losses[rows[0].name]
    for row in rows[1:]:
        claim(f"{row.folder}_validation_loss_over_{rows[0].folder}", losses[row.name] / exact, at_most=1.02)


def times(place: Path) -> str:
    """Median milliseconds of a step, and the mean of what it waited for its photos."""
    profile = json.loads((place / "model" / "profile.json").read_text())
    waited = 1000 * profile["waited_seconds"] / profile["steps"]
    return f"{1000 * profile['step_seconds']['p50']:.0f} ms a step ({waited:.0f} of them waiting for photos)"


def _trained(place: Path, row: Row, flags: Sequence[str]) -> Path:
    if not (place / "model" / "metrics.json").is_file():
        kept = ["--output", str(place / "model"), "--checkpoints", str(place / "checkpoints")]
        job(
            "train.py",
            *flags,
            *kept,
            "--precision",
            row.precision,
            log=place / "train.log",
            environment=row.environment,
        )
    return place


def _mean_loss(place: Path) -> float:
    metrics: dict[str, Any] = json.loads((place / "model" / "metrics.json").read_text())
    return float(metrics["history"][0]["train_loss"])
