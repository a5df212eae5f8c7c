"""After rollouts: one alert for every difference, and unused models and configurations are deleted."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.names import command_of
from stacks.serving.reconcile import SETTLED
from tests.contract.serving import create_config, wait_while
from tests.stacks.reconciled import Environment, Made
from tests.stacks.templates import flat, resources, templates


@pytest.fixture
def serving(made: Made) -> Environment:
    """An environment that serves its first package."""
    one = made()
    one.approved()
    one.settle()
    return one


def configurations(one: Environment) -> dict[str, set[str]]:
    """Names of the environment's endpoint configurations and models."""
    return {"configurations": set(one.configurations()), "models": set(one.models())}


def config_of(one: Environment) -> str:
    """The configuration that the endpoint runs."""
    return str(one.aws("sagemaker").describe_endpoint(EndpointName=one.name)["EndpointConfigName"])


def put_back(one: Environment, config: str) -> None:
    """Has the endpoint run another configuration, past its stack."""
    one.aws("sagemaker").update_endpoint(EndpointName=one.name, EndpointConfigName=config)
    wait_while(one.aws, one.name, "Updating")


def test_the_wanted_configuration_sends_no_alert(serving: Environment) -> None:
    package = serving.asked[0]
    assert serving.compare(detail={}) == {"outcome": "left", "reason": f"the endpoint serves {package}"}
    serving.compare(endpoint="off")
    assert serving.settle()["reason"] == "the endpoint is off"
    assert serving.alerts() == []


def test_an_endpoint_with_another_configuration_sends_one_alert(serving: Environment) -> None:
    package = serving.asked[0]
    other = create_config(serving.aws, f"by-hand-{serving.name}", serving.image)
    put_back(serving, other)
    for _ in range(2):
        assert serving.compare(detail={})["outcome"] == "left"
    ((subject, text),) = serving.alerts()
    assert subject == f"{serving.name}: not what was asked for"
    assert f"serves configuration {other} instead of" in text and package in text
    assert f"`{command_of(serving.name, 'endpoint off')}`" in text
    assert serving.status_of(package)[0] == "Approved", "the package is not to blame"


def test_an_endpoint_that_died_or_should_not_exist_sends_an_alert(serving: Environment) -> None:
    sagemaker = serving.aws("sagemaker")
    sagemaker.delete_endpoint(EndpointName=serving.name)
    while sagemaker.list_endpoints(NameContains=serving.name)["Endpoints"]:
        pass
    serving.compare()
    serving.compare(endpoint="off")
    serving.settled()
    config = create_config(serving.aws, f"stray-{serving.name}", serving.image)
    sagemaker.create_endpoint(EndpointName=serving.name, EndpointConfigName=config)
    wait_while(serving.aws, serving.name, "Creating")
    serving.compare()
    alerts = serving.alerts()
    assert sorted(text.split("but ")[1].split(".")[0] for _, text in alerts) == [
        "the endpoint is InService and bills although serving is off",
        "there is no endpoint although serving is on",
    ]
    assert {subject for subject, _ in alerts} == {f"{serving.name}: not what was asked for"}
    sagemaker.delete_endpoint(EndpointName=serving.name)


def test_a_difference_that_comes_back_sends_another_alert(serving: Environment) -> None:
    own, other = config_of(serving), create_config(serving.aws, f"by-hand-{serving.name}", serving.image)
    for _ in range(2):
        put_back(serving, other)
        serving.compare()
        put_back(serving, own)
        serving.compare()
    assert len(serving.alerts()) == 2


def test_an_endpoint_that_sagemaker_is_changing_is_left_until_it_is_done(serving: Environment) -> None:
    """Autoscaling changes it as well; an update would be refused, and the package blamed for it."""
    package = serving.approved()
    weights = [{"VariantName": "primary", "DesiredInstanceCount": 3}]
    serving.aws("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=serving.name, DesiredWeightsAndCapacities=weights
    )
    assert serving.compare() == {
        "outcome": "busy",
        "reason": f"endpoint {serving.name} is Updating: its end calls again",
    }
    wait_while(serving.aws, serving.name, "Updating")
    assert serving.settle()["outcome"] == "left"
    assert serving.serves() == package
    assert serving.alerts() == []


