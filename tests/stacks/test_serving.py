"""The endpoint: absent while it is off, isolated, scaled, and rolled back by alarms that exist."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.settings import load
from tests.stacks.templates import as_list, changed, flat, only, resources, statements, synthesize, templates

FREE = {"AWS::Logs::LogGroup", "AWS::CDK::Metadata"}


@pytest.fixture(scope="module")
def plain() -> dict[str, dict[str, Any]]:
    """The stacks with one instance, no more, and no data capture."""
    settings = changed(load("dev"), "serving", min_instances=1, max_instances=1, data_capture_percent=0)
    return synthesize(settings)


@pytest.fixture(scope="module")
def unscaled(plain: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Their serving template."""
    return plain["Serving"]


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_nothing_that_bills_exists_until_a_model_is_served(environment: str) -> None:
    template = templates(environment)["Serving"]
    for name, resource in template["Resources"].items():
        assert resource["Type"] in FREE or resource.get("Condition") == "Serving", name
    for name, resource in resources(template, "AWS::SageMaker::Endpoint").items():
        assert resource["Condition"] == "Serving", name


def test_serving_needs_a_package_and_the_switch() -> None:
    template = templates("dev")["Serving"]
    parameters = template["Parameters"]
    # A parameter that is read from elsewhere would ask more rights of promotion and the guards.
    assert set(parameters) == {"ModelPackageArn", "ModelDigest", "EndpointState"}
    assert parameters["ModelPackageArn"]["Default"] == parameters["ModelDigest"]["Default"] == ""
    assert parameters["EndpointState"]["Default"] == "off"
    assert parameters["EndpointState"]["AllowedValues"] == ["on", "off"]
    negated, switched = template["Conditions"]["Serving"]["Fn::And"]
    assert negated == {"Fn::Not": [{"Fn::Equals": [{"Ref": "ModelPackageArn"}, ""]}]}
    assert switched == {"Fn::Equals": [{"Ref": "EndpointState"}, "on"]}


def test_nothing_unconditional_refers_to_what_may_not_exist() -> None:
    template = templates("dev")["Serving"]
    conditional = {name for name, item in template["Resources"].items() if item.get("Condition") == "Serving"}
    assert len(conditional) >= 5
    always = [item for item in template["Resources"].values() if "Condition" not in item]
    outputs = [item["Value"] for item in template["Outputs"].values()]
    text = str(always) + str(outputs)
    assert not [name for name in conditional if f"'{name}'" in text]


def test_the_model_has_no_network_and_comes_from_the_registry() -> None:
    model = only(templates("dev")["Serving"], "AWS::SageMaker::Model")["Properties"]
    assert model["EnableNetworkIsolation"] is True
    (container,) = model["Containers"]
    assert container["ModelPackageName"] == {"Ref": "ModelPackageArn"}
    assert container["Environment"]["MODEL_PACKAGE_ARN"] == {"Ref": "ModelPackageArn"}
    assert container["Environment"]["BINVENTORY_MODEL_DIGEST"] == {"Ref": "ModelDigest"}
    assert "ModelName" not in model


