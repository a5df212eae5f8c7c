"""MLflow tracking: a job installs MLflow, is killed, and continues in the same MLflow run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training_data import write_embedding

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(900)]
EPOCHS = 120


def job(repository: Path, folder: Path, uri: str) -> subprocess.Popen[str]:
    """train.py in a separate process, as a SageMaker job runs it."""
    code = [repository / "training_code", repository / "inference_code"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, code)), "SAGEMAKER_BASE_DIR": str(folder),
        "TRAINING_JOB_NAME": "pipelines-a-Train-x", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    flags = ["--backbone", "small", "--embedding", str(folder / "embedding"), "--epochs", str(EPOCHS), "--lr", "0.01",
             "--batch-size", "64", "--checkpoint-seconds", "0", "--watch", "off", "--mlflow", uri]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, str(code[0] / "train.py"), *flags], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def no_index(printed: str) -> bool:
    return "cannot be installed" in printed


def test_a_killed_job_goes_on_in_its_mlflow_run(repository: Path, tmp_path: Path) -> None:
    write_embedding(tmp_path / "embedding")
    store = tmp_path / "output" / "data" / "mlflow"
    first = job(repository, tmp_path, store.as_uri())
    metric = f"{store}/*/*/metrics/validation_loss"
    deadline = time.monotonic() + 240
    while first.poll() is None and time.monotonic() < deadline and not list(store.glob("*/*/metrics/validation_loss")):
        time.sleep(0.1)
    first.kill()
    printed = first.communicate()[0]
    if no_index(printed):
        pytest.skip("MLflow cannot be installed here: no package index")
    assert list(store.glob("*/*/metrics/validation_loss")), f"{metric} is missing: {printed}"
    second = job(repository, tmp_path, store.as_uri())
    printed = second.communicate(timeout=400)[0]
    assert second.returncode == 0, printed
    assert "resumed at epoch=" in printed
    (values,) = store.glob("*/*/metrics/validation_loss")
    steps = [int(line.split()[2]) for line in values.read_text().splitlines()]
    assert set(steps) == set(range(EPOCHS)), "one run, with every epoch of both lives"
    run = values.parent.parent
    assert (run / "params" / "lr").read_text() == "0.01"
    assert {path.name for path in (run / "artifacts").iterdir()} == {
        "metrics.json", "watch.json", "profile.json", "report.html", "model.json",
    }  # fmt: skip


def test_a_server_that_cannot_be_reached_is_named_before_training(repository: Path, tmp_path: Path) -> None:
    uri = "http://127.0.0.1:9"
    write_embedding(tmp_path / "embedding")
    process = job(repository, tmp_path, uri)
    printed = process.communicate(timeout=400)[0]
    if no_index(printed):
        pytest.skip("MLflow cannot be installed here: no package index")
    assert process.returncode == 1
    assert "epoch=" not in printed
    assert f"mlflow is '{uri}', which MLflow cannot use" in (tmp_path / "output" / "failure").read_text()
