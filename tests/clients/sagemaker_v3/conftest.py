"""Trainers of version 3 of the SDK, made as a notebook makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.training.configs import Compute, SourceCode
from sagemaker.train import ModelTrainer


@pytest.fixture(scope="session")
def session() -> Session:
    """Everything that it knows comes from the exports."""
    return Session()


@pytest.fixture(scope="session")
def trainer(role: str, scripts: Path, training_image: str):  # type: ignore[no-untyped-def]
    """Makes a trainer of the public training script."""

    def make(**changes: Any) -> ModelTrainer:
        arguments: dict[str, Any] = {
            "training_image": training_image,
            "source_code": SourceCode(source_dir=str(scripts), entry_script="train.py"),
            "compute": Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=30),
            "role": role,
            "hyperparameters": {"epochs": 40},
            "base_job_name": "v3",
        }
        return ModelTrainer(**(arguments | changes))

    return make


@pytest.fixture(scope="session")
def numbers(session: Session, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A channel with the file that the training script reads."""
    folder = tmp_path_factory.mktemp("numbers")
    (folder / "train.csv").write_text("".join(f"{x},{2 * x}\n" for x in (1, 2, 3, 4)))
    return str(session.upload_data(str(folder / "train.csv"), key_prefix="numbers"))
