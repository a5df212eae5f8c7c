"""Optional tracking with MLflow: the run's settings, its metrics by epoch, its files at the end.

MLflow is an extra: requirements-mlflow.txt names what it needs, and only a job that is asked to track installs it.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fitting.loop import EpochResult, StepResult
from jobs.container import JobContainer, JobError

EXPERIMENT = "binventory"
FILES = ("metrics.json", "watch.json", "profile.json", "report.html", "model.json")
REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements-mlflow.txt"
# By default MLflow retries an unreachable server for minutes, for which training must not wait, and reports its own use
# to its makers.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_DISABLE_TELEMETRY": "true",
}  # fmt: skip


class MlflowTracking:
    """A watcher that reports to an MLflow server, or to a folder where the uri is `file:...`.

    A resumed training continues the same MLflow run. Wrong settings are found before training. If the server becomes
    unreachable later, tracking ends with a warning and training continues.

    Args:
        uri: where MLflow keeps its runs.
        name: the run's name, that of the job.
        settings: what is logged as parameters.
        active: whether this process reports; one of several does.

    Raises:
        JobError: MLflow is not installed, or does not take the uri.
    """

    def __init__(self, uri: str, name: str, settings: Mapping[str, Any], *, active: bool = True) -> None:
        self._name = name
        self._settings = dict(settings)
        self._uri = uri
        self._run = ""
        self._begun = False
        self._mlflow: Any = _connected(uri) if active else None

    def on_step(self, result: StepResult) -> None:
        """Nothing: epochs are enough."""

    def on_epoch(self, history: Sequence[EpochResult]) -> None:
        """Send the new epoch's metrics."""
        if self._mlflow is None:
            return
        values = asdict(history[-1])
        try:
            self._begin()
            self._mlflow.log_metrics(values, step=values.pop("epoch"))
        except Exception as error:
            self._give_up(error)

    def state(self) -> dict[str, Any]:
        """Which MLflow run this is."""
        return {"run": self._run}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue the MLflow run of the checkpoint."""
        self._run = state["run"]

    def finish(self, folder: Path) -> None:
        """Attach the reports and end the run."""
        if self._mlflow is None:
            return
        try:
            self._begin()
            for name in FILES:
                self._mlflow.log_artifact(str(folder / name))
            self._mlflow.end_run()
        except Exception as error:
            self._give_up(error)

    def _begin(self) -> None:
        if self._begun:
            return
        if self._run:
            self._mlflow.start_run(run_id=self._run)
        else:
            self._run = self._mlflow.start_run(run_name=self._name).info.run_id
            self._mlflow.log_params(self._settings)
        self._begun = True

    def _give_up(self, error: Exception) -> None:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        print(f"warning: MLflow at {self._uri} is unreachable ({reason}); training continues without it",
              file=sys.stderr, flush=True)  # fmt: skip
        self._mlflow = None


def _connected(uri: str) -> Any:
    if uri.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    for variable, value in _DEFAULTS.items():
        os.environ.setdefault(variable, value)
    mlflow = _imported()
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise JobError(f"mlflow is {uri!r}, which MLflow cannot use: {reason}") from error
    return mlflow


def _imported() -> Any:
    """The package, which a SageMaker job installs for itself; elsewhere that is left to the person who trains."""
    try:
        return importlib.import_module("mlflow")
    except ImportError as error:
        if not JobContainer().is_job:
            raise JobError(
                f"mlflow is set but not installed: pip install --require-hashes -r {REQUIREMENTS.name}, or unset it"
            ) from error
    target = tempfile.mkdtemp(prefix="mlflow-")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-compile",
        "--no-deps",
        "--require-hashes",
        "--target",
        target,
        "-r",
        str(REQUIREMENTS),
    ]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
        raise JobError(f"mlflow is set but cannot be installed ({last}): the job needs a package index, or unset it")
    # Before the image's packages, so that the versions are those which were tested together.
    sys.path.insert(1, target)
    importlib.invalidate_caches()
    return importlib.import_module("mlflow")
