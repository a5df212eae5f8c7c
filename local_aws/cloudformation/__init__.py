"""CloudFormation resource types that ministack lacks."""

from __future__ import annotations

from local_aws.cloudformation import identity, money, sagemaker, scaling
from local_aws.cloudformation.resource_type import ResourceType

RESOURCE_TYPES: list[ResourceType] = [*sagemaker.TYPES, *money.TYPES, *identity.TYPES, *scaling.TYPES]
