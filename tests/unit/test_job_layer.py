"""The Python of a job in the local AWS, which is this computer's with a layer above it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from local_aws.images import pytorch

Run = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["plain", "with a sitecustomize"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs code in a job's Python; that of Debian and Ubuntu has a sitecustomize before those of all packages."""
    monkeypatch.setattr(pytorch, "why_shared", lambda: "it is not Linux")
    python = pytorch.make_layer(tmp_path / "layer") / "python"
    variables = {}
    if request.param == "with a sitecustomize":
        (tmp_path / "sitecustomize.py").touch()
        variables["PYTHONPATH"] = str(tmp_path)
    return lambda code: subprocess.run([python, "-c", code], env=variables, capture_output=True, text=True, check=False)


def test_the_machines_of_a_job_find_each_other_by_name(run: Run) -> None:
    done = run("import socket; print(socket.gethostbyname('algo-2'), socket.getaddrinfo('algo-1', 80)[0][4])")
    assert done.stdout == "127.0.0.1 ('127.0.0.1', 80)\n", done.stderr


def test_this_computers_own_folder_is_refused(run: Run) -> None:
    done = run("open('/opt/ml/model/weights', 'w')")
    assert done.returncode == 1
    assert "this computer cannot give a job its own /opt/ml (it is not Linux)" in done.stderr


def test_a_job_has_the_packages_of_its_image(run: Run) -> None:
    done = run("import botocore, importlib.util; print(importlib.util.find_spec('torch') and 'there')")
    assert done.stdout == "there\n", done.stderr
