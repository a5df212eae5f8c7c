"""Every failure as three lines: what an exception that nobody expected says to the person who typed the command."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Any

from binventory.core.errors import Exit, Problem

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
_DAMAGED = ("SQLITE_NOTADB", "SQLITE_CORRUPT")
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")
_NOT_TAKEN = frozenset(
    {
        "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "InvalidAccessKeyId",
        "UnrecognizedClientException", "AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException",
    }
)  # fmt: skip
"""Codes of credentials that have expired, or that AWS does not know."""
_TOO_OFTEN = frozenset(
    {
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
        "RequestLimitExceeded", "SlowDown", "TooManyRequestsException", "PriorRequestNotComplete",
    }
)  # fmt: skip
_MAKE_ROOM = "make room on that disk, or name a place on another one, and run the command again"


def problem_of(error: Exception) -> Problem:
    """The three lines and the exit code for an exception."""
    if isinstance(error, Problem):
        return error
    for translate in (_of_usage, _of_aws, _of_disk, _of_database):
        if (found := translate(error)) is not None:
            return found
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({place[0].filename}:{place[0].lineno})" if place else ""
    return Problem(
        "The command ended with an error that it does not expect",
        f"{type(error).__name__}: {error}{where}".replace("\n", " "),
        "run it again with --verbose, and report what it prints as a fault of binventory",
    )


def _of_usage(error: Any) -> Problem | None:
    """Wrong flags and values. Typer vendors click, so its exceptions are recognised by their methods."""
    if not (hasattr(error, "format_message") and hasattr(error, "exit_code")):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "binventory"
    return Problem(
        f"`{command}` cannot be run like this",
        " ".join(error.format_message().split()).rstrip("."),
        f"see: {command} --help",
        code=Exit.USAGE,
    )


def _of_aws(error: Exception) -> Problem | None:
    # Without botocore in memory nothing has asked AWS.
    botocore = sys.modules.get("botocore.exceptions")
    if botocore is None:
        return None
    if isinstance(error, botocore.ClientError):
        said = error.response.get("Error", {})
        code = str(said.get("Code", ""))
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500 and code not in _TOO_OFTEN:
            return Problem(
                f"AWS failed at {error.operation_name}",
                f"{code}: {said.get('Message', error)}",
                "run the same command again in a minute; https://health.aws.amazon.com says if the service is down",
            )
        return Problem(
            f"AWS refused {error.operation_name}",
            f"{code}: {said.get('Message', error)}",
            _cure(code),
            code=Exit.NOT_READY if code in _NOT_TAKEN else Exit.FAILED,
        )
    from binventory.core.unreached import unreached

    return unreached(error, os.environ)


def _cure(code: str) -> str:
    """What to do about an error of AWS with this code."""
    if code in _NOT_TAKEN:
        return "sign in again (aws sso login), or export keys that AWS knows"
    if code == "RequestTimeTooSkewed":
        return "set the clock of this computer, and run the command again"
    if code == "NoSuchBucket":
        return "check the name of the bucket, and that these credentials are of its account"
    if code in _TOO_OFTEN:
        return "AWS was asked too often: run the same command again in a minute"
    if code.endswith("LimitExceeded") or code == "ServiceQuotaExceededException":
        return "wait until others of this account end, or ask for a higher quota in Service Quotas"
    return "check that these credentials may do this, and that the stacks are deployed"


def _of_disk(error: Exception) -> Problem | None:
    if not isinstance(error, OSError) or error.errno is None:
        return None
    name = str(error.filename) if error.filename is not None else ""
    why = f"{name}: {error.strerror}" if name else str(error.strerror or error)
    if error.errno in _FULL:
        return Problem("There is no room for what this command writes", why, _MAKE_ROOM)
    if not name:
        return _of_folder(error)
    if error.errno in _CLOSED:
        cure = "name another place, or change the permissions of this one"
        return Problem(f"{name} may not be read or written", why, cure, code=Exit.USAGE)
    if error.errno in _ABSENT:
        return Problem(f"{name} cannot be used", why, "check this path; its folder must exist", code=Exit.USAGE)
    return Problem(f"{name} cannot be used", why, "check the disk and this path, and run the command again")


def _of_folder(error: OSError) -> Problem | None:
    """A shell may stand in a folder that was removed; what names a relative path then fails without a name."""
    try:
        os.getcwd()
    except FileNotFoundError:
        cure = "change to a folder that exists, and run the command again"
        return Problem("The current folder is gone", str(error.strerror), cure, code=Exit.USAGE)
    return None


def _of_database(error: Exception) -> Problem | None:
    """The ledger of an audit is a SQLite file."""
    sqlite = sys.modules.get("sqlite3")
    if sqlite is None or not isinstance(error, sqlite.DatabaseError):
        return None
    why = f"SQLite says: {error}"
    if getattr(error, "sqlite_errorname", "").startswith(_DAMAGED):
        cure = "begin anew with --restart, or choose another --output"
        return Problem("The audit's ledger.sqlite is damaged", why, cure, code=Exit.USAGE)
    if getattr(error, "sqlite_errorname", "").startswith(_BUSY):
        cure = "close the program that has it open, and run the same command again: it continues where it stopped"
        return Problem("The audit's ledger is in use", why, cure)
    return Problem("The audit's ledger cannot be written", why, _MAKE_ROOM)
