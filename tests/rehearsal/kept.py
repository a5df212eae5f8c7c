"""Start, use and end a kept rehearsal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3

COMMAND = [sys.executable, "-m", "binventory"]
# The drift monitor looks every minute at the last six, and may start the pipeline.
WATCHFUL = {
    "BINVENTORY_MONITORING__LOOK_EVERY_MINUTES": "1",
    "BINVENTORY_MONITORING__WINDOW_HOURS": "0.1",
    "BINVENTORY_MONITORING__MINIMUM_PHOTOS": "100",
    "BINVENTORY_MONITORING__RETRAIN": "true",
    "BINVENTORY_MONITORING__RETRAIN_DAYS": "0",
}
LOST = {"AWS_PROFILE": "nonexistent", "AWS_DEFAULT_PROFILE": "nonexistent"}
"""Of a shell whose profile is gone: a rehearsal needs none."""


def binventory(repository: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Runs the command line as a person would; fails with everything it printed."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=repository,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cdk(repository: Path, *arguments: str, assembly: Path, environment: dict[str, str]) -> str:
    """Runs the CDK CLI as a person would; fails with everything it printed.

    assembly: a folder of this rehearsal only. The CLI locks it, so two in `cdk.out` of one checkout would be refused.
    """
    # cdk.json says `python3 app.py`: the interpreter of these tests, activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["node_modules/.bin/cdk", *arguments, "--output", str(assembly)],
        cwd=repository,
        env={**os.environ, **environment, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def client(kept: dict[str, Any], service: str) -> Any:
    """A boto3 client made of nothing but the printed exports."""
    exports = kept["kept"]
    make: Any = boto3.client
    return make(
        service,
        endpoint_url=exports["AWS_ENDPOINT_URL"],
        region_name=exports["AWS_REGION"],
        aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
    )
