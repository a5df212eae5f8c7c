"""How many wrong records an audit finds: on real photos, with records made wrong on purpose, against random inspection.

    python -m benchmarks.audit                    # five minutes on 2 cores: embeds the photos, trains five heads
    python -m benchmarks.audit --only page        # opening the HTML page with 10,000 bins

The model is the default of a rehearsal: a head on the features of a frozen EfficientNet-Lite0 with ImageNet weights.
Every photo is answered by a model that was trained without its block of ids. For comparison, the same ranking without
photos (by class shares alone): when errors are spread evenly, rare quantities are suspicious by themselves.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import REPOSITORY
from benchmarks.auditing.corruption import DEPTHS, Repeated, off_by_some, off_like_the_rest, repeat, score, simulate
from benchmarks.claims import claim, exit_status
from benchmarks.counting.models import cross_fitted
from benchmarks.counting.photos import CACHE, Photos, read
from benchmarks.counting.recipes import FROZEN
from benchmarks.held_out import Floats, Integers, parts_of
from benchmarks.processor import this_processor
from binventory.audit import job
from binventory.audit.csv_records import Columns
from binventory.audit.files import PAGE_NAME
from binventory.core.aws import Aws
from evaluation.count_metrics import Predictions, measure
from stacks.vocabulary import CLASSES

TIMES: Final = 200
PAGE_BINS: Final = 10_000
PAGE_OPENINGS: Final = 5
USABLE: Final = "document.documentElement.dataset.ready && document.getElementById('photo').complete"
FOLDS: Final = 5
# Name, accuracy, RMSE.
PUBLISHED: Final = ("ResNet34 on 324,735 photos, 55.67%, RMSE 0.93", 0.5567, 0.930)


def main() -> int:
    """Measure and print; every goal is a `claim:` line, and the exit status is 1 when one was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=REPOSITORY.parent / "shared" / "abid-10k")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--only", choices=("ranking", "published", "page"))
    arguments = parser.parse_args()
    if not arguments.photos.is_dir():
        raise SystemExit(f"no photos at {arguments.photos}; give a folder laid out like the public bucket: --photos")
    photos = read(arguments.photos)
    print(f"{len(photos.ids)} photos of {arguments.photos.name}, {this_processor()}")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only in (None, "ranking"):
            rank_real_photos(photos, photos.cache(arguments.cache), Path(folder))
        if arguments.only in (None, "published"):
            expect_from_published(photos)
        if arguments.only in (None, "page"):
            open_page(arguments.photos, Path(folder))
    return exit_status()


def rank_real_photos(photos: Photos, cache: Path, work: Path) -> None:
    """Cross-fitted answers, corrupted records, and the audit itself on one of the corruptions."""
    answers = cross_fitted(FROZEN, photos, cache, folds=FOLDS)
    without = class_shares(photos)
    blind = measure(Predictions.of(photos.counts, without, photos.blocks, classes=CLASSES))
    scaled = measure(answers)
    print(
        f"held-out: accuracy {scaled.accuracy:.3f}, within one {scaled.within_one:.3f}, RMSE {scaled.rmse:.3f}, "
        f"log loss {scaled.log_loss:.3f} (class shares alone: {blind.accuracy:.3f}, {blind.log_loss:.3f}); "
        f"calibration error {scaled.calibration_error:.3f}"
    )
    print_heading()
    model = repeat(answers.probabilities, photos.counts, off_by_some, TIMES)
    print_scores("off by 1 to 3, evenly: model", model)
    print_scores("  class shares alone", repeat(without, photos.counts, off_by_some, TIMES))
    harder = repeat(answers.probabilities, photos.counts, off_like_the_rest, TIMES)
    print_scores("off like the rest: model", harder)
    print_scores("  class shares alone", repeat(without, photos.counts, off_like_the_rest, TIMES))
    through_the_door(answers.probabilities, photos, work)
    claim("audit_calibration_error_after_scaling", float(scaled.calibration_error), at_most=0.05)
    claim("audit_lift_top_tenth", model.mean.lift, at_least=1.5)
    claim("audit_lift_top_tenth_rare_quantities_no_help", harder.mean.lift, at_least=1.0)


def class_shares(photos: Photos) -> Floats:
    """[n, 5] shares of the counts outside each photo's fold: the best probabilities without the photo."""
    fold = parts_of(photos.blocks, FOLDS, seed=0)
    shares = np.zeros((len(photos.ids), len(CLASSES)))
    for number in range(FOLDS):
        shares[fold == number] = shares_of(photos.counts[fold != number])
    return shares


def shares_of(counts: Integers) -> Floats:
    """[5] shares of the counts."""
    found: Floats = np.bincount(counts, minlength=CLASSES[-1] + 1)[CLASSES[0] :] / len(counts)
    return found


def print_heading() -> None:
    """Columns of `print_scores`."""
    heads = "".join(f"{f'first {depth}':>20}" for depth in DEPTHS)
    print(f"10% of records wrong, mean (95% of {TIMES} corruptions); share of wrong records in the first so many")
    print(f"{'':36}{heads}{'ROC area':>20}{'lift, top tenth':>20}")


def print_scores(name: str, found: Repeated) -> None:
    """One line of the table."""
    pairs = [(found.mean.precision[d], found.low.precision[d], found.high.precision[d]) for d in DEPTHS]
    pairs.append((found.mean.area, found.low.area, found.high.area))
    pairs.append((found.mean.lift, found.low.lift, found.high.lift))
    cells = "".join(f"{f'{mean:.3f} ({low:.2f}-{high:.2f})':>20}" for mean, low, high in pairs)
    print(f"{name:36}{cells}")


