"""How many wrong records an audit finds: on real photos, with records made wrong on purpose, against random inspection.

    python -m benchmarks.audit                    # two minutes on 2 cores: embeds the photos, trains five heads
    python -m benchmarks.audit --only page        # opening the HTML page with 10,000 bins

The model is a head on the features of a *random* frozen backbone, trained on the few hundred photos of ../shared/abid:
no ImageNet weights, so it counts little better than a guess. But it is calibrated, which is what an audit needs.
Every photo is answered by a model that was trained without its block of ids. For comparison, the same ranking without
photos (by class shares alone): when errors are spread evenly, rare quantities are suspicious by themselves.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import REPOSITORY
from benchmarks.auditing.corruption import DEPTHS, Repeated, off_by_some, off_like_the_rest, repeat, score, simulate
from benchmarks.auditing.crossfit import HeldOut, as_lines, cross_fit, embed_photos
from benchmarks.claims import claim
from benchmarks.held_out import Floats, Integers
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
SIMULATED_PHOTOS: Final = 1175
# Of the counts 1 to 5 among the photos at hand.
SHARES: Final = (0.1191, 0.2196, 0.2536, 0.2332, 0.1745)
# Name, accuracy, RMSE. No RMSE was published for the frozen head: the one of always answering 3 is as far as it can go.
PUBLISHED: Final = (
    ("Best published head on frozen ImageNet features, 40%", 0.40, 1.28),
    ("ResNet34 on 324,735 photos, 55.67%, RMSE 0.93", 0.5567, 0.930),
)


def main() -> None:
    """Measure and print; every goal is a `claim:` line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=REPOSITORY.parent / "shared" / "abid")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--only", choices=("ranking", "published", "page"))
    arguments = parser.parse_args()
    if not arguments.photos.is_dir():
        raise SystemExit(f"no photos at {arguments.photos}; give a folder laid out like the public bucket: --photos")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only in (None, "ranking"):
            rank_real_photos(arguments.photos, Path(folder), arguments.backbone)
        if arguments.only in (None, "published"):
            expect_from_published()
        if arguments.only in (None, "page"):
            open_page(arguments.photos, Path(folder))


def rank_real_photos(photos: Path, work: Path, backbone: str) -> None:
    """Cross-fitted answers, corrupted records, and the audit itself on one of the corruptions."""
    began = time.monotonic()
    features = embed_photos(photos, work, backbone)
    answers = cross_fit(features, work)
    print(
        f"{len(answers.ids)} photos in {len(np.unique(answers.blocks))} blocks; {backbone} random and frozen, "
        f"five heads; {time.monotonic() - began:.0f} s"
    )
    scaled, raw, blind = (
        measure(Predictions.of(answers.counts, table, answers.blocks, classes=CLASSES))
        for table in (answers.probabilities, answers.uncalibrated, answers.class_shares)
    )
    print(
        f"held-out: accuracy {scaled.accuracy:.3f}, within one {scaled.within_one:.3f}, RMSE {scaled.rmse:.3f}, "
        f"log loss {scaled.log_loss:.3f} (class shares alone: {blind.accuracy:.3f}, {blind.log_loss:.3f}); "
        f"calibration error {raw.calibration_error:.3f} before scaling, {scaled.calibration_error:.3f} after"
    )
    print_heading()
    model = repeat(answers.probabilities, answers.counts, off_by_some, TIMES)
    print_scores("off by 1 to 3, evenly: model", model)
    print_scores("  class shares alone", repeat(answers.class_shares, answers.counts, off_by_some, TIMES))
    harder = repeat(answers.probabilities, answers.counts, off_like_the_rest, TIMES)
    print_scores("off like the rest: model", harder)
    print_scores("  class shares alone", repeat(answers.class_shares, answers.counts, off_like_the_rest, TIMES))
    through_the_door(answers, photos, work)
    claim("audit_calibration_error_after_scaling", float(scaled.calibration_error), at_most=0.05)
    claim("audit_lift_top_tenth", model.mean.lift, at_least=1.5)
    claim("audit_lift_top_tenth_rare_quantities_no_help", harder.mean.lift, at_least=1.0)


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


def through_the_door(answers: HeldOut, photos: Path, work: Path) -> None:
    """The first corruption through `binventory audit`'s own code: its list must give what the arrays give."""
    recorded, wrong = off_by_some(answers.counts, np.random.default_rng(0))
    (work / "answers.jsonl").write_text(as_lines(answers.ids, answers.probabilities))
    write_records(work / "records.csv", answers.ids, recorded)
    request = job.Request(
        str(photos),
        work / "audit",
        records=work / "records.csv",
        predictions=work / "answers.jsonl",
        formats=("jsonl",),
    )
    summary = job.run_audit(request, _no_aws).summary
    place = {image_id: index for index, image_id in enumerate(answers.ids)}
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


def expect_from_published() -> None:
    """What a calibrated model with published accuracy and RMSE would find, simulated on as many photos as we have."""
    print(f"Expected from published results (calibrated model, simulated, {SIMULATED_PHOTOS:,} photos):")
    print_heading()
    for name, accuracy, rmse in PUBLISHED:
        found = simulate(accuracy, rmse, SIMULATED_PHOTOS, np.array(SHARES))
        print(f"{name}: RMSE of the simulation {found.rmse:.2f}, {found.blind_share:.0%} of photos tell nothing")
        print_scores("", repeat(found.probabilities, found.counts, off_by_some, TIMES))


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
    main()
