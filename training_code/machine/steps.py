"""The steps that a machine runs: its plan, and each step as a process in folders like those of its SageMaker job.

`binventory train --on ec2` writes the plan, the machine reads it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jobs.archive import write_archive
from jobs.container import JobContainer, JobError
from stacks.vocabulary import SPLITS

STEPS: Final = ("embed", "train", "evaluate")
POLL_SECONDS: Final = 0.5
# Of the two minutes after a spot notice; the rest is for the upload of the last checkpoint.
GRACE_SECONDS: Final = 45.0


@dataclass(frozen=True)
class RunPlan:
    """The steps' flags and the S3 addresses that they read and write."""

    run: str
    shards: Mapping[str, str]  # split to prefix
    checkpoints: str  # prefix; a run continues from the checkpoints under it
    models: str  # prefix for the trained model, the serving archive and the evaluation
    flags: Mapping[str, Mapping[str, str]]  # step to flag to value

    @classmethod
    def of(cls, document: Any) -> RunPlan:
        """Read a plan from its document. Raises JobError, which names what is missing."""
        try:
            plan = cls(
                run=str(document["run"]),
                shards={split: _address(document["shards"][split]) for split in SPLITS},
                checkpoints=_address(document["checkpoints"]),
                models=_address(document["models"]),
                flags={step: {name: str(value) for name, value in document["flags"][step].items()} for step in STEPS},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise JobError(f"the run's plan cannot be used: {error!r} is missing or wrong in it") from error
        return plan

    def arguments(self, step: str) -> list[str]:
        """A step's command line flags."""
        return [part for name, value in sorted(self.flags[step].items()) for part in (f"--{name}", value)]


def _address(value: Any) -> str:
    """An s3:// prefix with exactly one slash at its end."""
    text = str(value)
    if not text.startswith("s3://"):
        raise JobError(f"the run's plan cannot be used: {text!r} is no address like s3://bucket/prefix/")
    return text.rstrip("/") + "/"


class StepStopped(Exception):
    """A step was ended because the machine must end."""


class Steps:
    """The steps of one plan under one folder: `root`/data, and `root`/<step> as each step's /opt/ml."""

    def __init__(self, plan: RunPlan, root: Path, code: Path) -> None:
        self._plan = plan
        self._code = code
        self.data = root / "data"
        self._jobs = {step: JobContainer(root / step) for step in STEPS}

    @property
    def checkpoints(self) -> dict[str, Path]:
        """Folders of checkpoints, which must be kept after the machine ends, by step."""
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
            StepStopped: `must_stop` became true; the step had time to save.
            JobError: the step failed; the message is its failure reason.
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
            # A new process group: the signal must reach processes that the step has started, too.
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
                    raise StepStopped(step) from None
        if must_stop():
            raise StepStopped(step)
        if status != 0:
            reason = self._jobs[step].failure
            said = reason.read_text() if reason.is_file() else f"exit status {status}; its log says more"
            raise JobError(f"{step}: {said}")

    def _folders(self, step: str) -> list[str]:
        data = {split: ["--" + split, str(self.data / split)] for split in SPLITS}
        if step == "embed":
            return [*data["train"], *data["validation"]]
        if step == "train":
            if self._plan.flags[step].get("strategy") == "full":
                return [*data["train"], *data["validation"]]
            return ["--embedding", str(self._jobs["embed"].base / "model")]
        model = ["--model", str(self.model), "--output", str(self.evaluated)]
        return [*model, *data["train"], *data["validation"], *data["test"]]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the group, and SIGKILL if it does not end."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
