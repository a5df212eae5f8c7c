"""The connection to AWS or to the local AWS: the same calls, with another endpoint URL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError, ProfileNotFound

from binventory.core.errors import Exit, Problem
from binventory.core.unreached import unreached

if TYPE_CHECKING:
    import boto3  # imported when a command connects: help and completion are shown without it

_CONFIG: Final[dict[str, Any]] = {
    "retries": {"mode": "standard", "total_max_attempts": 4},
    "connect_timeout": 5,
    "read_timeout": 70,
    "max_pool_connections": 32,
}
_OF_SERVICE: Final[dict[str, dict[str, Any]]] = {
    # Invoke answers when the function has ended, up to five minutes later. A shorter wait would call it once more while
    # it works. The connection is silent meanwhile, and a NAT gateway drops such a one after 350 seconds.
    "lambda": {"read_timeout": 330, "tcp_keepalive": True},
}
_CALLS: Final = logging.getLogger("binventory.aws")
DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"})
"""Codes of an error that says that the credentials may not make this call; the last two are those of SNS and EC2."""


@dataclass(frozen=True)
class Aws:
    """boto3 clients of one account and region, safe to share by threads; `endpoint_url` is the local AWS's."""

    session: boto3.Session
    endpoint_url: str | None = None
    _clients: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def client(self, service: str) -> Any:
        """The client of a service, made once."""
        from botocore.config import Config

        with self._lock:
            if service not in self._clients:
                make: Any = self.session.client  # its overloads know literal names only
                settings = {**_CONFIG, **_OF_SERVICE.get(service, {})}
                if self.is_local:
                    settings["proxies"] = {}  # no proxy reaches the local AWS
                config = Config(**settings)
                self._clients[service] = make(service, endpoint_url=self.endpoint_url, config=config)
            return self._clients[service]

    @property
    def region(self) -> str:
        """The region, such as us-east-1."""
        return str(self.session.region_name)

    @property
    def place(self) -> str:
        """Where its stacks are looked for: the region, and the address of a local AWS."""
        return f"{self.region} of the local AWS at {self.endpoint_url}" if self.is_local else f"{self.region}"

    @property
    def is_local(self) -> bool:
        """Whether this is the local AWS."""
        return self.endpoint_url is not None


def connect(environment: Mapping[str, str]) -> Aws:
    """The connection that AWS_* variables describe, without touching the process's own environment.

    Keys in the variables come before a profile. With keys and a region no profile is read, so that a name that stands
    in the process's environment by chance does no harm; nor does a token that stands there without keys.

    Raises:
        Problem: the profile does not exist or gives no credentials, or there is no region, or there are no
            credentials, or half of a key.
    """
    import boto3
    import botocore.session

    key, secret = _keys(environment)
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    profile = None if key and region else environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    # botocore would look into the process's environment for a profile that is not given.
    core = botocore.session.Session(session_vars={"profile": (None, None, profile, None)})
    try:
        session = boto3.Session(
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=environment.get("AWS_SESSION_TOKEN") if key else None,
            region_name=region,
            botocore_session=core,
        )
        found = session.region_name
    except ProfileNotFound:
        raise Problem(
            f"The AWS profile {profile} does not exist",
            "AWS_PROFILE names it, and no AWS configuration file has it",
            "export AWS_PROFILE with one of `aws configure list-profiles`, or unset it",
            code=Exit.NOT_READY,
        ) from None
    if _CALLS.isEnabledFor(logging.DEBUG):
        session.events.register("after-call", _log_call)
        session.events.register("after-call-error", _log_call)
    if found is None:
        raise Problem(
            "No AWS region is set",
            "neither AWS_REGION nor the profile names one",
            "export AWS_REGION with the region of your settings, such as us-east-1",
            code=Exit.NOT_READY,
        )
    try:
        credentials = session.get_credentials()
    except Exception as error:  # a profile may start a program, and what that prints fails in many ways
        problem = unreached(error, environment)
        if problem is None:
            raise
        raise problem from error
    if credentials is None:
        raise Problem(
            "No AWS credentials were found",
            "neither the environment nor a profile holds any",
            "sign in (aws sso login), or start a local AWS with: binventory rehearse --keep",
            code=Exit.NOT_READY,
        )
    return Aws(session, _endpoint(environment.get("AWS_ENDPOINT_URL")))


def _keys(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The two parts of a key; None for both where there is none. Raises Problem for one part alone."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    key, secret = (environment.get(name) or None for name in names)
    if (key is None) != (secret is None):
        given, lacking = names if key else names[::-1]
        raise Problem(
            "The AWS credentials are incomplete",
            f"{given} is set without {lacking}",
            f"export both, or unset {given} to use a profile",
            code=Exit.NOT_READY,
        )
    return key, secret


def _endpoint(address: str | None) -> str | None:
    """The local AWS's address, or None. Raises Problem for one that is no address."""
    if not address:
        return None
    if not _is_address(address):
        raise Problem(
            f"AWS_ENDPOINT_URL={address} is no address",
            "it must be http:// or https:// and a host",
            "unset it for a real account, or source the environment.sh of a kept rehearsal",
            code=Exit.NOT_READY,
        )
    return address


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # Reading the port refuses one that is no number.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _log_call(model: Any, parsed: Mapping[str, Any] | None = None, exception: Any = None, **others: Any) -> None:
    """One line for each call, with --verbose."""
    answer = parsed or {}
    failed = answer.get("Error", {}).get("Code") or (type(exception).__name__ if exception else "")
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    _CALLS.debug("AWS %s %s: %s", model.service_model.service_name, model.name, " ".join(f"{status} {failed}".split()))


def log_quick(operation: str) -> None:
    """The line of a call to S3 that succeeded and that no boto3 client made."""
    _CALLS.debug("AWS s3 %s: 200", operation)


def error_code(error: ClientError) -> str:
    """The code of an AWS error, such as ValidationException."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_message(error: ClientError) -> str:
    """The message of an AWS error."""
    return str(error.response.get("Error", {}).get("Message", error))