def test_a_changed_model_replaces_the_configuration_and_keeps_the_endpoint_and_its_variant() -> None:
    template = templates("dev")["Serving"]
    configuration = only(template, "AWS::SageMaker::EndpointConfig")["Properties"]
    assert "EndpointConfigName" not in configuration
    (variant,) = configuration["ProductionVariants"]
    assert variant["VariantName"] == "primary"
    assert variant["InstanceType"] == "ml.m5.large"
    assert only(template, "AWS::SageMaker::Endpoint")["Properties"]["EndpointName"] == "binventory-dev"


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_a_rollout_is_rolled_back_by_alarms_that_exist_before_it(environment: str) -> None:
    template = templates(environment)["Serving"]
    endpoint = only(template, "AWS::SageMaker::Endpoint")
    alarms = resources(template, "AWS::CloudWatch::Alarm")
    rollback = endpoint["Properties"]["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    assert {flat(entry["AlarmName"]).strip("<>") for entry in rollback} == set(alarms)
    assert set(alarms) <= set(endpoint["DependsOn"])
    for alarm in alarms.values():
        properties = alarm["Properties"]
        assert properties["TreatMissingData"] == "notBreaching"
        assert {"Name": "EndpointName", "Value": f"binventory-{environment}"} in properties["Dimensions"]
        assert {"Name": "VariantName", "Value": "primary"} in properties["Dimensions"]
    latency = next(item["Properties"] for item in alarms.values() if item["Properties"]["MetricName"] == "ModelLatency")
    assert latency["Threshold"] == load(environment).serving.latency_p95_milliseconds * 1000


def _blue_green(environment: str) -> dict[str, Any]:
    endpoint = only(templates(environment)["Serving"], "AWS::SageMaker::Endpoint")["Properties"]
    policy: dict[str, Any] = endpoint["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    return policy


def test_a_fleet_gets_a_canary_and_a_single_instance_changes_at_once() -> None:
    prod, dev = (_blue_green(name)["TrafficRoutingConfiguration"] for name in ("prod", "dev"))
    assert prod["Type"] == "CANARY"
    assert prod["CanarySize"] == {"Type": "CAPACITY_PERCENT", "Value": 50}
    assert dev["Type"] == "ALL_AT_ONCE"
    assert "CanarySize" not in dev


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_a_rollout_has_time_for_its_waits(environment: str) -> None:
    policy = _blue_green(environment)
    waits = policy["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"] + policy["TerminationWaitInSeconds"]
    assert waits < policy["MaximumExecutionTimeoutInSeconds"] <= 14_400


def test_scaling_follows_the_settings(unscaled: dict[str, Any]) -> None:
    template = templates("prod")["Serving"]
    target = only(template, "AWS::ApplicationAutoScaling::ScalableTarget")
    assert target["Properties"]["MinCapacity"] == 2
    assert target["Properties"]["MaxCapacity"] == 6
    assert target["Properties"]["ResourceId"] == "endpoint/binventory-prod/variant/primary"
    assert set(resources(template, "AWS::SageMaker::Endpoint")) <= set(target["DependsOn"])
    policy = only(template, "AWS::ApplicationAutoScaling::ScalingPolicy")["Properties"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 600
    assert not resources(unscaled, "AWS::ApplicationAutoScaling::ScalableTarget")


def test_without_scaling_the_endpoint_gets_the_number_of_machines_that_the_settings_have(
    unscaled: dict[str, Any],
) -> None:
    """`tests/contract/test_stack_refusals.py` shows what the local CloudFormation does with either value."""
    scaled, fixed = (
        only(template, "AWS::SageMaker::Endpoint")["Properties"] for template in (templates("dev")["Serving"], unscaled)
    )
    assert scaled["RetainAllVariantProperties"] is True
    assert fixed["RetainAllVariantProperties"] is False


def test_capture_is_a_setting_and_so_is_its_permission(plain: dict[str, dict[str, Any]]) -> None:
    captured, unscaled = templates("dev")["Serving"], plain["Serving"]
    capture = only(captured, "AWS::SageMaker::EndpointConfig")["Properties"]["DataCaptureConfig"]
    assert capture["EnableCapture"] is True
    assert capture["InitialSamplingPercentage"] == 10
    assert {option["CaptureMode"] for option in capture["CaptureOptions"]} == {"Input", "Output"}
    assert "DataCaptureConfig" not in only(unscaled, "AWS::SageMaker::EndpointConfig")["Properties"]

    def permissions(template: dict[str, Any]) -> set[tuple[str, str]]:
        return {
            (action, flat(resource))
            for name, statement in statements(template)
            if name.startswith("ServingRoles")
            for action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        }

    ((action, resource),) = permissions(templates("dev")["Training"]) - permissions(plain["Training"])
    assert action == "s3:PutObject" and resource.endswith("/capture/*")


def test_the_endpoint_is_named_while_it_is_off() -> None:
    assert templates("dev")["Serving"]["Outputs"]["EndpointName"]["Value"] == "binventory-dev"
