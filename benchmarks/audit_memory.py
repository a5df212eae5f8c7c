"""The audit's memory does not grow with the number of bins: the same audit of 50,000 and of 500,000 bins, side by side.

    python -m benchmarks.audit_memory             # some minutes; 50,000 alone takes half a one: --bins 50000

Records come from a CSV, answers from JSON Lines given before, so that the audit itself is measured and no server; with
an endpoint or transform jobs the same loop holds a few bins a thread, or one job's group, more. Each audit runs in a
separate process; its peak is the operating system's figure (ru_maxrss).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.claims import claim, exit_status
from benchmarks.scripts import require_success
from binventory.audit import job
from binventory.audit.csv_records import Columns
from binventory.audit.database import Filters
from binventory.core.aws import Aws

SIZES: Final = (50_000, 500_000)
LARGEST_GROWTH: Final = 1.25
_LISTED: Final = 200


def main() -> int:
    """Measure and print; the goal is the `claim:` line, and the exit status is 1 when it was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bins", type=int, nargs="+", default=SIZES)
    parser.add_argument("--audit", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.audit is not None:
        print(json.dumps(_audit(arguments.audit)))
        return 0
    print(f"load before the first audit: {os.getloadavg()[0]:.1f}")
    peaks = [_measure(bins) for bins in arguments.bins]
    if len(peaks) > 1:
        first, last = arguments.bins[0], arguments.bins[-1]
        claim(f"audit_peak_memory_growth_{first}_to_{last}", peaks[-1] / peaks[0], at_most=LARGEST_GROWTH)
    return exit_status()


def _measure(bins: int) -> float:
    """Audits this many bins in a separate process; prints and returns its peak memory in MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_input(folder, bins)
        command = [sys.executable, "-m", "benchmarks.audit_memory", "--audit", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        require_success(f"the audit of {bins:,} bins", done.returncode, done.stderr)
        said = json.loads(done.stdout)
        ledger = sum(path.stat().st_size for path in folder.rglob("ledger.sqlite*")) / 1e6
    assert said["counted"] == bins, said
    print(
        f"{bins:>7,} bins: peak {said['peak_mb']:.0f} MB, {said['seconds']:.0f} s, "
        f"{bins / said['seconds']:,.0f} bins/s, ledger {ledger:.0f} MB on disk"
    )
    return float(said["peak_mb"])


def _write_input(folder: Path, bins: int) -> None:
    """Two SKUs a bin, 40,000 SKUs in all, and an answer for each bin; written line by line."""
    draw = random.Random(17)
    with (folder / "stock.csv").open("w", newline="") as stock, (folder / "answers.jsonl").open("w") as answers:
        writer = csv.writer(stock)
        writer.writerow(["image_id", "count", "sku", "name"])
        for number in range(bins):
            quantity = draw.randint(2, 5)
            for share in (1, quantity - 1):
                sku = draw.randrange(40_000)
                writer.writerow([f"{number:06d}", share, f"B{sku:09d}", f"Something in a box, number {sku}"])
            weights = [draw.random() + (2.0 if count == quantity else 0.0) for count in range(1, 6)]
            table = {str(count): weight / sum(weights) for count, weight in enumerate(weights, start=1)}
            answers.write(json.dumps({"image_id": f"{number:06d}", "probabilities": table}) + "\n")


def _audit(folder: Path) -> dict[str, float]:
    """Every output but the page, whose size is a setting; then one with a budget of inspections."""
    began = time.monotonic()
    request = job.Request(
        str(folder),
        folder / "out",
        records=folder / "stock.csv",
        columns=Columns(sku="sku", name="name"),
        predictions=folder / "answers.jsonl",
        formats=("csv", "jsonl", "parquet"),
    )
    result = job.run_audit(request, _no_aws)
    budget = job.Request(**{**vars(request), "filters": Filters(top=_LISTED), "formats": ("csv",)})
    assert job.run_audit(budget, _no_aws).summary.listed == _LISTED
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mb": peak, "seconds": time.monotonic() - began, "counted": result.summary.counted}


def _no_aws() -> Aws:
    raise AssertionError("answers are given: no AWS is needed")


if __name__ == "__main__":
    sys.exit(main())
