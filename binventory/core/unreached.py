"""Why AWS was not asked: credentials, proxy, certificate, region or a local AWS that has ended, each with its cure."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Mapping
from typing import Any, Final

from botocore import credentials, exceptions, tokens

from binventory.core.errors import Exit, Problem

_READERS: Final = frozenset({credentials.__file__, tokens.__file__})
"""Botocore's files that read profiles, run their programs and exchange their tokens."""
_OF_NETWORK: Final = (exceptions.HTTPClientError, exceptions.ConnectionError)
_EXPORT: Final = 'eval "$(aws configure export-credentials --format env)"'


def unreached(error: BaseException, environment: Mapping[str, str]) -> Problem | None:
    """The problem of an error that is no answer of AWS; None for one that is, or that has nothing to do with AWS.

    Args:
        error: as it was raised, with its traceback: some errors about credentials are known by their place only.
        environment: the AWS_* variables that the request was made with.
    """
    if isinstance(error, exceptions.ClientError):
        return None
    of_network = isinstance(error, _OF_NETWORK)
    if not of_network and _is_about_credentials(error):
        return _of_credentials(error, environment)
    if not isinstance(error, exceptions.BotoCoreError):
        return None
    if isinstance(error, exceptions.ParamValidationError):
        # Botocore refuses it before it sends anything.
        return Problem(
            "AWS takes no such value", _one_line(error), "correct it, and run the command again", code=Exit.USAGE
        )
    return Problem("AWS was not reached", _one_line(error), _cure(error, environment), code=Exit.NOT_READY)


def _is_about_credentials(error: BaseException) -> bool:
    if isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.SSOError
        | exceptions.TokenRetrievalError,
    ):
        return True
    return any(frame.filename in _READERS for frame in traceback.extract_tb(error.__traceback__))


def _of_credentials(error: BaseException, environment: Mapping[str, str]) -> Problem:
    profile = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    why = _one_line(error)
    named = f" --profile {shlex.quote(profile)}" if profile else ""
    if isinstance(error, exceptions.SSOError | exceptions.TokenRetrievalError):
        cure = f"sign in again: aws sso login{named}"
    elif isinstance(error, exceptions.LoginError | exceptions.MissingDependencyException):
        cure = f"sign in (aws login{named}), then: {_EXPORT.replace(' --format', f'{named} --format')}"
    elif isinstance(error, exceptions.NoCredentialsError):
        cure = f"sign in (aws sso login{named}), or export keys that AWS knows"
    elif isinstance(error, EOFError):
        # A profile with an `mfa_serial`: botocore asks for the code, and a pipe or a scheduler has none.
        why = "its role needs the code of a second factor, and there is no terminal on which to ask"
        cure = f"ask for it before, on a terminal: {_EXPORT.replace(' --format', f'{named} --format')}"
    else:
        cure = f"correct it until this works: aws sts get-caller-identity{named}"
    whose = f"The credentials of the AWS profile {profile}" if profile else "The AWS credentials"
    return Problem(f"{whose} cannot be used", why, cure, code=Exit.NOT_READY)


def _cure(error: BaseException, environment: Mapping[str, str]) -> str:
    local = environment.get("AWS_ENDPOINT_URL")
    proxy = next((name for name in ("HTTPS_PROXY", "https_proxy") if environment.get(name)), None)
    if isinstance(error, exceptions.SSLError):
        bundle = environment.get("AWS_CA_BUNDLE")
        now = f", which is {bundle} now" if bundle else ""
        return f"name the file of the authority that your network's certificates are of in AWS_CA_BUNDLE{now}"
    if isinstance(error, _OF_NETWORK) and local and local.rstrip("/") in str(error):
        return (
            f"AWS_ENDPOINT_URL names the local AWS at {local}: start it again (binventory rehearse --resume DIR), or "
            "use a shell without that variable for a real account"
        )
    if isinstance(error, exceptions.ProxyConnectionError) or (
        proxy and type(error) in (exceptions.HTTPClientError, exceptions.InvalidProxiesConfigError)
    ):
        return f"check the proxy that {proxy or 'HTTPS_PROXY'} names"
    if isinstance(error, exceptions.InvalidRegionError):
        return "export AWS_REGION with the region of your settings, such as us-east-1"
    if isinstance(error, exceptions.ConfigParseError | exceptions.ConfigNotFound):
        return "correct that file, or let AWS_CONFIG_FILE name another"
    return "check region, credentials and network"


def _one_line(error: Any) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, exceptions.BotoCoreError) else f"{type(error).__name__}: {said}"
