"""AWS::ApplicationAutoScaling::*, by the operations in hosting/autoscaling.py."""

from __future__ import annotations

from local_aws.cloudformation.resource_type import Created, ResourceType, Update
from local_aws.core.context import Context
from local_aws.core.protocol import Document

_KEYS = ("ServiceNamespace", "ResourceId", "ScalableDimension")


def _create_target(context: Context, name: str, properties: Document) -> Created:
    request = {key: value for key, value in properties.items() if key not in {"ScheduledActions", "Tags"}}
    for bound in ("MinCapacity", "MaxCapacity"):
        request[bound] = int(request[bound])
    context.client("application-autoscaling").register_scalable_target(**request)
    return _target_id(properties), {"Id": _target_id(properties)}


def _update_target(context: Context, change: Update) -> Created:
    return _create_target(context, "", change.new)


def _delete_target(context: Context, physical_id: str, properties: Document) -> None:
    client = context.client("application-autoscaling")
    try:
        client.deregister_scalable_target(**_target(physical_id))
    except client.exceptions.ObjectNotFoundException:
        return


def _target_id(properties: Document) -> str:
    return f"{properties['ResourceId']}|{properties['ScalableDimension']}|{properties['ServiceNamespace']}"


def _target(physical_id: str) -> Document:
    resource, dimension, namespace = physical_id.split("|")
    return {"ResourceId": resource, "ScalableDimension": dimension, "ServiceNamespace": namespace}


def _create_policy(context: Context, name: str, properties: Document) -> Created:
    request = {key: value for key, value in properties.items() if key != "ScalingTargetId"}
    if "ScalingTargetId" in properties:
        request |= _target(properties["ScalingTargetId"])
    arn: str = context.client("application-autoscaling").put_scaling_policy(**_numbers(request))["PolicyARN"]
    return arn, {"Arn": arn}


def _update_policy(context: Context, change: Update) -> Created:
    return _create_policy(context, "", change.new)


def _delete_policy(context: Context, physical_id: str, properties: Document) -> None:
    client = context.client("application-autoscaling")
    where = _target(properties["ScalingTargetId"]) if "ScalingTargetId" in properties else properties
    request = {key: where[key] for key in _KEYS} | {"PolicyName": properties["PolicyName"]}
    try:
        client.delete_scaling_policy(**request)
    except client.exceptions.ObjectNotFoundException:
        return


def _numbers(request: Document) -> Document:
    tracking = request.get("TargetTrackingScalingPolicyConfiguration")
    if tracking:
        converted = dict(tracking)
        converted["TargetValue"] = float(tracking["TargetValue"])
        for member in ("ScaleInCooldown", "ScaleOutCooldown"):
            if member in tracking:
                converted[member] = int(tracking[member])
        request["TargetTrackingScalingPolicyConfiguration"] = converted
    return request


TYPES = [
    ResourceType(
        "AWS::ApplicationAutoScaling::ScalableTarget",
        _create_target,
        _update_target,
        _delete_target,
        replacing=_KEYS,
        taggable=False,
    ),
    ResourceType(
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        _create_policy,
        _update_policy,
        _delete_policy,
        replacing=(*_KEYS, "PolicyName", "ScalingTargetId"),
        taggable=False,
    ),
]
