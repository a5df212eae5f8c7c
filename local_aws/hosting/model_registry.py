"""The model registry: groups, versioned packages and their approval."""

from __future__ import annotations

import json
from typing import Any

from local_aws.core import tags
from local_aws.core.context import Context
from local_aws.core.errors import AwsError, conflict, validation
from local_aws.core.listing import OLDEST_FIRST, list_page, named
from local_aws.core.protocol import Document
from local_aws.core.wire import describe, summarise
from local_aws.images.cache import check_manifest

_GROUPS = "ModelPackageGroup"
_PACKAGES = "ModelPackage"
_TOKEN = "ClientToken"
_LAST_TOKEN = "_LastToken"
_CHANGEABLE = (
    "ModelApprovalStatus",
    "ApprovalDescription",
    "InferenceSpecification",
    "SourceUri",
    "ModelCard",
    "ModelPackageRegistrationType",
    "ModelLifeCycle",
)


def create_model_package_group(context: Context, request: Document) -> Document:
    """Create a group for the versions of one model."""
    name = request["ModelPackageGroupName"]
    arn = context.arn("model-package-group", name)
    group = {key: value for key, value in request.items() if key != "Tags"} | {
        "ModelPackageGroupArn": arn,
        "CreationTime": context.now(),
        "CreatedBy": _creator(context),
        "ModelPackageGroupStatus": "Completed",
        "LastVersion": 0,
    }
    if not tags.store_new(context, _GROUPS, name, group, arn, request.get("Tags")):
        raise validation(f"Model Package Group already exists: {arn}")
    return {"ModelPackageGroupArn": arn}


def describe_model_package_group(context: Context, request: Document) -> Document:
    """A group by name or ARN."""
    return describe("DescribeModelPackageGroup", _group(context, request["ModelPackageGroupName"]))


def list_model_package_groups(context: Context, request: Document) -> Document:
    """All groups."""
    page = list_page(context.table(_GROUPS).all(), request, name="ModelPackageGroupName", usual=OLDEST_FIRST)
    shown = summarise("ListModelPackageGroups", "ModelPackageGroupSummaryList", page.documents)
    return page.reply("ModelPackageGroupSummaryList", shown)


def delete_model_package_group(context: Context, request: Document) -> Document:
    """Delete a group; only an empty one can be deleted."""
    with context.store.transaction():
        group = _group(context, request["ModelPackageGroupName"])
        name = group["ModelPackageGroupName"]
        if any(package.get("ModelPackageGroupName") == name for package in context.table(_PACKAGES).all()):
            raise conflict(
                f"Model Package Group {group['ModelPackageGroupArn']} cannot be deleted as it contains packages"
            )
        tags.delete(context, _GROUPS, name, group["ModelPackageGroupArn"])
    return {}


def put_model_package_group_policy(context: Context, request: Document) -> Document:
    """Store the group's resource policy."""
    group = _group(context, request["ModelPackageGroupName"])
    try:
        json.loads(request["ResourcePolicy"])
    except ValueError as error:
        raise validation(f"ResourcePolicy is not JSON: {error}") from None
    policy = {"ResourcePolicy": request["ResourcePolicy"]}
    context.table(_GROUPS).update(group["ModelPackageGroupName"], lambda stored: stored.update(policy))
    return {"ModelPackageGroupArn": group["ModelPackageGroupArn"]}


def get_model_package_group_policy(context: Context, request: Document) -> Document:
    """The group's resource policy."""
    group = _group(context, request["ModelPackageGroupName"])
    if "ResourcePolicy" not in group:
        raise validation(f"ModelPackageGroup {group['ModelPackageGroupName']} does not have a policy: not found.")
    return {"ResourcePolicy": group["ResourcePolicy"]}


def delete_model_package_group_policy(context: Context, request: Document) -> Document:
    """Remove the group's resource policy."""
    name = _group(context, request["ModelPackageGroupName"])["ModelPackageGroupName"]

    def remove(stored: Document) -> None:
        stored.pop("ResourcePolicy", None)

    context.table(_GROUPS).update(name, remove)
    return {}


