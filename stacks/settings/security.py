"""Requirements of strict accounts. All are off by default."""

from __future__ import annotations

from typing import Annotated

from stacks.settings.section import Section, matching

Boundary = Annotated[
    str,
    matching(
        r"arn:aws:iam::(\d{12}|aws):policy/[A-Za-z0-9_+=,.@/-]+",
        "the ARN of a managed policy, such as arn:aws:iam::123456789012:policy/workloads",
        "none",
    ),
]
RolePath = Annotated[
    str, matching(r"/([A-Za-z0-9_+=,.@-]+/)*", "a path between slashes, such as /workloads/bins/", "/", longest=512)
]


class SecuritySettings(Section):
    """Requirements of strict accounts. All are off by default."""

    permissions_boundary: Boundary = "none"
    """ARN of a managed policy, the permissions boundary of every role of these stacks; `none`: there is none."""
    role_path: RolePath = "/"
    """Path of every role, for example `/workloads/bins/`, for accounts whose policies match paths."""
    termination_protection: bool = False
    """CloudFormation refuses to delete the stacks. To destroy them, deploy them without this first."""
    customer_keys: bool = False
    """Customer-managed KMS keys, one for data, one for alerts and logs, instead of AWS's keys. They encrypt buckets,
    volumes of jobs and endpoint, topics and log groups; not the disk of a machine on EC2. Each costs 1 USD a month, 1
    USD more after it was rotated, which is each year, and a little a request."""
