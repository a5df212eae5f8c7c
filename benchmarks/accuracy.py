"""How well bins are counted: on real photos whose blocks of ids no answering model has seen, against the claims.

    python -m benchmarks.accuracy                       # ../shared/abid-10k; the fine-tuning takes about an hour
    python -m benchmarks.accuracy --parts frozen        # without it
    python -m benchmarks.accuracy --photos FOLDER       # laid out like the public bucket, such as ../shared/abid
    python -m benchmarks.accuracy --quick               # a few photos: does it run?

Compared are always the commonest count, random features, the recipe of the published reports (the last pool of an
ImageNet network, a centre crop, a head of five scores), and the defaults of this project, frozen and fine-tuned. Frozen
ones answer out of fold; the fine-tuned one answers a fixed quarter of the blocks. Temperature and epoch are chosen on
blocks that train nothing and are not reported. Intervals resample blocks. Work that is done stays in --cache.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import REPOSITORY, some_of
from benchmarks.auditing.corruption import off_like_the_rest, repeat
from benchmarks.claims import claim, exit_status
from benchmarks.counting.models import Recipe, cross_fitted, fine_tuned, on_held_out_quarter
from benchmarks.counting.photos import CACHE, Photos, read
from benchmarks.counting.recipes import FINE_TUNED, FROZEN, RANDOM, REPORTS
from benchmarks.counting.shown import show
from benchmarks.processor import this_processor
from evaluation.count_metrics import Predictions, majority_baseline, measure

PARTS: Final = ("frozen", "fine-tuned")
LIFT_TIMES: Final = 100
CURVE: Final = (0.1, 0.25, 0.5)


def main() -> int:
    """Measure, print a line a model, and end with the claims; the exit status is 1 when one was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=REPOSITORY.parent / "shared" / "abid-10k")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--parts", type=some_of(PARTS), default=PARTS, help=f"{','.join(PARTS)} (default both)")
    quick = "300 photos, two folds, no learning curve, one epoch of fine-tuning"
    parser.add_argument("--quick", action="store_true", help=quick)
    asked = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    photos = read(asked.photos)
    if asked.quick:
        photos = photos.first_blocks(300)
    cache = photos.cache(asked.cache, "quick" if asked.quick else "whole")
    print(
        f"{len(photos.ids)} photos of {asked.photos.name} in {len(set(photos.blocks.tolist()))} blocks; "
        f"{this_processor()}"
    )
    folds = 2 if asked.quick else 5
    if "frozen" in asked.parts:
        # Of a few photos' blocks a tenth is none, or all.
        frozen(photos, cache, folds, () if asked.quick else CURVE)
    if "fine-tuned" in asked.parts:
        whole(photos, cache, ("--epochs", "1", "--head-epochs", "2") if asked.quick else (), folds)
    if asked.quick:
        shutil.rmtree(cache)
    return exit_status()


def frozen(photos: Photos, cache: Path, folds: int, curve: Sequence[float]) -> None:
    """Heads on frozen features, and the learning curve of ours: with these shares of the training photos."""
    found = {recipe.name: cross_fitted(recipe, photos, cache, folds=folds) for recipe in (RANDOM, REPORTS, FROZEN)}
    ours = found[FROZEN.name]
    show("always the commonest", majority_baseline(photos.counts, ours))
    for name, predictions in found.items():
        show(name, predictions)
    show("ours, frozen, answering the most probable", answering(ours, "most-probable"))
    for share in curve:
        show(f"ours, frozen, {share:.0%} of the training photos", cross_fitted(
            FROZEN, photos, cache, folds=folds, share=share
        ))  # fmt: skip
    lift = repeat(ours.probabilities, photos.counts, off_like_the_rest, LIFT_TIMES)
    metrics = measure(ours)
    claim("frozen_accuracy", float(metrics.accuracy), at_least=0.35)
    claim("frozen_within_one", float(metrics.within_one), at_least=0.85)
    claim("frozen_rmse", float(metrics.rmse), at_most=1.08)
    gained = float(measure(answering(ours, "most-probable")).accuracy - measure(found[REPORTS.name]).accuracy)
    claim(
        "frozen_accuracy_points_over_reports",
        100 * gained,
        at_least=6,
    )
    claim("frozen_calibration_error", float(metrics.calibration_error), at_most=0.03)
    claim("frozen_lift_top_tenth", lift.mean.lift, at_least=2.5)
    print(f"  lift from {lift.low.lift:.2f} to {lift.high.lift:.2f} over {LIFT_TIMES} corruptions, like the rest")


def whole(photos: Photos, cache: Path, flags: tuple[str, ...], folds: int) -> None:
    """Everything fine-tuned, on one fixed quarter of the blocks, beside frozen features on the same photos."""
    recipe = Recipe(FINE_TUNED.name, (), (*FINE_TUNED.train, *flags), FINE_TUNED.answer)
    found = fine_tuned(recipe, photos, cache)
    show("always the commonest, on its quarter", majority_baseline(photos.counts, found))
    show(recipe.name, found)
    likely = answering(found, "most-probable")
    show("ours, fine-tuned, answering the most probable", likely)
    beside = {
        recipe.name: on_held_out_quarter(cross_fitted(recipe, photos, cache, folds=folds), photos)
        for recipe in (REPORTS, FROZEN)
    }
    for name, predictions in beside.items():
        show(f"{name}, on the same quarter", predictions)
    metrics = measure(found)
    lift = repeat(found.probabilities, found.labels, off_like_the_rest, LIFT_TIMES)
    claim("fine_tuned_accuracy", float(metrics.accuracy), at_least=0.41)
    claim("fine_tuned_accuracy_most_probable", float(measure(likely).accuracy), at_least=0.41)
    gained = float(measure(likely).accuracy - measure(beside[REPORTS.name]).accuracy)
    claim("fine_tuned_accuracy_points_over_reports", 100 * gained, at_least=6)
    claim("fine_tuned_within_one", float(metrics.within_one), at_least=0.87)
    claim("fine_tuned_rmse", float(metrics.rmse), at_most=1.03)
    claim("fine_tuned_rmse_expected_count", float(metrics.rmse_expected), at_most=0.99)
    claim("fine_tuned_calibration_error", float(metrics.calibration_error), at_most=0.03)
    claim("fine_tuned_lift_top_tenth", lift.mean.lift, at_least=2.5)


def answering(predictions: Predictions, rule: str) -> Predictions:
    """The same probabilities with another rule of answering."""
    return Predictions.of(
        predictions.labels, predictions.probabilities, predictions.blocks, classes=predictions.classes, answer=rule
    )


if __name__ == "__main__":
    sys.exit(main())
