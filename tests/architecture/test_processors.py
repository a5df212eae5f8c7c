"""Code takes the processors of its container: one reader of the jobs, and one of the command line, know its limits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from binventory.core import processors
from serving import cores
from tests.architecture.imports import REPOSITORY, files

COUNT = re.compile(r"\bcpu_count\b|\bsched_getaffinity\b")


def test_processors_are_counted_in_two_places() -> None:
    """`os.cpu_count` counts those of the whole machine, of which a container may have a few."""
    found = {name for name in files() if COUNT.search((REPOSITORY / name).read_text())}
    assert found == {"binventory/core/processors.py", "inference_code/serving/cores.py"}
    # Tests ask the system itself where they hold an answer against it; how many of them run at once is no such place.
    assert "sched_getaffinity" not in (REPOSITORY / "tests/conftest.py").read_text()


@pytest.mark.parametrize("said", ["max 100000", "150000 100000", "1 100000", "400000 100000", "", None])
def test_both_count_alike(said: str | None, tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    if said is not None:
        quota.write_text(said)
    assert processors.usable_cpus(quota) == cores.usable_cpus(quota) >= 1


def test_a_rehearsal_takes_the_processors_that_it_may_use() -> None:
    """Of a machine with several, one that is left to it: for its jobs, and to draw its photos."""
    one = min(os.sched_getaffinity(0))
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import tempfile; from pathlib import Path; from local_aws.core.context import Context\n"
            "folder = Path(tempfile.mkdtemp())\n"
            "print(Context(state_dir=folder, account='123456789012', region='us-east-1', port=1).cpu.total)",
        ],
        cwd=REPOSITORY,
        preexec_fn=lambda: os.sched_setaffinity(0, {one}),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.strip() == "1"


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
