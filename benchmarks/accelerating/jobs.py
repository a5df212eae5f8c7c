"""embed.py and train.py as processes that see a GPU or none."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import scripts

NO_GPU: Final = {"CUDA_VISIBLE_DEVICES": ""}
AS_ON_A_T4: Final = """
import sys
import fitting.precision
fitting.precision.half_of_gpu = lambda: "fp16"
import features.frozen_backbone
features.frozen_backbone.half_of_gpu = lambda: "fp16"
import embed
from jobs.container import run_job
sys.exit(run_job(embed.main))
"""
"""Embeds in fp16, which `auto` takes on a GPU without bf16."""


@dataclass(frozen=True)
class Row:
    """One place and precision of a job."""

    name: str
    precision: str
    hidden: bool = False
    """Whether the job sees no GPU."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables of its process."""
        return NO_GPU if self.hidden else {}

    @property
    def folder(self) -> str:
        """A name for a folder."""
        return self.name.lower().replace(" ", "_")


CPU: Final = Row("CPU fp32", "fp32", hidden=True)
GPU: Final = tuple(Row(f"GPU {kind}", kind) for kind in ("fp32", "bf16", "fp16"))


def start(program: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start python with these arguments and the jobs' modules on its path; its output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        return scripts.start(program, stream, environment)


def finish(*processes: subprocess.Popen[bytes], logs: Sequence[Path]) -> None:
    """Wait for all of them. Raises SystemExit with the end of its output where one fails; the others are ended."""
    try:
        for process, log in zip(processes, logs, strict=True):
            scripts.require_success(log.stem, process.wait(), log.read_text(errors="replace"))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def job(name: str, *flags: str, log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run one script of training_code to its end."""
    finish(start([scripts.script(name), *flags], log, environment), logs=[log])


def last(pattern: str, log: Path) -> float:
    """The number that the last match of `pattern` in the log names. Raises SystemExit where there is none."""
    found = re.findall(pattern, log.read_text(errors="replace"))
    if not found:
        raise SystemExit(f"{log} has nothing like {pattern}")
    return float(found[-1])
