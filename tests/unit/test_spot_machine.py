"""The script of a machine on EC2: its status tells how a run ended, whatever cannot be uploaded."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

import spot_machine
import train
from jobs.container import JobError
from machine.steps import STEPS, RunPlan, Steps
from spot_machine import SpotMachine
from tests.training_data import write_split

PLAN: dict[str, Any] = {
    "run": "ec2-1",
    "shards": {split: f"s3://data/{split}/" for split in ("train", "validation", "test")},
    "checkpoints": "s3://data/checkpoints/ec2-1/",
    "models": "s3://models/ec2-1/",
    "flags": {step: {} for step in STEPS},
}


class NoUpload:
    """An exchange that takes no checkpoint any more."""

    def __init__(self, plan: Any = PLAN) -> None:
        self.plan = plan
        self.said: dict[str, Any] = {}

    def read_json(self, uri: str) -> Any:
        """The plan."""
        return self.plan

    def fetch(self, uri: str, folder: Path) -> int:
        """Nothing is there."""
        return 0

    def send_checkpoints(self, folder: Path, uri: str) -> None:
        """Fails."""
        raise EndpointConnectionError(endpoint_url="https://s3.us-east-1.amazonaws.com")

    def write_json(self, uri: str, value: dict[str, Any]) -> None:
        """Keeps the status."""
        self.said = dict(value)


@pytest.mark.parametrize(("error", "state"), [(None, "succeeded"), (JobError("train: no photos"), "failed")])
def test_the_end_is_said_although_the_last_checkpoints_cannot_be_uploaded(
    error: JobError | None, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = NoUpload()
    monkeypatch.setattr(spot_machine, "Exchange", lambda: exchange)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*_: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(SpotMachine, "_run", run)
    assert SpotMachine("s3://data/executions/ec2-1", tmp_path, 1).work() == (state != "succeeded")
    assert exchange.said["state"] == state
    assert "its last checkpoints were not uploaded" in exchange.said["reason"]
    assert exchange.said["reason"].startswith("train: no photos; " if error else "its last")


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (PLAN, "there are no shards under s3://data/train/: run the pipeline's Ingest first"),
        ({**PLAN, "flags": {}}, "the run's plan cannot be used: KeyError('embed') is missing or wrong in it"),
        ({**PLAN, "models": "models/"}, "the run's plan cannot be used: 'models/' is no address like s3://"),
        ([], "the run's plan cannot be used: TypeError("),
    ],
    ids=["no shards", "no flags", "no address", "no plan"],
)
def test_a_run_that_cannot_begin_says_why_in_its_status(
    plan: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = NoUpload(plan)
    monkeypatch.setattr(spot_machine, "Exchange", lambda: exchange)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert SpotMachine("s3://data/executions/ec2-1", tmp_path, 1).work() == 1
    assert exchange.said["state"] == "failed" and exchange.said["reason"].startswith(said)


def test_a_defect_is_in_the_status_and_its_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = NoUpload()
    monkeypatch.setattr(spot_machine, "Exchange", lambda: exchange)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(exchange, "fetch", lambda *_: 1 / 0)
    assert SpotMachine("s3://data/executions/ec2-1", tmp_path, 1).work() == 1
    assert exchange.said["reason"].startswith("ZeroDivisionError: division by zero")
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_machine_trains_everything_from_its_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    write_split(tmp_path / "data", "train", 10)
    write_split(tmp_path / "data", "validation", 5, first=900)
    flags = {
        "strategy": "full", "backbone": "small", "weights": "none", "input-size": "32", "epochs": "1",
        "head-epochs": "0", "batch-size": "5",
    }  # fmt: skip
    plan = RunPlan.of({**PLAN, "flags": {**PLAN["flags"], "train": flags}})
    steps = Steps(plan, tmp_path, Path(train.__file__).parent)
    steps.run("train", lambda: False)
    assert steps.model.is_file()


def test_a_machine_without_the_tag_of_its_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("machine.aws.InstanceMetadata.tag", lambda self, name: None)
    arguments = ["--executions", "s3://data/executions", "--root", str(tmp_path), "--minutes", "1"]
    monkeypatch.setattr("sys.argv", ["spot_machine.py", *arguments])
    assert spot_machine.main() == 1
    assert "the instance has no tag `run`" in capsys.readouterr().out
