"""Optional tracking with MLflow: the run's settings, its metrics by epoch, its files at the end."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fitting.loop import EpochResult, StepResult
from jobs.container import JobError


class MlflowTracking:
    """A watcher that reports to an MLflow server or store. Raises JobError at once where MLflow is not installed."""

    def __init__(self, uri: str, name: str, settings: Mapping[str, Any]) -> None:
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
        except ImportError as error:
            raise JobError(
                "mlflow is set but the package is not installed; add mlflow-skinny to requirements.txt or unset it"
            ) from error
        self._mlflow.set_tracking_uri(uri)
        self._mlflow.set_experiment("binventory")
        self._mlflow.start_run(run_name=name)
        self._mlflow.log_params(dict(settings))

    def on_step(self, result: StepResult) -> None:
        """Nothing: epochs are enough."""

    def on_epoch(self, history: Sequence[EpochResult]) -> None:
        """Send the new epoch's metrics."""
        values = asdict(history[-1])
        self._mlflow.log_metrics(values, step=values.pop("epoch"))

    def state(self) -> dict[str, Any]:
        """Nothing: MLflow keeps it."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def finish(self, folder: Path) -> None:
        """Attach the reports and end the run."""
        for name in ("metrics.json", "watch.json", "profile.json", "report.html", "model.json"):
            self._mlflow.log_artifact(str(folder / name))
        self._mlflow.end_run()
