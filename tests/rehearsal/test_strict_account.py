"""The rehearsal with the settings of a strict account: customer keys, a network, a role path, no package index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stacks.shared.assets import WHEELHOUSE, MissingWheelsError, complete_wheels

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]
SETTINGS = {
    "BINVENTORY_NETWORK__MODE": "create",
    "BINVENTORY_SECURITY__CUSTOMER_KEYS": "true",
    "BINVENTORY_SECURITY__ROLE_PATH": "/workloads/bins/",
    "BINVENTORY_TRAINING__WEIGHTS": "none",
}


def test_the_whole_system_works_in_a_strict_account(repository: Path, tmp_path: Path) -> None:
    try:
        complete_wheels(WHEELHOUSE)
    except MissingWheelsError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "binventory", "rehearse", "--enforce-iam", "--photos-count", "90", "--json"]
    done = subprocess.run(
        [*command, "--state-dir", str(tmp_path / "state")],
        cwd=repository,
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["counted"]
    assert said["checked"]  # keys, subnets and endpoints are gone with the rest
