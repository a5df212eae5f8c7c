"""Fixtures for all kinds of tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from botocore.loaders import JSONFileLoader

import arithmetic
from binventory.core.names import Names

# Two test processes on two cores: more BLAS threads than that only wait for each other. Read when numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# A loaded machine makes any example slow once; no test asserts a time.
hypothesis.settings.register_profile("binventory", deadline=None)
hypothesis.settings.load_profile("binventory")

WITHOUT_BF16 = ("FP32", "INT8", "BIN")
"""What OpenVINO finds in a processor that lacks bf16."""
NAMES = Names("dev", "binventory")
"""Of the environment as it is shipped."""
REPOSITORY = Path(__file__).resolve().parent.parent
collect_ignore = ["clients"]
"""Run in environments of their own, by `make test-clients`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--precision",
        choices=("auto", "fp32"),
        default="auto",
        help="fp32: every choice of precision is made as on a processor without bf16 (default: what this one has)",
    )


@cache
def _description(path: str, read: Any = JSONFileLoader.load_file) -> Any:
    return read(JSONFileLoader(), path)


@pytest.fixture(scope="session", autouse=True)
def descriptions_of_services() -> Iterator[None]:
    """Each command makes a session of boto3, which reads the description of each service: here once in a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: _description(path))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays: the garbage collector need not look through aws_cdk and torch, again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 10, 10)
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def processor(request: pytest.FixtureRequest) -> Iterator[None]:
    """The processor features that this run's choice of precision finds."""
    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("--precision") == "fp32":
            patch.setattr(arithmetic, "capabilities_of_cpu", lambda: WITHOUT_BF16)
        yield


@pytest.fixture(params=("fp32", "bf16"))
def precision(request: pytest.FixtureRequest) -> str:
    """Each of the floats that a CPU may compute in; skips, with the reason, what cannot be tried here."""
    tried = str(request.param)
    if tried not in arithmetic.floats_of_cpu():
        forced = request.config.getoption("--precision") == "fp32"
        pytest.skip(f"{tried} was not tried: {'--precision fp32' if forced else 'this processor does not have it'}")
    return tried


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