def create_model_package(context: Context, request: Document) -> Document:
    """Register a package: as the next version of a group, or under a name. The same ClientToken registers it once."""
    group_name, package_name = request.get("ModelPackageGroupName"), request.get("ModelPackageName")
    if bool(group_name) == bool(package_name):
        raise validation("Give exactly one of ModelPackageGroupName (a versioned package) and ModelPackageName")
    if not request.get("InferenceSpecification") and not request.get("SourceAlgorithmSpecification"):
        raise validation("Give an InferenceSpecification or a SourceAlgorithmSpecification")
    _check_images(context, request)
    with context.store.transaction():
        for package in context.table(_PACKAGES).all():
            if _TOKEN in request and package.get(_TOKEN) == request[_TOKEN]:
                return {"ModelPackageArn": package["ModelPackageArn"]}
        package = _new_package(context, request, group_name, package_name)
        arn = package["ModelPackageArn"]
        if not tags.store_new(context, _PACKAGES, arn, package, arn, request.get("Tags")):
            raise validation(f"Model Package already exists: {arn}")
    _announce(context, package)
    return {"ModelPackageArn": arn}


def describe_model_package(context: Context, request: Document) -> Document:
    """A package by ARN, or by name when it is unversioned."""
    return describe("DescribeModelPackage", package_of(context, request["ModelPackageName"]))


def batch_describe_model_package(context: Context, request: Document) -> Document:
    """Several packages in one reply; each unknown one is an error in it."""
    known: Document = {}
    unknown: Document = {}
    for arn in request["ModelPackageArnList"]:
        try:
            package = package_of(context, arn)
        except AwsError as error:
            unknown[arn] = {"ErrorCode": error.code, "ErrorResponse": error.message}
            continue
        members = (
            "ModelPackageGroupName ModelPackageVersion ModelPackageArn ModelPackageDescription CreationTime"
            " InferenceSpecification ModelPackageStatus ModelApprovalStatus"
        )
        known[arn] = {key: package[key] for key in members.split() if key in package}
    return {"ModelPackageSummaries": known, "BatchDescribeModelPackageErrorMap": unknown}


def list_model_packages(context: Context, request: Document) -> Document:
    """Versions of a group, or unversioned packages (the default, as in AWS), or both."""
    group = request.get("ModelPackageGroupName")
    if group is not None:
        group = _group(context, group)["ModelPackageGroupName"]
    kind = request.get("ModelPackageType", "Versioned" if group else "Unversioned")
    approval = request.get("ModelApprovalStatus")
    kept = [
        package
        for package in context.table(_PACKAGES).all()
        if (group is None or package.get("ModelPackageGroupName") == group)
        and (kind == "Both" or (kind == "Versioned") == ("ModelPackageVersion" in package))
        and (approval is None or package.get("ModelApprovalStatus") == approval)
    ]
    fields = {"Name": "ModelPackageArn"}
    page = list_page(
        kept, request, name="ModelPackageName", sort_fields=fields, usual=OLDEST_FIRST, only="ModelPackageArn"
    )
    shown = summarise("ListModelPackages", "ModelPackageSummaryList", page.documents)
    return page.reply("ModelPackageSummaryList", shown)


