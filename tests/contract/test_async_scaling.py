"""Asynchronous endpoints without a server: what scaling reads and records, and the end of a queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.core.authorisation import checks
from local_aws.core.context import Context
from local_aws.core.errors import AwsError
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
VARIANT = {"VariantName": "primary", "InstanceType": "ml.m5.large"}


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
    context.table("Endpoint").put("queued", endpoint())
    context.table("EndpointConfig").put("queued", {"ProductionVariants": [VARIANT]})
    yield context
    context.stop()


def endpoint(instances: int = 1, **members: Any) -> Document:
    variant = {"VariantName": "primary", "Count": instances}
    stored = {"EndpointName": "queued", "EndpointStatus": "InService", "CreationTime": 1.0}
    stored["EndpointConfigName"] = "queued"
    return stored | {"Plan": {"Variants": [variant]}} | members


def scale(context: Context, *, instances: int, backlog: int) -> None:
    """Look twice at an endpoint with so many instances and requests: once to see it, once when the cooldown is over."""
    scaling = AsyncScaling(context)
    for _ in range(2):
        scaling.look(endpoint(instances), backlog)


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


def test_an_endpoint_that_is_deleted_is_no_target_any_more(context: Context) -> None:
    """By https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-delete-with-scaling.html, with the caller's right."""
    context.table("Endpoint").put(
        "queued", endpoint(EndpointArn=context.arn("endpoint", "queued"), LastModifiedTime=1.0)
    )
    deleted = ("sagemaker", "DeleteEndpoint", {"EndpointName": "queued"})
    assert [check.action for check in checks(context, *deleted)] == ["sagemaker:DeleteEndpoint"]
    arn = autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2)["ScalableTargetARN"]
    policy(context)
    _, deregisters = checks(context, *deleted)
    assert (deregisters.action, deregisters.resource) == ("application-autoscaling:DeregisterScalableTarget", arn)
    assert deregisters.keys["application-autoscaling:service-namespace"] == "sagemaker"
    call(context, "DeleteEndpoint", {"EndpointName": "queued"})
    for kind in ("ScalableTargets", "ScalingPolicies"):
        assert not autoscaling(context, f"Describe{kind}", ServiceNamespace="sagemaker")[kind]


def test_another_endpoint_of_the_same_name_has_a_cooldown_of_its_own(context: Context, asked: list[Document]) -> None:
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2)
    scaling = AsyncScaling(context)
    scaling.look(endpoint(), 0)
    scaling.look(endpoint(CreationTime=2.0), 0)
    assert not asked
    scaling.look(endpoint(CreationTime=2.0), 0)
    assert asked


def test_every_queue_is_measured(context: Context) -> None:
    measured: list[str] = []
    context.metrics = MetricEmitter(lambda _, data: measured.extend(datum["Dimensions"][0]["Value"] for datum in data))
    scaling = AsyncScaling(context)
    for name in ("queued", "other", "queued"):
        scaling.look(endpoint(EndpointName=name), 3)
    context.metrics.flush()
    assert sorted(measured) == ["other"] * 3 + ["queued"] * 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"ScalableDimension": "sagemaker:variant:DesiredProvisionedConcurrency"},
            "is not scaled locally, only on AWS",
        ),
        ({"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}, "is not scaled locally"),
        ({"ResourceId": "endpoint/queued/variant/other"}, "is not a variant of an endpoint that exists"),
        ({"ResourceId": "endpoint/queued"}, "give endpoint/NAME/variant/VARIANT"),
    ],
)
def test_what_is_not_scaled_here_cannot_be_registered(context: Context, changes: Document, words: str) -> None:
    with pytest.raises(AwsError, match=words):
        autoscaling(context, "RegisterScalableTarget", **(TARGET | changes), MinCapacity=0, MaxCapacity=2)
    assert not context.table("ScalableTarget").all()


def test_a_burstable_instance_type_cannot_be_registered(context: Context) -> None:
    burstable = VARIANT | {"InstanceType": "ml.t2.medium"}
    context.table("EndpointConfig").put("queued", {"ProductionVariants": [burstable]})
    with pytest.raises(AwsError, match=r"has the burstable instance type ml\.t2\.medium"):
        autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=1, MaxCapacity=2)
    assert not context.table("ScalableTarget").all()


def test_an_endpoint_in_progress_cannot_be_registered_and_a_registered_one_changed(context: Context) -> None:
    context.table("Endpoint").put("queued", endpoint(EndpointStatus="Updating"))
    with pytest.raises(AwsError, match="The status should be in 'InService' to register it as a scalable target"):
        autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2)
    context.table("Endpoint").put("queued", endpoint())
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2)
    context.table("Endpoint").put("queued", endpoint(EndpointStatus="Updating"))
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=1, MaxCapacity=2)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "needs a PolicyType"),
        ({"PolicyType": "TargetTrackingScaling"}, "needs TargetTrackingScalingPolicyConfiguration"),
        ({"PolicyType": "StepScaling"}, "needs StepScalingPolicyConfiguration"),
        ({"PolicyType": "PredictiveScaling"}, "only supported for Amazon ECS"),
        (
            {"PolicyType": "StepScaling", "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 1.0}}
            | {"StepScalingPolicyConfiguration": {}},
            "has no TargetTrackingScalingPolicyConfiguration",
        ),
    ],
)
def test_a_policy_has_its_type_and_that_types_configuration(context: Context, members: Document, words: str) -> None:
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2)
    with pytest.raises(AwsError, match=words):
        autoscaling(context, "PutScalingPolicy", **TARGET, PolicyName="half", **members)
    assert autoscaling(context, "DescribeScalingPolicies", ServiceNamespace="sagemaker")["ScalingPolicies"] == []


@pytest.mark.parametrize(
    ("instances", "bounds", "wanted"),
    [(3, (1, 2), [2]), (1, (2, 4), [2]), (0, (0, 2), []), (2, (1, 2), [])],
)
def test_a_count_outside_of_new_bounds_is_placed_within_them(
    instances: int, bounds: tuple[int, int], wanted: list[int], context: Context, asked: list[Document]
) -> None:
    """A lower max_instances left the machines of before running, in a rehearsal only."""
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=4)
    context.table("Endpoint").put("queued", endpoint(instances))
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=bounds[0], MaxCapacity=bounds[1])
    set_ = [item["DesiredInstanceCount"] for request in asked for item in request["DesiredWeightsAndCapacities"]]
    assert set_ == wanted
    listed = autoscaling(context, "DescribeScalingActivities", ServiceNamespace="sagemaker")["ScalingActivities"]
    assert ["out of the bounds" in activity["Cause"] for activity in listed] == [True] * len(wanted)


def test_the_count_of_an_endpoint_in_progress_is_left(context: Context, asked: list[Document]) -> None:
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=4)
    context.table("Endpoint").put("queued", endpoint(4, EndpointStatus="Updating"))
    autoscaling(context, "RegisterScalableTarget", **TARGET, MinCapacity=0, MaxCapacity=2)
    assert not asked


def test_a_queue_ends_with_its_endpoint(context: Context) -> None:
    request = {"Id": "1", "EndpointName": "deleted", "Received": context.now()}
    context.table(FAMILY).put("1", request)
    context.shared(AsyncQueue)
    until(lambda: not context.table(FAMILY).all(), seconds=10)
