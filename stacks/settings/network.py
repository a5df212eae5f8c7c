"""The VPC of jobs and endpoint: none, one that the stacks create, or an existing one."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from stacks.settings.section import Section, SubnetId, distinct, matching, wrong_setting

SecurityGroupId = Annotated[
    str, matching(r"sg-[0-9a-f]{8,17}", "the id of a security group, such as sg-0123456789abcdef0")
]
InterfaceEndpoint = Literal[
    "ecr.api", "ecr.dkr", "kms", "logs", "monitoring", "sagemaker.api", "sagemaker.runtime", "sts"
]
_CALLED: Final = "sagemaker.api"
"""The service that the pipeline's code calls."""


def _addresses(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise wrong_setting(
            "must be a block of addresses such as 10.20.0.0/22: {problem}", problem=str(error)
        ) from None
    return value


Cidr = Annotated[
    str,
    matching(r"10\.\d{1,3}\.\d{1,3}\.0/2[0-4]", "a block of 10.0.0.0/8 from /20 to /24, such as 10.20.0.0/22"),
    AfterValidator(_addresses),
]


class NetworkSettings(Section):
    """The VPC of jobs and endpoint: none, one that the stacks create, or an existing one."""

    mode: Literal["none", "create", "existing"] = "none"
    """`create`: private subnets in two zones, with VPC endpoints for the services that jobs call and without internet
    access. Interface endpoints bill by the hour; `binventory cost` shows it. `existing`: the subnets below."""
    cidr: Cidr = "10.20.0.0/22"
    """Addresses of a created VPC. SageMaker asks for two for each machine; each interface endpoint takes one in each
    zone."""
    endpoints: tuple[InterfaceEndpoint, ...] = (
        "ecr.api",
        "ecr.dkr",
        "kms",
        "logs",
        "monitoring",
        "sagemaker.api",
        "sts",
    )
    """Interface endpoints of a created VPC. Each costs about 15 USD a month in two zones. The pipeline's code calls
    `sagemaker.api` only; SageMaker itself uses the others, with the jobs' roles."""
    subnet_ids: tuple[SubnetId, ...] = Field(default=(), max_length=16)
    """Private subnets of an existing VPC, for mode `existing`."""
    security_group_ids: tuple[SecurityGroupId, ...] = Field(default=(), max_length=5)
    """Security groups of jobs and endpoint, for mode `existing`."""

    @field_validator("endpoints", "subnet_ids", "security_group_ids")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(value, "one")

    @field_validator("endpoints")
    @classmethod
    def _check_what_jobs_call(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("mode") == "create" and _CALLED not in value:
            raise wrong_setting(
                "must have {called} with network.mode create: Evaluate asks it for the champion, and has no other way "
                "to it",
                called=_CALLED,
            )
        return value

    @field_validator("subnet_ids", "security_group_ids")
    @classmethod
    def _check_mode(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        mode = info.data.get("mode")
        if value and mode != "existing":
            raise wrong_setting("must be absent unless network.mode is existing (it is {mode})", mode=mode)
        return value

    @field_validator("security_group_ids")
    @classmethod
    def _check_both_given(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("mode") == "existing" and not (value and info.data.get("subnet_ids")):
            raise wrong_setting("subnet_ids and security_group_ids must both be given with network.mode existing")
        return value

    model_config = Section.model_config | {"validate_default": True}
