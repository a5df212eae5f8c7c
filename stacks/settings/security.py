"""What a strict account asks for. Everything is off by default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from stacks.settings.section import Section

PolicyArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[A-Za-z0-9_+=,.@/-]+$")]
RolePath = Annotated[str, StringConstraints(pattern=r"^/([A-Za-z0-9_+=,.@-]+/)*$", max_length=512)]


class SecuritySettings(Section):
    """What a strict account asks for. Everything is off by default."""

    permissions_boundary: Literal["none"] | PolicyArn = "none"
    """ARN of a managed policy that limits every role of these stacks."""
    role_path: RolePath = "/"
    """Path of every role, for example `/workloads/bins/`, where an account's policies speak of paths."""
    customer_keys: bool = False
    """Two KMS keys of one's own, for data and for notices, instead of AWS's: 1 USD each a month and a little a request.
    Bucket, volumes of jobs and endpoint, topics and log groups are then encrypted with them."""
