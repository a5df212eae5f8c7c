"""Embed, train and evaluate as processes of one machine, in folders like those of their SageMaker jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jobs.archive import write_archive
from jobs.container import JobContainer, JobError
from machine.plan import Plan
from stacks.vocabulary import SPLITS

POLL_SECONDS: Final = 0.5
# Of the two minutes that spot gives: the rest is for sending the last checkpoint.
GRACE_SECONDS: Final = 45.0


class Stopped(Exception):
    """A step was ended because the machine must end."""


class Steps:
    """The steps of one plan under one folder: `root`/data, and `root`/<step> as each step's /opt/ml."""

    def __init__(self, plan: Plan, root: Path, code: Path) -> None:
        self._plan = plan
        self._code = code
        self.data = root / "data"
        self._jobs = {step: JobContainer(root / step) for step in ("embed", "train", "evaluate")}

    @property
    def checkpoints(self) -> dict[str, Path]:
        """The folders that must outlive the machine, by step."""
        return {step: self._jobs[step].base / "checkpoints" for step in ("embed", "train")}

    @property
    def model(self) -> Path:
        """The trained model, packed as SageMaker packs it."""
        return self._jobs["train"].base / "model.tar.gz"

    @property
    def evaluated(self) -> Path:
        """The evaluation and the serving archive."""
        return self._jobs["evaluate"].base / "output"

    def run(self, step: str, must_stop: Callable[[], bool]) -> None:
        """Runs one step to its end.

        Raises:
            Stopped: `must_stop` became true; the step had time to save.
            JobError: the step failed; the message is the reason that it gave.
        """
        job = self._jobs[step]
        for folder in (job.base / "model", job.base / "checkpoints", job.base / "output"):
            folder.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, str(self._code / f"{step}.py"), *self._plan.arguments(step), *self._folders(step)],
            env={
                **os.environ,
                "SAGEMAKER_BASE_DIR": str(job.base),
                "SM_MODEL_DIR": str(job.base / "model"),
                "TRAINING_JOB_NAME": self._plan.run,
            },
            # Its own group: a step may have started processes, and all of them must hear the signal.
            start_new_session=True,
        )
        self._wait(step, process, must_stop)
        if step == "train":
            made = job.base / "model"
            write_archive(self.model, {path.relative_to(made).as_posix(): path for path in _files(made)})

    def _wait(self, step: str, process: subprocess.Popen[bytes], must_stop: Callable[[], bool]) -> None:
        while True:
            try:
                status = process.wait(POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if must_stop():
                    _end(process)
                    raise Stopped(step) from None
        if must_stop():
            raise Stopped(step)
        if status != 0:
            reason = self._jobs[step].failure
            said = reason.read_text() if reason.is_file() else f"exit status {status}; its log says more"
            raise JobError(f"{step}: {said}")

    def _folders(self, step: str) -> list[str]:
        data = {split: ["--" + split, str(self.data / split)] for split in SPLITS}
        if step == "embed":
            return [*data["train"], *data["validation"]]
        if step == "train":
            embedding = ["--embedding", str(self._jobs["embed"].base / "model")]
            return [*embedding, *data["train"], *data["validation"]]
        model = ["--model", str(self.model), "--output", str(self.evaluated)]
        return [*model, *data["train"], *data["validation"], *data["test"]]


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the whole group, and SIGKILL to what ignores it."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
