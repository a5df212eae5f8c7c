"""The model registry: finds, approves and rejects model packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from binventory.core.aws import Aws, error_code, error_message
from binventory.core.deployed import model_package_group
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.cost import lineage
from stacks.names import ARCHIVE, version_of


@dataclass(frozen=True)
class JudgedPackage:
    """A version in the registry, its approval status and the reason for it."""

    package: str
    status: str
    description: str
    digest: str = ""
    """Of its archive; empty for a package that was registered without one."""

    @property
    def version(self) -> int:
        """The number at the end of its ARN."""
        return version_of(self.package)


def approve(aws: Aws, package: str, note: str) -> None:
    """Approves a model package; its event calls the function that makes the endpoint serve it.

    The cost of its execution is written with the approval, because all of its jobs have ended by then.
    """
    price = lineage.of_package(aws, package)
    _judge(aws, package, "Approved", note, CustomerMetadataProperties=price)


def reject(aws: Aws, package: str, note: str) -> None:
    """Rejects a model package; the newest one that is still approved replaces it."""
    _judge(aws, package, "Rejected", note)


def _judge(aws: Aws, package: str, status: str, note: str, **more: Any) -> None:
    try:
        aws.client("sagemaker").update_model_package(
            ModelPackageArn=package,
            ModelApprovalStatus=status,
            ApprovalDescription=note,
            **{key: value for key, value in more.items() if value},
        )
    except ClientError as error:
        if error_code(error) not in {"ResourceNotFound", "ValidationException"}:
            raise
        raise Problem(
            f"The model package {package} was not {status.lower()}",
            error_message(error),
            "list what is registered: aws sagemaker list-model-packages",
        ) from error


def describe_package(aws: Aws, package: str) -> JudgedPackage:
    """A package's approval status and description."""
    found = aws.client("sagemaker").describe_model_package(ModelPackageName=package)
    return JudgedPackage(
        package,
        found["ModelApprovalStatus"],
        found.get("ApprovalDescription", ""),
        found.get("CustomerMetadataProperties", {}).get(ARCHIVE, ""),
    )


def newer_than(aws: Aws, names: Names, package: str) -> tuple[JudgedPackage, ...]:
    """The newer versions that a person or a rollout has approved or rejected, the newest first."""
    sagemaker = aws.client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=model_package_group(aws, names), SortBy="CreationTime", SortOrder="Descending"
    )
    found = []
    try:
        for summary in (summary for page in pages for summary in page["ModelPackageSummaryList"]):
            arn = summary["ModelPackageArn"]
            if version_of(arn) <= version_of(package):
                break
            if summary["ModelApprovalStatus"] != "PendingManualApproval":
                found.append(describe_package(aws, arn))
    except ClientError as error:
        if error_code(error) not in {"ResourceNotFound", "ValidationException"}:
            raise  # otherwise there is no group, and so no version
    return tuple(found)


def latest_package(aws: Aws, names: Names, *, status: str = "PendingManualApproval") -> str:
    """ARN of the newest model package with this approval state. A page may be empty although more follow."""
    pages = (
        aws.client("sagemaker")
        .get_paginator("list_model_packages")
        .paginate(
            ModelPackageGroupName=model_package_group(aws, names),
            ModelApprovalStatus=status,
            SortBy="CreationTime",
            SortOrder="Descending",
        )
    )
    try:
        found = next((summary for page in pages for summary in page["ModelPackageSummaryList"]), None)
    except ClientError as error:
        if error_code(error) not in {"ResourceNotFound", "ValidationException"}:
            raise
        found = None
    if found is None:
        raise Problem(
            f"No model package of {names.prefix} is {status}",
            f"no pipeline execution has registered one that is in {aws.place}",
            f"train one: {names.command('train')}",
            code=Exit.NOT_READY,
        )
    return str(found["ModelPackageArn"])
