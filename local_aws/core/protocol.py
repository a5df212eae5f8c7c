"""The types that every part of the local AWS shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

Document: TypeAlias = dict[str, Any]
"""A request, a reply or a stored resource: decoded JSON with the member names of AWS's model."""

Headers: TypeAlias = dict[str, str]
"""Headers of an HTTP request (names in lower case) or of a reply."""

Handler: TypeAlias = Callable[[Any, Document], Document]
"""Answers an operation: takes the `Context` and the decoded request, returns the decoded reply. Raises `AwsError`."""

Operations: TypeAlias = dict[tuple[str, str], Handler]
"""Handlers by service and operation, for example `("sagemaker", "CreateModel")`."""

SAGEMAKER = "sagemaker"
AUTOSCALING = "application-autoscaling"


class Reply(NamedTuple):
    """An HTTP reply."""

    status: int
    headers: Headers
    body: bytes
