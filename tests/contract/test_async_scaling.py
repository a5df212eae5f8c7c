"""Asynchronous endpoints without a server: what scaling reads and records, and the end of a queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.core.context import Context
from local_aws.core.metrics import MetricEmitter
from local_aws.core.protocol import Document
from local_aws.core.wire import call
from local_aws.hosting.async_queue import FAMILY, AsyncQueue
from local_aws.hosting.autoscaling import SERVICE, AsyncScaling
from local_aws.registry import operations
from tests.contract.jobs import until

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/queued/variant/primary",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


@pytest.fixture
def asked(context: Context) -> list[Document]:
    """The changes of instance counts that are asked for."""
    found: list[Document] = []

    def note(_: Context, request: Document) -> Document:
        found.append(request)
        return {"EndpointArn": context.arn("endpoint", "queued")}

    context.operations["sagemaker", "UpdateEndpointWeightsAndCapacities"] = note
    return found


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    context = Context(
        state_dir=tmp_path,
        port=1,
        account="123456789012",
        region="us-east-1",
        time_scale=0.0,
        operations=operations(),
    )
    context.metrics = MetricEmitter(lambda namespace, data: None)
    yield context
    context.stop()


def scale(context: Context, *, instances: int, backlog: int) -> None:
    """Look twice at an endpoint with so many instances and requests: once to see it, once when the cooldown is over."""
    variant = {"VariantName": "primary", "Count": instances}
    endpoint = {"EndpointName": "queued", "EndpointStatus": "InService", "Plan": {"Variants": [variant]}}
    scaling = AsyncScaling(context)
    for _ in range(2):
        scaling.look(endpoint, backlog)


def autoscaling(context: Context, operation: str, **members: Any) -> Document:
    return call(context, operation, members, SERVICE)


def policy(context: Context, **tracking: Any) -> None:
    autoscaling(
        context,
        "PutScalingPolicy",
        **TARGET,
        PolicyName="backlog",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 5.0, **tracking},
    )


def test_each_change_is_an_activity(context: Context, asked: list[Document]) -> None:
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2)
    scale(context, instances=1, backlog=0)
    assert asked[0]["DesiredWeightsAndCapacities"] == [{"VariantName": "primary", "DesiredInstanceCount": 0}]
    found = autoscaling(context, "DescribeScalingActivities", **TARGET)["ScalingActivities"]
    assert "desired instance count to 0" in found[0]["Description"]
    other = TARGET | {"ScalableDimension": "sagemaker:variant:DesiredProvisionedConcurrency"}
    assert not autoscaling(context, "DescribeScalingActivities", **other)["ScalingActivities"]


@pytest.mark.parametrize(
    ("suspended", "instances", "backlog"),
    [("DynamicScalingInSuspended", 1, 0), ("DynamicScalingOutSuspended", 0, 3)],
)
def test_a_suspended_direction_does_not_scale(
    context: Context, asked: list[Document], suspended: str, instances: int, backlog: int
) -> None:
    state = {suspended: True}
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2, SuspendedState=state)
    scale(context, instances=instances, backlog=backlog)
    assert not asked
    autoscaling(context, "RegisterScalableTarget", **TARGET, SuspendedState={suspended: False})
    scale(context, instances=instances, backlog=backlog)
    assert asked


def test_a_policy_that_disables_scale_in_keeps_the_instance(context: Context, asked: list[Document]) -> None:
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2)
    policy(context, DisableScaleIn=True, ScaleInCooldown=0)
    scale(context, instances=1, backlog=0)
    assert not asked
    policy(context, DisableScaleIn=False, ScaleInCooldown=0)
    scale(context, instances=1, backlog=0)
    assert asked


def test_a_queue_ends_with_its_endpoint(context: Context) -> None:
    request = {"Id": "1", "EndpointName": "deleted", "Received": context.now()}
    context.table(FAMILY).put("1", request)
    context.shared(AsyncQueue)
    until(lambda: not context.table(FAMILY).all(), seconds=10)
