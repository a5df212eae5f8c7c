"""The whole system once in each way to serve: deployed, promoted, asked and destroyed with its roles' rights only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rehearsal.kept import binventory

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(("mode", "machines"), [("serverless", "1"), ("async", "0")])
def test_a_model_is_served_and_asked_in_every_mode(repository: Path, tmp_path: Path, mode: str, machines: str) -> None:
    settings = {"MODE": mode, "MIN_INSTANCES": machines, "DATA_CAPTURE_PERCENT": "0"}
    environment = {f"BINVENTORY_SERVING__{name}": value for name, value in settings.items()}
    arguments = ("rehearse", "--enforce-iam", "--json", "--photos-count", "60", "--state-dir", str(tmp_path / "state"))
    said = json.loads(binventory(repository, *arguments, environment=environment))
    assert said["counted"]
    assert {item["image_id"] for item in said["audited"]} == {item["image_id"] for item in said["counted"]}
    assert said["checked"]
