"""A session of version 2 of the SDK, made as a notebook makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sagemaker
from sagemaker.pytorch import PyTorch


@pytest.fixture(scope="session")
def session() -> sagemaker.Session:
    """Everything that it knows comes from the exports."""
    return sagemaker.Session()


@pytest.fixture
def estimator(session: sagemaker.Session, role: str, scripts: Path, training_image: str):  # type: ignore[no-untyped-def]
    """Makes an estimator of the public training script."""

    def make(**changes):  # type: ignore[no-untyped-def]
        arguments = {
            "entry_point": "train.py",
            "source_dir": str(scripts),
            "role": role,
            "image_uri": training_image,
            "instance_type": "ml.m5.large",
            "instance_count": 1,
            "hyperparameters": {"epochs": 40},
            "metric_definitions": [{"Name": "validation:loss", "Regex": r"validation:loss=([0-9.]+);"}],
            "sagemaker_session": session,
        }
        return PyTorch(**(arguments | changes))

    return make


@pytest.fixture(scope="session")
def numbers(session: sagemaker.Session, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A channel with the file that the training script reads."""
    folder = tmp_path_factory.mktemp("numbers")
    (folder / "train.csv").write_text("".join(f"{x},{2 * x}\n" for x in (1, 2, 3, 4)))
    return str(session.upload_data(str(folder / "train.csv"), key_prefix="numbers"))