class TestReplaced:
    """Models and configurations that a rollout has replaced."""

    def test_they_exist_until_the_new_ones_serve_and_then_go(self, serving: Environment) -> None:
        before = configurations(serving)
        serving.approved()
        serving.compare()
        assert serving.settled() == "UPDATE_COMPLETE"
        both = configurations(serving)
        assert {kind: len(names) for kind, names in both.items()} == {"configurations": 2, "models": 2}
        serving.compare(detail={})
        after = configurations(serving)
        assert after == {kind: both[kind] - before[kind] for kind in both}

    def test_a_rollout_that_sagemaker_undoes_in_silence_ends_with_what_served_before(
        self, serving: Environment
    ) -> None:
        """CloudFormation may take an endpoint that is InService again for a success."""
        before, config = serving.asked[0], config_of(serving)
        newer = serving.approved()
        serving.compare()
        assert serving.settled() == "UPDATE_COMPLETE"
        put_back(serving, config)
        assert serving.serves() == before
        assert serving.compare(detail={})["outcome"] == "promoting"
        status, description = serving.status_of(newer)
        assert status == "Rejected" and description.startswith("Rolled back: SageMaker put configuration")
        ((subject, text),) = serving.alerts()
        assert subject == f"{serving.name}: promotion rolled back"
        assert newer in text and "marked Rejected" in text
        assert text.endswith(command_of(serving.name, f"approve {newer}"))
        assert serving.settle() == {"outcome": "left", "reason": f"the endpoint serves {before}"}
        assert serving.serves() == before
        assert {kind: len(names) for kind, names in configurations(serving).items()} == {
            "configurations": 1,
            "models": 1,
        }

    def test_a_destroyed_stack_leaves_none(self, serving: Environment) -> None:
        serving.approved()
        serving.compare()
        serving.settled()
        described = serving.aws("cloudformation").describe_stacks(StackName=serving.stack_name)["Stacks"][0]
        serving.destroy()
        assert {kind: len(names) for kind, names in configurations(serving).items()} == {
            "configurations": 1,
            "models": 1,
        }
        answer = serving.compare(detail={"stack-id": described["StackId"]})
        assert answer["outcome"] == "left"
        assert configurations(serving) == {"configurations": set(), "models": set()}
        serving.create()


def test_nothing_of_others_is_deleted(serving: Environment, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    other = made()
    other.approved()
    other.settle()
    found = configurations(other)
    for name, value in serving.variables.items():
        monkeypatch.setenv(name, value)
    serving.approved()
    serving.settle()
    assert configurations(other) == found


def rule(name: str) -> dict[str, Any]:
    """A rule of the training stack."""
    rules = resources(templates("dev")["Training"], "AWS::Events::Rule").values()
    (found,) = (rule["Properties"] for rule in rules if rule["Properties"]["Name"] == f"binventory-dev-{name}")
    return dict(found)


def test_the_function_is_called_at_the_end_of_every_update_of_the_serving_stack() -> None:
    pattern = rule("serving-settled")["EventPattern"]
    assert pattern["source"] == ["aws.cloudformation"]
    (of,) = pattern["detail"]["stack-id"]
    assert flat(of["prefix"]).endswith(":stack/binventory-dev-serving/")
    statuses = pattern["detail"]["status-details"]["status"]
    assert statuses == list(SETTLED)
    assert not [status for status in statuses if status.endswith("_IN_PROGRESS")]
    assert {"UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED", "DELETE_COMPLETE"} <= set(statuses)


def test_the_function_is_called_when_the_endpoint_changes() -> None:
    pattern = rule("endpoint-changed")["EventPattern"]
    assert pattern["source"] == ["aws.sagemaker"]
    assert pattern["detail-type"] == ["SageMaker Endpoint State Change"]
    assert pattern["detail"] == {"EndpointName": ["binventory-dev"]}
