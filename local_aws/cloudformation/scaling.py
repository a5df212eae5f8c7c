"""AWS::ApplicationAutoScaling::*, by the operations in hosting/autoscaling.py."""

from __future__ import annotations

from botocore import xform_name

from local_aws.cloudformation.resource_type import Created, ResourceType, Update, typed
from local_aws.core.context import Context
from local_aws.core.errors import not_local
from local_aws.core.protocol import AUTOSCALING, Document

_KEYS = ("ServiceNamespace", "ResourceId", "ScalableDimension")


def _create_target(context: Context, name: str, properties: Document) -> Created:
    if properties.get("ScheduledActions"):
        raise not_local("ScheduledActions do not run locally", "leave them out of rehearsals")
    _send(context, "RegisterScalableTarget", {key: value for key, value in properties.items() if key != "Tags"})
    return _target_id(properties), {"Id": _target_id(properties)}


def _update_target(context: Context, change: Update) -> Created:
    return _create_target(context, "", change.new)


def _delete_target(context: Context, physical_id: str, properties: Document) -> None:
    client = context.client(AUTOSCALING)
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
    members = {key: value for key, value in properties.items() if key != "ScalingTargetId"}
    if "ScalingTargetId" in properties:
        members |= _target(properties["ScalingTargetId"])
    arn = str(_send(context, "PutScalingPolicy", members)["PolicyARN"])
    return arn, {"Arn": arn}


def _update_policy(context: Context, change: Update) -> Created:
    return _create_policy(context, "", change.new)


def _delete_policy(context: Context, physical_id: str, properties: Document) -> None:
    client = context.client(AUTOSCALING)
    where = _target(properties["ScalingTargetId"]) if "ScalingTargetId" in properties else properties
    request = {key: where[key] for key in _KEYS} | {"PolicyName": properties["PolicyName"]}
    try:
        client.delete_scaling_policy(**request)
    except client.exceptions.ObjectNotFoundException:
        return


def _send(context: Context, operation: str, members: Document) -> Document:
    """Send a request as the acting role, because Application Auto Scaling asks for the caller's rights."""
    send = getattr(context.client(AUTOSCALING), xform_name(operation))
    reply: Document = send(**typed(operation, members, AUTOSCALING))
    return reply


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
