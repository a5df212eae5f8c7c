"""A search as a table and pictures, best trial first, whatever became of its trials."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import tuning_report
from jobs.container import JobError

START = datetime(2026, 1, 1, tzinfo=UTC)


def summary(name: str, lr: str, objective: float | None) -> dict[str, Any]:
    """A trial as ListTrainingJobsForHyperParameterTuningJob gives it."""
    entry: dict[str, Any] = {
        "TrainingJobName": name, "TrainingJobStatus": "Completed" if objective else "Stopped",
        "TunedHyperParameters": {"lr": lr, "batch-size": '"64"'}, "TrainingStartTime": START,
    }  # fmt: skip
    if objective is not None:
        entry["TrainingEndTime"] = START + timedelta(seconds=42)
        entry["FinalHyperParameterTuningJobObjectiveMetric"] = {"MetricName": "validation:loss", "Value": objective}
    return entry


class SageMaker:
    """Two pages of trials."""

    def get_paginator(self, operation: str) -> SageMaker:
        assert operation == "list_training_jobs_for_hyper_parameter_tuning_job"
        return self

    def paginate(self, HyperParameterTuningJobName: str) -> Iterator[dict[str, Any]]:
        if HyperParameterTuningJobName != "tune-1":
            raise ClientError({"Error": {"Code": "ResourceNotFound", "Message": "no such job"}}, "List")
        yield {"TrainingJobSummaries": [summary("worse", "0.1", 1.9), summary("<b>stopped", "0.01", None)]}
        yield {"TrainingJobSummaries": [summary("best", "0.003", 1.4)]}


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "client", lambda _service: SageMaker())


def test_trials_are_listed_best_first_with_a_picture_for_each_hyperparameter(tmp_path: Path) -> None:
    tuning_report.main(["--job", "tune-1", "--output", str(tmp_path)])
    trials = json.loads((tmp_path / "tuning.json").read_text())
    assert [(trial["name"], trial["objective"], trial["seconds"]) for trial in trials] == [
        ("best", 1.4, 42.0), ("worse", 1.9, 42.0), ("<b>stopped", None, None),
    ]  # fmt: skip
    text = (tmp_path / "tuning.html").read_text()
    assert "Objective against lr" in text and "Objective against batch-size" in text
    assert text.count("<circle") == 4
    assert "<b>stopped" not in text and "&lt;b&gt;stopped" in text
    assert "<script" not in text


def test_a_job_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"tuning job other cannot be read.*no such job"):
        tuning_report.main(["--job", "other", "--output", str(tmp_path)])
