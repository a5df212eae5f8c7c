"""The types that every part of the local AWS shares."""

from __future__ import annotations

import re
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
QUOTAS = "service-quotas"
COST_EXPLORER = "ce"
TARGETS = {
    SAGEMAKER: "SageMaker",
    AUTOSCALING: "AnyScaleFrontendService",
    QUOTAS: "ServiceQuotasV20190624",
    COST_EXPLORER: "AWSInsightsIndexService",
}
"""What the services write before the operation's name in the header `X-Amz-Target`."""

_IMAGE_URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[a-z0-9][a-z0-9._/-]+?)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Reply(NamedTuple):
    """An HTTP reply."""

    status: int
    headers: Headers
    body: bytes


class Check(NamedTuple):
    """One permission that an operation needs."""

    action: str
    resource: str
    keys: dict[str, str]


class ImageUri(NamedTuple):
    """The address of an image in Amazon ECR; tag and digest are None where it has none."""

    account: str
    region: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, uri: str) -> ImageUri | None:
        """The parts of an address; None when `uri` is not one of Amazon ECR."""
        match = _IMAGE_URI.fullmatch(uri)
        return cls(**match.groupdict()) if match else None

    @property
    def repository_arn(self) -> str:
        """The repository, as policies name it."""
        return f"arn:aws:ecr:{self.region}:{self.account}:repository/{self.repository}"
