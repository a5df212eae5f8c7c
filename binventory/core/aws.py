"""The connection to AWS or to the local AWS: the same calls, with another endpoint URL."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from binventory.core.errors import Exit, Problem

_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=5,
    read_timeout=70,
    max_pool_connections=32,
)


@dataclass(frozen=True)
class Aws:
    """boto3 clients of one account and region, safe to share by threads; `endpoint_url` is the local AWS's."""

    session: boto3.Session
    endpoint_url: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def client(self, service: str) -> Any:
        """The client of a service, made once."""
        with self._lock:
            if service not in self._clients:
                make: Any = self.session.client  # its overloads know literal names only
                self._clients[service] = make(service, endpoint_url=self.endpoint_url, config=_CONFIG)
            return self._clients[service]

    @property
    def region(self) -> str:
        """The region, such as us-east-1."""
        return str(self.session.region_name)

    @property
    def is_local(self) -> bool:
        """Whether this is the local AWS."""
        return self.endpoint_url is not None


def connect(environment: Mapping[str, str]) -> Aws:
    """The connection that AWS_* variables describe, without touching the process's own environment."""
    session = boto3.Session(
        aws_access_key_id=environment.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=environment.get("AWS_SESSION_TOKEN"),
        region_name=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
        profile_name=environment.get("AWS_PROFILE"),
    )
    if session.region_name is None:
        raise Problem(
            "No AWS region is set",
            "neither AWS_REGION nor the profile names one",
            "export AWS_REGION, for example us-east-1",
            code=Exit.NOT_READY,
        )
    if session.get_credentials() is None:
        raise Problem(
            "No AWS credentials were found",
            "neither the environment nor a profile holds any",
            "sign in (aws sso login), or start a local AWS with: binventory rehearse --keep",
            code=Exit.NOT_READY,
        )
    return Aws(session, environment.get("AWS_ENDPOINT_URL"))


def error_code(error: ClientError) -> str:
    """The code of an AWS error, such as ValidationException."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: ClientError) -> str:
    """The message of an AWS error."""
    return str(error.response.get("Error", {}).get("Message", error))
