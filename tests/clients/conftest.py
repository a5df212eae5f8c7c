"""What the tests of every client share. Runs in a client's environment: only what all of them have is imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _given(name: str) -> str:
    return os.environ[f"CLIENTS_{name}"]


@pytest.fixture(scope="session")
def role() -> str:
    """The role of jobs, pipelines and models."""
    return _given("ROLE")


@pytest.fixture(scope="session")
def bucket() -> str:
    """A bucket with four files below `bins/`, whose numbers are 1 to 4."""
    return _given("BUCKET")


@pytest.fixture(scope="session")
def image() -> str:
    """A serving image in the account's registry. It answers JSON: name, bytes and content type of the request."""
    return _given("IMAGE")


@pytest.fixture(scope="session")
def model_data() -> str:
    """An artefact that the image serves."""
    return _given("MODEL")


@pytest.fixture(scope="session")
def training_image() -> str:
    """AWS's PyTorch image, for which the packages of the local AWS stand in."""
    return "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.13-cpu-amzn2023-sagemaker"


@pytest.fixture(scope="session")
def scripts() -> Path:
    """Public scripts, with the paths that they have in a container."""
    return Path(__file__).resolve().parent / "scripts"
