"""Where jobs and endpoint run: in no network of ours, in one that the stacks make, or in one that exists."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from stacks.settings.section import Section, SubnetId, wrong_setting

SecurityGroupId = Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-f]{8,17}$")]
InterfaceEndpoint = Literal[
    "ecr.api", "ecr.dkr", "kms", "logs", "monitoring", "sagemaker.api", "sagemaker.runtime", "sts"
]


class NetworkSettings(Section):
    """Where jobs and endpoint run: in no network of ours, in one that the stacks make, or in one that exists."""

    mode: Literal["none", "create", "existing"] = "none"
    """`create` makes private subnets in two zones with endpoints for what the jobs call and no way out. Interface
    endpoints bill by the hour; `binventory cost` says how much. `existing` takes the ids below."""
    cidr: Annotated[str, StringConstraints(pattern=r"^10\.\d{1,3}\.\d{1,3}\.0/2[0-4]$")] = "10.20.0.0/22"
    """Addresses of a created network; each job's machine takes one, each interface endpoint one a zone."""
    endpoints: tuple[InterfaceEndpoint, ...] = (
        "ecr.api",
        "ecr.dkr",
        "kms",
        "logs",
        "monitoring",
        "sagemaker.api",
        "sts",
    )
    """Interface endpoints of a created network. Each bills about 15 USD a month in two zones. The pipeline's own code
    calls `sagemaker.api` only; the others are for what SageMaker does in the network on a role's behalf."""
    subnet_ids: tuple[SubnetId, ...] = Field(default=(), max_length=16)
    """Private subnets of your own network, with mode `existing`."""
    security_group_ids: tuple[SecurityGroupId, ...] = Field(default=(), max_length=5)
    """Security groups of jobs and endpoint there."""

    @field_validator("subnet_ids", "security_group_ids")
    @classmethod
    def _given_where_needed(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        mode = info.data.get("mode")
        if value and mode != "existing":
            raise wrong_setting("must be absent unless network.mode is existing (it is {mode})", mode=mode)
        return value

    @field_validator("security_group_ids")
    @classmethod
    def _complete(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("mode") == "existing" and not (value and info.data.get("subnet_ids")):
            raise wrong_setting("subnet_ids and security_group_ids must both be given with network.mode existing")
        return value

    model_config = Section.model_config | {"validate_default": True}
