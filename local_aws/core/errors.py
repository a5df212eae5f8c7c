"""Errors in the form of AWS's: a code, which boto3 turns into a `ClientError`, an HTTP status and a message."""

from __future__ import annotations


class AwsError(Exception):
    """A reply that refuses a request.

    Args:
        code: the exception's name on the wire, for example `ValidationException` or `ResourceNotFound`.
        message: names the member and the values that would be accepted.
        status: HTTP status.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def validation(message: str) -> AwsError:
    """A request that is not valid. For many resources SageMaker uses it for a missing resource too."""
    return AwsError("ValidationException", message)


def not_found(message: str) -> AwsError:
    """A resource that does not exist, for the operations whose model lists `ResourceNotFound`."""
    return AwsError("ResourceNotFound", message)


def in_use(message: str) -> AwsError:
    """A name that is taken, or a resource that is busy."""
    return AwsError("ResourceInUse", message)


def not_local(what: str, cure: str) -> AwsError:
    """A request that AWS accepts and the local AWS does not run.

    Args:
        what: the member or value, and that it does not run locally.
        cure: what to send instead.
    """
    return AwsError("NotImplemented", f"{what}, only on AWS; {cure}", 501)


def conflict(message: str) -> AwsError:
    """A change that the resource's state does not allow."""
    return AwsError("ConflictException", message)
