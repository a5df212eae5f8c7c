"""Fixtures that every kind of test shares."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Two test processes on two cores: more BLAS threads than that only wait for each other. Read when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# A loaded machine makes any example slow once; no test asserts a time.
hypothesis.settings.register_profile("binventory", deadline=None)
hypothesis.settings.load_profile("binventory")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def abid() -> Path:
    """Real photos of the Amazon Bin Image Dataset, laid out like the public bucket; skips where they are absent."""
    folder = REPOSITORY.parent / "shared" / "abid"
    if not folder.is_dir():
        pytest.skip("no real bin photos at ../shared/abid")
    return folder
