"""The contract between SageMaker and a job's container: folders, failure reason, signals."""

from __future__ import annotations

import atexit
import errno
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

# Bytes. SageMaker shows no more of a reason.
MAX_FAILURE_REASON: Final = 1024
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_MEMORY: Final = "memory has run out: take a machine with more, or end what else runs here, then run it again"


class JobError(Exception):
    """The job cannot continue, and its user can correct that: the message names the fault and the cure."""


@dataclass(frozen=True)
class JobContainer:
    """The folders of one job. `base` is /opt/ml on AWS and the job's own root in a rehearsal."""

    base: Path = field(default_factory=lambda: Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")))

    @property
    def model(self) -> Path:
        """Files here become the job's model artefact."""
        return Path(os.environ.get("SM_MODEL_DIR", str(self.base / "model")))

    @property
    def checkpoints(self) -> Path:
        """Files here survive a spot reclaim when the job has a CheckpointConfig."""
        return self.base / "checkpoints"

    @property
    def job_name(self) -> str:
        """The name of the SageMaker job, `job` outside of one."""
        return os.environ.get("TRAINING_JOB_NAME", "job")

    @property
    def is_job(self) -> bool:
        """Whether SageMaker runs this script, and not a person."""
        return "TRAINING_JOB_NAME" in os.environ

    @property
    def is_trial(self) -> bool:
        """Whether a tuning job started this one: SageMaker then adds the objective to the hyperparameters."""
        try:
            given = json.loads((self.base / "input" / "config" / "hyperparameters.json").read_text())
        except (OSError, ValueError):
            return False
        return "_tuning_objective_metric" in given

    @property
    def own_checkpoints(self) -> Path:
        """Folder of this job's checkpoints. A trial has a subfolder, because all trials share one S3 prefix.

        Any other job is alone in its prefix, and continues from the checkpoints of an earlier job there: one that
        SageMaker lost, or one on spot that is continued on demand.
        """
        return self.checkpoints / self.job_name if self.is_trial else self.checkpoints

    @property
    def failure(self) -> Path:
        """The file whose text SageMaker shows: as FailureReason of a training job, as ExitMessage of a processing job.

        See https://docs.aws.amazon.com/sagemaker/latest/dg/byoc-metadata.html
        """
        is_processing = (self.base / "config" / "processingjobconfig.json").is_file()
        return self.base / "output" / ("message" if is_processing else "failure")

    def channel(self, name: str) -> Path:
        """The folder of an input channel. Raises JobError where the job was started without it."""
        folder = Path(os.environ.get(f"SM_CHANNEL_{name.upper()}", str(self.base / "input" / "data" / name)))
        if not folder.is_dir():
            raise JobError(f"channel {name!r} is missing (looked in {folder}): add it to the job's input data")
        return folder


def checked_output(folder: Path) -> Path:
    """The folder of the flag `--output`, before the work: it is not made yet, so a run that fails leaves none.

    Raises JobError where it cannot be made or written.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise JobError(f"--output {folder}: {there} is no folder; give another")
    if not os.access(there, os.W_OK):
        raise JobError(f"--output {folder}: {there} cannot be written; give another")
    return folder


def run_job(work: Callable[[], None], container: JobContainer | None = None) -> int:
    """Run `work`; after a failure write the reason where SageMaker reads it. Returns the exit status.

    A JobError is reported by its message alone, and so is a full disk. Any other exception is printed with its
    traceback: a lack of memory, for which there is a cure, and otherwise a defect.
    """
    try:
        work()
    except JobError as error:
        _report_failure(str(error), container or JobContainer())
        return 1
    except Exception as error:
        if (file := _found_no_space(error)) is not None:
            where = f" for {file}" if file else ""
            reason = f"no space is left on the disk{where}: free some, or give the job a larger volume"
            _report_failure(f"{reason}, then run it again", container or JobContainer())
            return 1
        traceback.print_exc()
        said = _NO_MEMORY if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
        _report_failure(said, container or JobContainer())
        return 1
    return 0


def _found_no_space(error: Exception) -> str | None:
    """The file for which there was no space on the disk, "" where that is not known; None for another error."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        # Of a whole folder: source, copy and what was said for each file.
        full = [f"[Errno {number}]" for number in _FULL]
        copies = (str(copy) for _, copy, said in error.args[0] if any(words in str(said) for words in full))
        return next(copies, None)
    if isinstance(error, OSError) and error.errno in _FULL:
        return str(error.filename or "")
    return None


def leave(status: int) -> NoReturn:
    """End this process as Python does, but leave the interpreter as it is.

    While Python takes the interpreter down, a thread of a native library that still handles a request aborts the
    process, and the status becomes 134. Where torch is loaded, it would also take half a second.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _report_failure(reason: str, container: JobContainer) -> None:
    # On stderr too, for the log; the training toolkit keeps an existing failure file.
    print(f"error: {reason}", file=sys.stderr, flush=True)
    if not (container.base.is_dir() or "SAGEMAKER_BASE_DIR" in os.environ):
        return  # A person runs this: nobody reads the file.
    try:
        container.failure.parent.mkdir(parents=True, exist_ok=True)
        # SageMaker fails a processing job whose message is not UTF-8, such as one that is cut within a letter.
        cut = reason.encode("utf-8", "backslashreplace")[:MAX_FAILURE_REASON].decode("utf-8", "ignore")
        container.failure.write_text(cut, encoding="utf-8")
    except OSError as error:
        print(f"the failure reason could not be written to {container.failure}: {error}", file=sys.stderr)


class StopSignal:
    """Notes a SIGTERM, so that the work can stop at a point where it can save.

    One comes on an EC2 machine and from a person. In a SageMaker job the image's first process passes none on.
    """

    def __init__(self) -> None:
        self.received = False
        signal.signal(signal.SIGTERM, self._remember)

    def _remember(self, _signal: int, _frame: object) -> None:
        self.received = True


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON with sorted keys, so that equal values are equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
