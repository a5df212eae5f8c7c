"""The permissions that Application Auto Scaling asks its caller for: its own, and those of what it scales.

"Permissions validation for Application Auto Scaling API calls on target resources" in its user guide:
first it tries the caller's permissions in the target service and in CloudWatch.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from local_aws.core.context import Context
from local_aws.core.protocol import Check, Document

_LINKED = "sagemaker.application-autoscaling.amazonaws.com"
_ROLE = f"role/aws-service-role/{_LINKED}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
_POLICY = {"PutScalingPolicy": "cloudwatch:PutMetricAlarm", "DeleteScalingPolicy": "cloudwatch:DeleteAlarms"}


def resource(context: Context, operation: str, request: Document) -> str:
    """The resource of an operation: a scalable target, whose id the service chooses, or all of them."""
    if operation.startswith("Describe"):
        return "*"
    targets = f"arn:aws:application-autoscaling:{context.region}:{context.account}:scalable-target"
    return next((str(target["ScalableTargetARN"]) for target in _registered(context, request)), f"{targets}/new")


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
    if operation == "RegisterScalableTarget" and not context.table("ScalableTarget").all():
        # The service makes its role for the first target of an account.
        role = f"arn:aws:iam::{context.account}:{_ROLE}"
        yield Check("iam:CreateServiceLinkedRole", role, {"iam:AWSServiceName": _LINKED})
    if operation in _POLICY and request.get("PolicyType") != "StepScaling":
        alarms = f"arn:aws:cloudwatch:{context.region}:{context.account}:alarm"
        yield Check("cloudwatch:DescribeAlarms", f"{alarms}:*", {})
        yield Check(_POLICY[operation], f"{alarms}:TargetTracking-{scaled}-AlarmHigh", {})


def of_deleted_endpoint(context: Context, endpoint: str) -> Iterator[Check]:
    """The permission to deregister the variants of an endpoint that is deleted.

    https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-delete-with-scaling.html
    Seen: https://github.com/awslabs/stable-diffusion-aws-extension/issues/161
    """
    for target in context.table("ScalableTarget").all():
        if str(target["ResourceId"]).startswith(f"endpoint/{endpoint}/"):
            arn = str(target["ScalableTargetARN"])
            yield Check("application-autoscaling:DeregisterScalableTarget", arn, condition_keys(target))


def _registered(context: Context, request: Document) -> Iterator[Document]:
    for target in context.table("ScalableTarget").all():
        if (target["ServiceNamespace"], target["ResourceId"]) == (
            request.get("ServiceNamespace"),
            request.get("ResourceId"),
        ):
            yield target
