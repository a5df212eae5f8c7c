"""Run-time code takes the processors of its container: one reader knows its affinity and its quota."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.architecture.imports import REPOSITORY, files

FOLDERS = ("inference_code/", "lambda_code/", "training_code/")
COUNT = re.compile(r"\bcpu_count\b|\bsched_getaffinity\b")


def test_processors_are_counted_in_one_place() -> None:
    """`os.cpu_count` counts those of the whole machine, of which a container may have a few."""
    found = [name for name in files() if name.startswith(FOLDERS) and COUNT.search((REPOSITORY / name).read_text())]
    assert found == ["inference_code/serving/cores.py"]


def test_ingest_takes_the_processors_that_it_may_use() -> None:
    """Of a machine with several, one that is left to it."""
    one = min(os.sched_getaffinity(0))
    said = subprocess.run(
        [sys.executable, "training_code/ingest.py", "--help"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(("training_code", "inference_code", "."))},
        preexec_fn=lambda: os.sched_setaffinity(0, {one}),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "photos decoded at once (default 1)" in " ".join(said.split())
