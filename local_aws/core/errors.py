"""Errors shaped like AWS's: a code that boto3 turns into `ClientError`, an HTTP status and a message."""

from __future__ import annotations


class AwsError(Exception):
    """An answer that refuses a request.

    Args:
        code: the exception's name on the wire, for example `ValidationException` or `ResourceNotFound`.
        message: what the caller reads; names the field and what would be accepted.
        status: HTTP status.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def validation(message: str) -> AwsError:
    """A request that is wrong in itself, or (as SageMaker does for many resources) names something absent."""
    return AwsError("ValidationException", message)


def not_found(message: str) -> AwsError:
    """A named resource that does not exist, for the operations whose model lists `ResourceNotFound`."""
    return AwsError("ResourceNotFound", message)


def in_use(message: str) -> AwsError:
    """A name that is taken already, or a resource that is busy."""
    return AwsError("ResourceInUse", message)


def conflict(message: str) -> AwsError:
    """Two changes that cannot both hold."""
    return AwsError("ConflictException", message)
