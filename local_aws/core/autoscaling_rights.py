"""The permissions that Application Auto Scaling asks its caller for: its own, and those of what it scales.

"Permissions validation for Application Auto Scaling API calls on target resources" in its user guide:
first it tries the caller's permissions in the target service and in CloudWatch.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from local_aws.core.context import Context
from local_aws.core.protocol import Check, Document

TARGETS = "ScalableTarget"
_LINKED = "sagemaker.application-autoscaling.amazonaws.com"
_ROLE = f"role/aws-service-role/{_LINKED}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
_POLICY = {"PutScalingPolicy": "cloudwatch:PutMetricAlarm", "DeleteScalingPolicy": "cloudwatch:DeleteAlarms"}


def resource(context: Context, operation: str, request: Document) -> str:
    """The resource of an operation: a scalable target, whose id the service chooses, or all of them."""
    if operation.startswith("Describe"):
        return "*"
    wanted = (request.get("ServiceNamespace"), request.get("ResourceId"))
    known = (target for target in _targets(context) if (target["ServiceNamespace"], target["ResourceId"]) == wanted)
    targets = f"arn:aws:application-autoscaling:{context.region}:{context.account}:scalable-target"
    return next((str(target["ScalableTargetARN"]) for target in known), f"{targets}/new")


def condition_keys(request: Document) -> dict[str, str]:
    """The condition keys of an operation."""
    members = {"service-namespace": "ServiceNamespace", "scalable-dimension": "ScalableDimension"}
    return {f"application-autoscaling:{key}": str(request[name]) for key, name in members.items() if request.get(name)}


def of_target(context: Context, operation: str, request: Document) -> Iterator[Check]:
    """The permissions on the endpoint that is scaled, on its alarms and on the service's own role."""
    scaled = str(request.get("ResourceId", ""))
    if not scaled.startswith("endpoint/"):
        return
    endpoint = context.arn("endpoint", scaled.split("/")[1])
    if operation in {"RegisterScalableTarget", "PutScalingPolicy"}:
        yield Check("sagemaker:DescribeEndpoint", endpoint, {})
        # Of no configuration that exists. Seen: https://github.com/aws-controllers-k8s/community/issues/2110
        yield Check("sagemaker:DescribeEndpointConfig", context.arn("endpoint-config", str(uuid.uuid4())), {})
        yield Check("sagemaker:UpdateEndpointWeightsAndCapacities", endpoint, {})
    if operation == "RegisterScalableTarget" and not _targets(context):
        # The service makes its role for the first target of an account.
        yield Check("iam:CreateServiceLinkedRole", service_role(context), {"iam:AWSServiceName": _LINKED})
    if operation in _POLICY and request.get("PolicyType") != "StepScaling":
        alarms = f"arn:aws:cloudwatch:{context.region}:{context.account}:alarm"
        yield Check("cloudwatch:DescribeAlarms", f"{alarms}:*", {})
        yield Check(_POLICY[operation], f"{alarms}:TargetTracking-{scaled}-AlarmHigh", {})


def of_deleted_endpoint(context: Context, endpoint: str) -> Iterator[Check]:
    """The permission to deregister the variants of an endpoint that is deleted.

    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-delete-with-scaling.html
    Seen: https://github.com/awslabs/stable-diffusion-aws-extension/issues/161
    """
    for target in targets_of(context, endpoint):
        arn = str(target["ScalableTargetARN"])
        yield Check("application-autoscaling:DeregisterScalableTarget", arn, condition_keys(target))


def targets_of(context: Context, endpoint: str) -> list[Document]:
    """The scalable targets of an endpoint: its variants."""
    return [target for target in _targets(context) if target["ResourceId"].startswith(f"endpoint/{endpoint}/")]


def service_role(context: Context) -> str:
    """ARN of the role that the service makes for itself and scales with."""
    return f"arn:aws:iam::{context.account}:{_ROLE}"


def _targets(context: Context) -> list[Document]:
    return context.table(TARGETS).all()
