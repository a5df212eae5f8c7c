"""The script of a machine on EC2: its status tells how a run ended, whatever cannot be uploaded."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

import spot_machine
from jobs.container import JobError
from machine.steps import STEPS
from spot_machine import SpotMachine

PLAN = {
    "run": "ec2-1",
    "shards": {split: f"s3://data/{split}/" for split in ("train", "validation", "test")},
    "checkpoints": "s3://data/checkpoints/ec2-1/",
    "models": "s3://models/ec2-1/",
    "flags": {step: {} for step in STEPS},
}


class NoUpload:
    """An exchange that takes no checkpoint any more."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}

    def read_json(self, uri: str) -> Any:
        """The plan."""
        return PLAN

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