def update_model_package(context: Context, request: Document) -> Document:
    """Approve or reject a package, or change its description; a change of approval sends an event."""
    arn = package_of(context, request["ModelPackageArn"])["ModelPackageArn"]
    before: Document = {}

    def change(package: Document) -> None:
        before.update(package)
        if _TOKEN in request and package.get(_LAST_TOKEN) == request[_TOKEN]:
            return  # sent again
        package[_LAST_TOKEN] = request.get(_TOKEN)
        package.update({member: request[member] for member in _CHANGEABLE if member in request})
        properties = package.get("CustomerMetadataProperties", {}) | request.get("CustomerMetadataProperties", {})
        for key in request.get("CustomerMetadataPropertiesToRemove", []):
            properties.pop(key, None)
        package.pop("CustomerMetadataProperties", None)
        if properties:
            package["CustomerMetadataProperties"] = properties
        added = request.get("AdditionalInferenceSpecificationsToAdd", [])
        if added:
            package.setdefault("AdditionalInferenceSpecifications", []).extend(added)
        package["LastModifiedTime"] = context.now()
        package["LastModifiedBy"] = _creator(context)

    package = context.table(_PACKAGES).update(arn, change)
    if package is not None and package.get("ModelApprovalStatus") != before.get("ModelApprovalStatus"):
        _announce(context, package)
    return {"ModelPackageArn": arn}


def delete_model_package(context: Context, request: Document) -> Document:
    """Remove a package; its version number is not used again."""
    arn = package_of(context, request["ModelPackageName"])["ModelPackageArn"]
    tags.delete(context, _PACKAGES, arn, arn)
    return {}


def package_of(context: Context, name: str) -> Document:
    """A stored package by ARN or name; raises SageMaker's ValidationException when there is none."""
    key = name.lower() if name.startswith("arn:") else context.arn("model-package", name)
    package = context.table(_PACKAGES).get(key)
    if package is None:
        raise validation(f"ModelPackage {name} does not exist.")
    return package


def _group(context: Context, name: str) -> Document:
    group = named(context.table(_GROUPS), name)
    if group is None or (name.startswith("arn:") and name.lower() != group["ModelPackageGroupArn"]):
        raise validation(f"ModelPackageGroup {name} does not exist.")
    return group


def _new_package(context: Context, request: Document, group_name: str | None, package_name: str | None) -> Document:
    package: Document = {key: value for key, value in request.items() if key != "Tags"}
    now = context.now()
    package |= {
        "CreationTime": now,
        "LastModifiedTime": now,
        "CreatedBy": _creator(context),
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
    }
    if package_name:
        return package | {"ModelPackageArn": context.arn("model-package", package_name)}
    if "/" not in str(group_name) and context.table(_GROUPS).get(str(group_name)) is None:
        create_model_package_group(context, {"ModelPackageGroupName": group_name})  # as AWS makes it
    group = _group(context, str(group_name))
    name, version = group["ModelPackageGroupName"], group["LastVersion"] + 1
    context.table(_GROUPS).put(name, group | {"LastVersion": version})
    return package | {
        "ModelPackageGroupName": name,
        "ModelPackageName": name,
        "ModelPackageVersion": version,
        "ModelPackageArn": context.arn("model-package", f"{name}/{version}"),
        "ModelApprovalStatus": request.get("ModelApprovalStatus", "PendingManualApproval"),
    }


def _check_images(context: Context, request: Document) -> None:
    for index, container in enumerate(request.get("InferenceSpecification", {}).get("Containers", []), start=1):
        if not container.get("Image"):
            raise validation(
                f"Value null at 'inferenceSpecification.containers.{index}.member.image': an image is required"
            )
        check_manifest(context, container["Image"])


def _announce(context: Context, package: Document) -> None:
    members = (
        "ModelPackageName ModelPackageGroupName ModelPackageVersion ModelPackageArn ModelPackageDescription"
        " InferenceSpecification ModelPackageStatus ModelPackageStatusDetails ModelApprovalStatus ApprovalDescription"
        " CustomerMetadataProperties ModelMetrics CertifyForMarketplace"
    )
    detail: dict[str, Any] = {key: package[key] for key in members.split() if key in package}
    detail["CreationTime"] = int(package["CreationTime"] * 1000)
    context.emit_event("SageMaker Model Package State Change", detail, [package["ModelPackageArn"]])


def _creator(context: Context) -> Document:
    return {
        "IamIdentity": {
            "Arn": f"arn:aws:iam::{context.account}:root",
            "PrincipalId": context.account,
        }
    }
