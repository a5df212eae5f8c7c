"""Which objective counts best: cross-entropy, ordinal or expected-count, on the same photos, splits and seeds.

    python -m benchmarks.losses                    # ../shared/abid when present, else rendered photos
    python -m benchmarks.losses --rendered --backbone resnet18
    python -m benchmarks.losses --photos FOLDER    # any folder laid out like the public bucket, with labels.csv

Features of a frozen random ResNet50, which needs no downloaded weights, are computed once. Then, for every seed and
loss, five heads are trained, each without one fifth of the blocks of ids, and answer for that fifth: every photo is
answered by a head that saw neither it nor its neighbours. The learning rate and the epoch are chosen on another fifth,
by the loss itself. RMSE is of the answer that would be served, the most probable count, and of the expected count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.auditing.crossfit import BLOCK, FOLDS, embed_photos, folds_of, load_head
from benchmarks.learning.world import quiet, real_folder, trial
from stacks.vocabulary import CLASSES

from evaluation.bootstrap import interval, replicate_metrics  # isort: skip
from evaluation.calibration import softmax  # isort: skip
from evaluation.count_metrics import Predictions, measure  # isort: skip
from features.files import FeatureSet, Part, feature_file, write_features, write_part_list  # isort: skip
from fitting.objectives import OBJECTIVES  # isort: skip
from modelling.bin_model import read_card  # isort: skip

LEARNING_RATES = (0.001, 0.003, 0.01)
EPOCHS = 20
BASE = "cross-entropy"

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scores:
    """Of one loss: [seeds] figures over all photos, and [replicates] of RMSE, blocks resampled, mean over seeds."""

    accuracy: NDArray[np.float64]
    rmse: NDArray[np.float64]
    expected_rmse: NDArray[np.float64]
    replicates: NDArray[np.float64]


def main() -> None:
    """Print one line a loss and the difference of each to cross-entropy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder laid out like the public bucket, with labels.csv")
    parser.add_argument("--rendered", action="store_true", help="render bins even where real photos are at hand")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default="resnet50")
    asked = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        photos = asked.photos or (None if asked.rendered else real_folder()) or rendered_folder(work)
        features = embed_photos(photos, work, asked.backbone)
        counts = features.counts.numpy()
        always = int(np.bincount(counts).argmax())
        print(f"{len(counts)} photos of {photos.name}, random frozen {asked.backbone}, {FOLDS} folds of blocks of ids")
        print(f"always {always}: accuracy {(counts == always).mean():.3f}, RMSE {_rms(counts - always):.3f}")
        scores = {}
        for loss in OBJECTIVES:
            scores[loss] = score(loss, features, work, asked.seeds)
            print_scores(loss, scores[loss])
    for loss in OBJECTIVES:
        if loss != BASE:
            difference = scores[loss].replicates - scores[BASE].replicates
            span = interval(difference)
            print(f"{loss} - {BASE}: RMSE {difference.mean():+.3f}, 95% interval {span.low:+.3f} to {span.high:+.3f}")
    best = min(scores, key=lambda loss: scores[loss].rmse.mean())
    print(f"the better RMSE of the served answer: {best}")
    best = min(scores, key=lambda loss: scores[loss].expected_rmse.mean())
    print(f"the better RMSE of the expected count: {best}")


def score(loss: str, features: FeatureSet, work: Path, seeds: int) -> Scores:
    """Train and answer with every seed."""
    answers = [cross_fitted(loss, features, work, seed) for seed in range(seeds)]
    measured = [measure(found) for found in answers]
    replicates = np.mean([replicate_metrics(found).rmse for found in answers], axis=0)
    return Scores(
        np.array([float(found.accuracy) for found in measured]),
        np.array([float(found.rmse) for found in measured]),
        np.array([_rms(found.labels - found.expected_counts) for found in answers]),
        replicates,
    )


def print_scores(loss: str, scores: Scores) -> None:
    """Mean and spread over the seeds."""
    shown = ", ".join(
        f"{name} {values.mean():.3f} ± {values.std():.3f}"
        for name, values in (
            ("accuracy", scores.accuracy),
            ("RMSE", scores.rmse),
            ("RMSE of the expected count", scores.expected_rmse),
        )
    )
    print(f"{loss}: {shown} ({len(scores.rmse)} seeds)")


def cross_fitted(loss: str, features: FeatureSet, work: Path, seed: int) -> Predictions:
    """Answers for every photo by heads that never saw its block."""
    blocks = np.array([int(photo) // BLOCK for photo in features.ids], dtype=np.int64)
    probabilities = np.zeros((len(blocks), len(CLASSES)))
    for embedding, held_out in folds(features, blocks, work):
        probabilities[held_out] = softmax(best_logits(loss, embedding, features.features[held_out], seed))
    return Predictions.of(features.counts.numpy(), probabilities, blocks, classes=CLASSES)


def folds(features: FeatureSet, blocks: NDArray[np.int64], work: Path) -> Iterator[tuple[Path, Mask]]:
    """An embedding folder to train on and the photos it leaves out, one of each fold."""
    fold = folds_of(blocks)
    for number in range(FOLDS):
        held_out, validation = fold == number, fold == (number + 1) % FOLDS
        folder = work / f"fold-{number}"
        if not folder.exists():
            write_split(features, ~held_out & ~validation, folder, "train")
            write_split(features, validation, folder, "validation")
            backbone = work / "embedding" / "backbone"
            (folder / "backbone").symlink_to(backbone)
            parts = {Part(split, split, 0): "" for split in ("train", "validation")}
            write_part_list(folder / "features", parts, read_card(backbone / "model.json").tensors)
        yield folder, held_out


def write_split(features: FeatureSet, chosen: Mask, folder: Path, split: str) -> None:
    """Some of the photos as a split of an embedding."""
    rows = np.flatnonzero(chosen)
    write_features(
        feature_file(folder / "features", split, split, 0), features.features[rows], features.counts[rows].tolist(),
        [features.ids[row] for row in rows], view=0, precision=features.precision,
    )  # fmt: skip


def best_logits(loss: str, embedding: Path, inputs: torch.Tensor, seed: int) -> NDArray[np.float64]:
    """Logits [n, 5] by the head of the learning rate with the least validation loss."""
    best, logits = float("inf"), np.zeros((len(inputs), len(CLASSES)))
    for rate in LEARNING_RATES:
        with tempfile.TemporaryDirectory() as folder, quiet():
            model = Path(folder)
            metrics = trial(embedding, rate, 64, "--loss", loss, "--seed", str(seed), epochs=EPOCHS, output=model)
            if metrics["best"]["validation_loss"] < best:
                best = metrics["best"]["validation_loss"]
                with torch.inference_mode():
                    logits = load_head(model / "model", inputs.shape[1])(inputs).double().numpy()
    return logits


def rendered_folder(work: Path) -> Path:
    """Rendered bins, where no real photos are at hand."""
    from binventory.render import render_bucket

    render_bucket(work / "rendered", photos=600, seed=0)
    return work / "rendered"


def _rms(errors: NDArray[np.float64] | NDArray[np.int64]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


if __name__ == "__main__":
    main()
