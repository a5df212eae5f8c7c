"""A local AWS for contract tests: one server for each module; it validates all its replies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local_aws.server import LocalAws

ClientFactory = Callable[[str], Any]


def connect(aws: LocalAws) -> ClientFactory:
    """A function from a service's name to an unmodified boto3 client of `aws`."""
    create: Any = boto3.client

    @cache
    def client(service: str) -> Any:
        return create(
            service,
            endpoint_url=aws.endpoint_url,
            region_name=aws.region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    return client


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A running local AWS, shared by the tests of a module; use names of your own in each test."""
    with LocalAws(tmp_path_factory.mktemp("local-aws")) as aws:
        yield aws
    assert aws.processes() == []


@pytest.fixture(scope="module")
def client(local_aws: LocalAws) -> ClientFactory:
    """boto3 clients of the module's local AWS, by service name."""
    return connect(local_aws)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state directory for a test that starts its own local AWS."""
    return tmp_path / "state"
