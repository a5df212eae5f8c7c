"""A local AWS for contract tests: one server for each module; it validates all its replies."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from local_aws.server import LocalAws
from tests.forked import ForkedAws

ClientFactory = Callable[[str], Any]


ROLES = ("jobs", "serving")
"""Of jobs and functions, and of models. Where policies are enforced, a test makes the roles that it needs."""
UPDATE_ROLE = "arn:aws:iam::123456789012:role/updates"
"""With which CloudFormation changes a serving stack."""
SCHEDULE_ROLE = "arn:aws:iam::123456789012:role/schedules"
"""With which EventBridge Scheduler calls what a schedule names."""


def connect(aws: LocalAws) -> ClientFactory:
    """A function from a service's name to an unmodified boto3 client of `aws`, which has `ROLES`."""
    create: Any = boto3.client
    keys = aws.environment()

    @cache
    def client(service: str) -> Any:
        return create(
            service,
            endpoint_url=aws.endpoint_url,
            region_name=aws.region,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    if aws.running and not aws.enforce_iam:
        make_roles(client)
    return client


def make_roles(client: ClientFactory) -> None:
    """`ROLES`, and the roles of stacks and schedules, in the account, where they do not exist yet."""
    services = {name: ["sagemaker", "lambda"] for name in ROLES}
    services |= {UPDATE_ROLE.rpartition("/")[2]: ["cloudformation"], SCHEDULE_ROLE.rpartition("/")[2]: ["scheduler"]}
    for name, trusting in services.items():
        trusted = {"Service": [f"{service}.amazonaws.com" for service in trusting]}
        statement = {"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        with contextlib.suppress(client("iam").exceptions.EntityAlreadyExistsException):
            client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)


def signed_post(aws: LocalAws, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """A POST that no client of boto3 would make, signed with the keys of `aws`."""
    keys = aws.environment()
    url = f"{aws.endpoint_url}{path}"
    request = AWSRequest("POST", url, {"Content-Type": "application/x-amz-json-1.1", **(headers or {})}, body)
    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(credentials, "sagemaker", aws.region).add_auth(request)
    return httpx.post(url, headers=dict(request.headers.items()), content=body)


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A running local AWS, shared by the tests of a module; use names of your own in each test.

    Its folder has a space and an apostrophe, as a person's may have.
    """
    with ForkedAws(tmp_path_factory.mktemp("it's a local aws")) as aws:
        yield aws
    assert aws.processes() == []


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch, local_aws: LocalAws) -> None:
    """Commands and functions in this process reach the module's local AWS, and nobody is at the terminal."""
    for name, value in local_aws.environment().items():
        monkeypatch.setenv(name, value)
    # boto3 keeps a default session with the environment that it saw first, perhaps another module's.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.fixture(scope="module")
def client(local_aws: LocalAws) -> ClientFactory:
    """boto3 clients of the module's local AWS, by service name."""
    return connect(local_aws)


@pytest.fixture(scope="module")
def strict_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A local AWS that enforces policies."""
    with ForkedAws(tmp_path_factory.mktemp("strict-aws"), enforce_iam=True) as aws:
        yield aws


@pytest.fixture(scope="module")
def root(strict_aws: LocalAws) -> ClientFactory:
    """Clients with the account's own rights."""
    return connect(strict_aws)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state directory for a test that starts its own local AWS."""
    return tmp_path / "state"
