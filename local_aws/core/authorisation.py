"""Who may do what: the checks SageMaker makes before an operation, against the policies in the local IAM.

Nothing here decides by itself; ministack's evaluator does. This only says which actions on which resources an
operation stands for, as the service authorisation reference lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from local_aws.core.errors import AwsError
from local_aws.core.wire import Document
from local_aws.ministack import iam

if TYPE_CHECKING:
    from local_aws.core.context import Context

_VERB = re.compile(r"(Create|Describe|Update|Delete|Stop|Start|Retry|List|BatchDescribe|Put|Get|Add)(?P<noun>\w+)")
_KINDS = {
    "TrainingJob": "training-job",
    "ProcessingJob": "processing-job",
    "HyperParameterTuningJob": "hyper-parameter-tuning-job",
    "TransformJob": "transform-job",
    "Pipeline": "pipeline",
    "ModelPackageGroup": "model-package-group",
    "Model": "model",
    "EndpointConfig": "endpoint-config",
    "Endpoint": "endpoint",
}
_LISTED_BY = {
    "ListPipelineExecutions": "Pipeline",
    "ListTrainingJobsForHyperParameterTuningJob": "HyperParameterTuningJob",
    "StartPipelineExecution": "Pipeline",
    "UpdateEndpointWeightsAndCapacities": "Endpoint",
    "InvokeEndpoint": "Endpoint",
    "InvokeEndpointAsync": "Endpoint",
}
_ROLE_MEMBERS = {"RoleArn", "ExecutionRoleArn"}


class Check(NamedTuple):
    """One permission that an operation needs."""

    action: str
    resource: str
    keys: dict[str, str]


def checks(context: Context, service: str, operation: str, request: Document) -> Iterator[Check]:
    """Every permission that a request needs, the roles it passes included."""
    resources = _resources(context, service, operation, request)
    approval = request.get("ModelApprovalStatus")
    keys = {"sagemaker:ModelApprovalStatus": approval} if approval else {}
    for resource in resources:
        yield Check(f"{service}:{operation}", resource, keys)
    if request.get("Tags") and operation.startswith("Create"):
        yield Check("sagemaker:AddTags", resources[0], {})
    for role in sorted(_passed_roles(request)):
        yield Check("iam:PassRole", role, {"iam:PassedToService": "sagemaker.amazonaws.com"})


def authorise(context: Context, access_key: str, service: str, operation: str, request: Document) -> None:
    """Raise AccessDeniedException unless the holder of `access_key` may make this request."""
    for check in checks(context, service, operation, request):
        denied = iam.denial(
            access_key, check.action, check.resource, check.keys, account=context.account, region=context.region
        )
        if denied:
            raise AwsError("AccessDeniedException", denied)


def _resources(context: Context, service: str, operation: str, request: Document) -> list[str]:
    if service != "sagemaker":
        return ["*"]
    if "ResourceArn" in request:
        return [request["ResourceArn"]]
    for member in ("PipelineExecutionArn", "ModelPackageArn"):
        if member in request:
            return [request[member]]
    if operation == "ListModelPackages" and "ModelPackageGroupName" in request:
        group = request["ModelPackageGroupName"].rsplit("/", 1)[-1]
        return [context.arn("model-package", f"{group}/1")]
    if operation == "CreateModelPackage" and "ModelPackageGroupName" in request:
        # The version's number is not known yet; policies name the group's packages with a wildcard.
        group = request["ModelPackageGroupName"].rsplit("/", 1)[-1]
        return [context.arn("model-package", f"{group}/1"), context.arn("model-package-group", group)]
    if "ModelPackageName" in request:
        name = request["ModelPackageName"]
        return [name if name.startswith("arn:") else context.arn("model-package", name)]
    found = [_arn(context, noun, request) for noun in _nouns(operation)]
    return [arn for arn in found if arn] or ["*"]


def _nouns(operation: str) -> list[str]:
    if operation in _LISTED_BY:
        return [_LISTED_BY[operation]]
    match = _VERB.fullmatch(operation)
    noun = match["noun"].removesuffix("Policy") if match else ""
    return [noun, "EndpointConfig"] if operation in {"CreateEndpoint", "UpdateEndpoint"} else [noun]


def _arn(context: Context, noun: str, request: Document) -> str | None:
    name = request.get(f"{noun}Name")
    if noun not in _KINDS or not isinstance(name, str):
        return None
    return name if name.startswith("arn:") else context.arn(_KINDS[noun], name)


def _passed_roles(request: object) -> set[str]:
    """Every role anywhere in a request: SageMaker will act as it, so the caller must be allowed to pass it."""
    if isinstance(request, list):
        return {role for item in request for role in _passed_roles(item)}
    if not isinstance(request, dict):
        return set()
    own = {value for member, value in request.items() if member in _ROLE_MEMBERS and isinstance(value, str)}
    return own.union(*(_passed_roles(value) for value in request.values()))
