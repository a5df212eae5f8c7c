"""The scripts of training_code as processes, as people run them by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

from benchmarks import RUNTIME


def script(name: str) -> str:
    """The address of a script, for example of `train.py`."""
    return str(RUNTIME[0] / name)


def start(
    program: Sequence[str], output: IO[bytes] | int, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start python with these arguments and the jobs' modules on its path; both of its outputs go to `output`."""
    path = ":".join([*map(str, RUNTIME), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    return subprocess.Popen([sys.executable, *program], env=variables, stdout=output, stderr=subprocess.STDOUT)


def require_success(name: str, code: int, said: str) -> None:
    """Raises SystemExit with the end of its output where a process has failed."""
    if code:
        raise SystemExit(f"{name} failed:\n{said[-6000:]}")