def through_the_door(probabilities: Floats, photos: Photos, work: Path) -> None:
    """The first corruption through `binventory audit`'s own code: its list must give what the arrays give."""
    recorded, wrong = off_by_some(photos.counts, np.random.default_rng(0))
    (work / "answers.jsonl").write_text(as_lines(photos.ids, probabilities))
    write_records(work / "records.csv", photos.ids, recorded)
    request = job.Request(
        str(photos.folder),
        work / "audit",
        records=work / "records.csv",
        predictions=work / "answers.jsonl",
        formats=("jsonl",),
    )
    summary = job.run_audit(request, _no_aws).summary
    place = {image_id: index for index, image_id in enumerate(photos.ids)}
    listed = [json.loads(line) for line in (work / "audit" / "disagreements.jsonl").read_text().splitlines()]
    order = np.array([place[row["image_id"]] for row in listed])
    of_list = score(-np.arange(len(order), dtype=np.float64), wrong[order])
    assert summary.wrong is not None
    held = summary.wrong.low <= wrong.mean() <= summary.wrong.high
    print(
        f"binventory audit, first corruption: ROC area {of_list.area:.3f}, lift {of_list.lift:.2f}; estimated share of "
        f"wrong records {summary.wrong.share:.3f} ({summary.wrong.low:.3f} to {summary.wrong.high:.3f}), true "
        f"{wrong.mean():.3f} {'inside' if held else 'outside'}"
    )


def expect_from_published(photos: Photos) -> None:
    """What a calibrated model with the published accuracy and RMSE would find, simulated on as many photos as these."""
    name, accuracy, rmse = PUBLISHED
    found = simulate(accuracy, rmse, len(photos.ids), shares_of(photos.counts))
    print(f"Expected from {name}, were it calibrated (simulated, {len(photos.ids):,} photos):")
    print(f"RMSE of the simulation {found.rmse:.2f}, {found.blind_share:.0%} of photos tell nothing")
    print_heading()
    print_scores("off by 1 to 3, evenly", repeat(found.probabilities, found.counts, off_by_some, TIMES))


def open_page(photos: Path, work: Path) -> None:
    """Time until a page of 10,000 bins with real photos is usable in headless Chromium."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium")
    if executable is None:
        print("page: no Chromium on this machine, not measured (Debian: apt-get install chromium)")
        return
    page = write_big_page(photos, work)
    seconds = []
    with sync_playwright() as playwright:
        for _ in range(PAGE_OPENINGS):
            # A new browser each time: nothing is warm but the file system.
            browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
            opened = browser.new_page()
            began = time.monotonic()
            opened.goto(page.resolve().as_uri())
            opened.wait_for_function(USABLE)
            seconds.append(time.monotonic() - began)
            opened.keyboard.press("End")
            assert f"{PAGE_BINS - 1:06d}" in opened.locator("#title").inner_text()
            browser.close()
    print(
        f"page with {PAGE_BINS:,} bins, {page.stat().st_size / 1e6:.0f} MB: usable after "
        f"{', '.join(f'{second:.2f}' for second in seconds)} s"
    )
    claim("audit_page_seconds_to_open_10000_bins", float(np.median(seconds)), at_most=2.0)


def write_big_page(photos: Path, work: Path) -> Path:
    """Real photos, each standing for several bins, with made-up records and answers that keep the ids in order."""
    names = sorted(path.name for path in (photos / "bin-images").iterdir())
    ids = [f"{number:06d}" for number in range(PAGE_BINS)]
    sure = np.linspace(0.01, 0.9, PAGE_BINS)
    table = np.repeat(((1 - sure) / (len(CLASSES) - 1))[:, None], len(CLASSES), axis=1)
    table[:, 1] = sure
    (work / "page.jsonl").write_text(as_lines(ids, table))
    chosen = [f"bin-images/{names[number % len(names)]}" for number in range(PAGE_BINS)]
    write_records(work / "page.csv", ids, np.full(PAGE_BINS, 2), chosen)
    request = job.Request(
        str(photos),
        work / "page",
        records=work / "page.csv",
        columns=Columns(photo="photo", name="name"),
        predictions=work / "page.jsonl",
        formats=("html",),
        page_bins=PAGE_BINS,
    )
    began = time.monotonic()
    job.run_audit(request, _no_aws)
    print(f"audit and page of {PAGE_BINS:,} bins written in {time.monotonic() - began:.0f} s")
    return work / "page" / PAGE_NAME


def as_lines(ids: Sequence[str], probabilities: Floats) -> str:
    """JSON Lines as the audit reads them."""
    return "".join(
        json.dumps({"image_id": image_id, "probabilities": dict(zip(map(str, CLASSES), row, strict=True))}) + "\n"
        for image_id, row in zip(ids, probabilities.tolist(), strict=True)
    )


def write_records(path: Path, ids: Sequence[str], recorded: Integers | Floats, photos: Sequence[str] = ()) -> None:
    """Records as an inventory system would export them."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image_id", "count", "name", *(["photo"] if photos else [])])
        for index, image_id in enumerate(ids):
            writer.writerow([image_id, int(recorded[index]), "Something in a box", *photos[index : index + 1]])


def _no_aws() -> Aws:
    raise AssertionError("answers are given: no AWS is needed")


if __name__ == "__main__":
    sys.exit(main())
