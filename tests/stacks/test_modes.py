"""Serving modes by settings: each with SageMaker's options for it; wrong combinations are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.names import SERVING_RESOURCE_TYPES
from stacks.settings import InvalidSettingsError, Settings, load
from tests.stacks.templates import as_list, changed, flat, only, resources, statements, synthesize
from tests.stacks.test_monitoring import widgets


def stacks_of(mode: str, **values: object) -> dict[str, dict[str, Any]]:
    """The templates of a mode. The serving stack is made of nothing that promotion may not name."""
    settings: Settings = changed(load("dev"), "serving", mode=mode, data_capture_percent=0, **values)
    found = synthesize(settings)
    assert {item["Type"] for item in found["Serving"]["Resources"].values()} <= set(SERVING_RESOURCE_TYPES)
    return found


@pytest.fixture(scope="module")
def serverless() -> dict[str, Any]:
    return stacks_of("serverless", serverless={"max_concurrency": 7})["Serving"]


@pytest.fixture(scope="module")
def queueing() -> dict[str, dict[str, Any]]:
    return stacks_of("async", min_instances=0, asynchronous={"success_topic": "none", "idle_minutes": 5})


@pytest.fixture(scope="module")
def queued(queueing: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return queueing["Serving"]


def test_a_serverless_endpoint_has_memory_and_concurrency_and_no_machines(serverless: dict[str, Any]) -> None:
    config = only(serverless, "AWS::SageMaker::EndpointConfig")["Properties"]
    (variant,) = config["ProductionVariants"]
    # By default what new accounts may have.
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 7}
    assert {"InstanceType", "InitialInstanceCount"}.isdisjoint(variant)
    assert "DataCaptureConfig" not in config
    endpoint = only(serverless, "AWS::SageMaker::Endpoint")["Properties"]
    assert "DeploymentConfig" not in endpoint
    assert not resources(serverless, "AWS::ApplicationAutoScaling::ScalableTarget")
    assert only(serverless, "AWS::SageMaker::Model")["Properties"]["EnableNetworkIsolation"] is False
    assert serverless["Outputs"]["ServingMode"]["Value"] == "serverless"


def test_a_new_model_begins_with_a_machine_where_there_may_be_none(queued: dict[str, Any]) -> None:
    assert only(queued, "AWS::SageMaker::Endpoint")["Properties"]["RetainAllVariantProperties"] is False
    (variant,) = only(queued, "AWS::SageMaker::EndpointConfig")["Properties"]["ProductionVariants"]
    assert variant["InitialInstanceCount"] == 1
    kept = stacks_of("async", min_instances=1)["Serving"]
    assert only(kept, "AWS::SageMaker::Endpoint")["Properties"]["RetainAllVariantProperties"] is True


def test_the_dashboard_draws_answers_of_an_endpoint_that_publishes_no_calls(
    queueing: dict[str, dict[str, Any]],
) -> None:
    shown = [widget["properties"] for widget in widgets(queueing["Monitoring"])]
    (drawn,) = (graph["metrics"] for graph in shown if graph.get("title") == "Calls and errors")
    assert drawn[0][:2] == ["AWS/SageMaker", "ModelLatency"] and drawn[0][-1]["stat"] == "SampleCount"
    assert "Invocations" not in {line[1] for line in drawn}


def test_an_asynchronous_endpoint_queues_and_scales_to_zero(queued: dict[str, Any]) -> None:
    assert queued["Outputs"]["AsyncExpireDays"]["Value"] == "7"
    config = only(queued, "AWS::SageMaker::EndpointConfig")["Properties"]
    asynchronous = config["AsyncInferenceConfig"]
    assert asynchronous["ClientConfig"] == {"MaxConcurrentInvocationsPerInstance": 4}
    output = asynchronous["OutputConfig"]
    assert flat(output["S3OutputPath"]).endswith("/async/output/")
    assert flat(output["S3FailurePath"]).endswith("/async/failures/")
    assert set(output["NotificationConfig"]) == {"ErrorTopic"}
    assert config["ProductionVariants"][0]["InitialInstanceCount"] == 1
    assert only(queued, "AWS::ApplicationAutoScaling::ScalableTarget")["Properties"]["MinCapacity"] == 0
    policies = resources(queued, "AWS::ApplicationAutoScaling::ScalingPolicy")
    kinds = {policy["Properties"]["PolicyType"]: policy["Properties"] for policy in policies.values()}
    tracked = kinds["TargetTrackingScaling"]["TargetTrackingScalingPolicyConfiguration"]
    assert tracked["CustomizedMetricSpecification"]["MetricName"] == "ApproximateBacklogSizePerInstance"
    assert tracked["ScaleInCooldown"] == 300
    (first,) = (name for name, each in policies.items() if each["Properties"]["PolicyType"] == "StepScaling")
    alarms = resources(queued, "AWS::CloudWatch::Alarm").values()
    (waiting,) = (each for each in alarms if each["Properties"]["MetricName"] == "HasBacklogWithoutCapacity")
    assert waiting["Properties"]["AlarmActions"] == [{"Ref": first}]
    assert waiting["Condition"] == "Serving"
    deployment = only(queued, "AWS::SageMaker::Endpoint")["Properties"]["DeploymentConfig"]
    assert deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"] == "ALL_AT_ONCE"


def test_the_queue_asks_for_exactly_its_rights(queueing: dict[str, dict[str, Any]]) -> None:
    def endpoints(stacks: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        found = statements(stacks["Training"])
        return [statement for name, statement in found if name.startswith("ServingRolesEndpoint")]

    written = {
        flat(resource).rpartition(">")[2].partition("/")[2]
        for statement in endpoints(queueing)
        if "s3:PutObject" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    assert written == {"async/*"}
    published = [statement for statement in endpoints(queueing) if as_list(statement["Action"]) == ["sns:Publish"]]
    assert len(published) == 1
    silent = stacks_of("async", asynchronous={"error_topic": "none"})
    assert "NotificationConfig" not in str(only(silent["Serving"], "AWS::SageMaker::EndpointConfig"))
    assert not [each for each in endpoints(silent) if "sns:Publish" in as_list(each["Action"])]


@pytest.mark.parametrize(
    ("variables", "field", "said"),
    [
        ({"SERVING__MODE": "serverless"}, "serving.data_capture_percent", "must be 0 with mode serverless"),
        ({"SERVING__MODE": "async"}, "serving.data_capture_percent", "must be 0 with mode async"),
        ({"SERVING__MODE": "batch"}, "serving.mode", "'realtime', 'serverless' or 'async'"),
        ({"SERVING__MIN_INSTANCES": "0"}, "serving.min_instances", "only with mode async"),
        ({"SERVING__SERVERLESS__MEMORY_MB": "1000"}, "serving.serverless.memory_mb", "1024"),
        ({"SERVING__SERVERLESS__MAX_CONCURRENCY": "201"}, "serving.serverless.max_concurrency", "200"),
        ({"SERVING__ASYNCHRONOUS__ERROR_TOPIC": "me"}, "serving.asynchronous.error_topic", "ARN of an SNS topic"),
        (
            {
                "SERVING__MODE": "serverless",
                "SERVING__DATA_CAPTURE_PERCENT": "0",
                "NETWORK__MODE": "create",
                "TRAINING__WEIGHTS": "none",
            },
            "network.mode",
            "into no network",
        ),
    ],
)
def test_wrong_combinations_are_named(
    variables: dict[str, str], field: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"BINVENTORY_{name}", value)
    with pytest.raises(InvalidSettingsError) as caught:
        load("dev")
    assert field in str(caught.value) and said in str(caught.value)
