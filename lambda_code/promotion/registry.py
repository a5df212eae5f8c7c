"""The model registry: which packages are approved, and the refusal of one whose rollout failed."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from botocore.exceptions import ClientError

from functions.aws import client
from stacks.names import ARCHIVE, version_of

_DESCRIPTION = 1024


@dataclass(frozen=True)
class Package:
    """A model package that may serve."""

    arn: str
    version: int
    approved_at: datetime.datetime
    """Time of its last change in the registry. For a package that has not served yet, that is its approval."""


def arn_of(account: str, group: str, version: int) -> str:
    """ARN of a version in a group of this account and region."""
    here = client("sagemaker").meta
    return f"arn:{here.partition}:sagemaker:{here.region_name}:{account}:model-package/{group}/{version}"


def approved(group: str) -> Iterator[Package]:
    """The approved packages of a group, the highest version first."""
    sagemaker = client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved"
    )
    try:
        arns = [
            summary["ModelPackageArn"]
            for page in pages
            for summary in page["ModelPackageSummaryList"]
            if summary["ModelPackageStatus"] == "Completed"
        ]
    except ClientError as error:
        if "does not exist" in str(error):
            return
        raise
    for arn in sorted(arns, key=version_of, reverse=True):
        described = sagemaker.describe_model_package(ModelPackageName=arn)
        # The listing may be older.
        if described["ModelApprovalStatus"] == "Approved":
            yield Package(arn, version_of(arn), described.get("LastModifiedTime", described["CreationTime"]))


def refuse(package: str, reason: str) -> None:
    """Marks a package as rejected, with the reason. It is not tried again until a person approves it again."""
    client("sagemaker").update_model_package(
        ModelPackageArn=package,
        ModelApprovalStatus="Rejected",
        # The description is one line.
        ApprovalDescription=" ".join(reason.split())[:_DESCRIPTION],
    )


def digest_of(package: str) -> str:
    """The digest of the package's archive, as the pipeline registered it; empty for a package without one."""
    described = client("sagemaker").describe_model_package(ModelPackageName=package)
    return str(described.get("CustomerMetadataProperties", {}).get(ARCHIVE, ""))
