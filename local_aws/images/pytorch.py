"""Which images jobs can run from: without Docker, those whose contents the local environment has."""

from __future__ import annotations

import re

_DEEP_LEARNING_CONTAINER = re.compile(
    r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/(?P<repository>[^:@]+)([:@].+)?"
)


def image_problem(image: str) -> str | None:
    """Why no job can run from `image` here; None for AWS's PyTorch images, whose packages this environment has."""
    match = _DEEP_LEARNING_CONTAINER.fullmatch(image)
    if match and match["repository"].split("/")[-1].startswith("pytorch"):
        return None
    return (
        f"ClientError: Cannot pull image {image}: the local AWS runs jobs without Docker, and has the packages of "
        "AWS's PyTorch images only (ACCOUNT.dkr.ecr.REGION.amazonaws.com/pytorch...)"
    )
