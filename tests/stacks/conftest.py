"""A local AWS for the functions of the stacks: their real handlers run here, against real services."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from local_aws.server import LocalAws
from tests.contract.conftest import connect
from tests.contract.serving import push_image
from tests.forked import ForkedAws

if TYPE_CHECKING:
    from tests.stacks.reconciled import Made

ClientFactory = Callable[[str], Any]


@pytest.fixture(scope="session")
def _local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with ForkedAws(tmp_path_factory.mktemp("local-aws")) as aws:
        connect(aws)  # which makes the roles of jobs and models
        yield aws


@pytest.fixture(scope="session")
def image(_local_aws: LocalAws) -> str:
    """The URI of a tiny server's image, pushed once: every file of this folder shares the one registry."""
    return push_image(_local_aws, connect(_local_aws))


@pytest.fixture
def aws(_local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> ClientFactory:
    """Makes boto3 in this process talk to a local AWS, as it does inside a function there; gives clients."""
    for name, value in _local_aws.environment().items():
        monkeypatch.setenv(name, value)
    # boto3 keeps a default session with the environment it saw first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    create: Any = boto3.client
    return lambda service: create(service)


@pytest.fixture
def made(aws: ClientFactory, _local_aws: LocalAws, image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """A function that makes an environment for the handler of reconcile."""
    from tests.stacks.reconciled import make  # which imports the clients of this file

    yield from make(aws, _local_aws, image, monkeypatch)
