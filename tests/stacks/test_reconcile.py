"""The handler of reconcile with a registry, a stack and an endpoint: what should serve does, in any order of events."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from functions.interface import VariableError
from local_aws.server import LocalAws
from promotion.memory import Memory, SwitchRequest
from promotion.serving_stack import ServingStack, StackBusyError
from tests.stacks.conftest import ClientFactory
from tests.stacks.reconciled import LIMIT, TEMPLATE, Environment, make

Made = Callable[..., Environment]


@pytest.fixture
def environment(
    aws: ClientFactory, _local_aws: LocalAws, image: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Made]:
    """A function that makes an environment for the handler."""
    yield from make(aws, _local_aws, image, monkeypatch)


def test_an_approval_is_served_and_everything_else_of_the_stack_stays(
    environment: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    one = environment(baking=7)
    package = one.approved()
    capsys.readouterr()
    assert one.compare()["outcome"] == "turned on"
    assert json.loads(capsys.readouterr().out) == {
        "outcome": "turned on",
        "reason": f"version 1 was approved; the endpoint gets {package}",
    }
    assert one.settled() == "UPDATE_COMPLETE"
    stack = one.aws("cloudformation").describe_stacks(StackName=one.stack_name)["Stacks"][0]
    values = {entry["ParameterKey"]: entry["ParameterValue"] for entry in stack["Parameters"]}
    assert values == {"ModelPackageArn": package, "EndpointState": "on", "Name": one.name, "Baking": "7"}
    template = one.aws("cloudformation").get_template(StackName=one.stack_name)["TemplateBody"]
    assert (template if isinstance(template, dict) else json.loads(template)) == TEMPLATE
    assert one.serves() == package


def test_what_serves_already_is_left_however_often_it_is_compared(environment: Made) -> None:
    one = environment()
    package = one.approved()
    one.settle()
    updates = one.updates()
    events: tuple[dict[str, Any], ...] = (
        {},
        {"detail": {"ModelApprovalStatus": "Approved", "ModelPackageArn": package}},
        {"detail": {}},
    )
    for event in events:
        assert one.compare(**event) == {"outcome": "left", "reason": f"the endpoint serves {package}"}
    assert one.updates() == updates
    assert one.alerts() == []


@pytest.mark.parametrize("status", ["Rejected", "PendingManualApproval"])
def test_what_is_not_approved_any_more_is_not_tried(environment: Made, status: str) -> None:
    one = environment()
    package = one.approved()
    one.judge(package, status)
    assert one.compare(detail={"ModelApprovalStatus": "Approved", "ModelPackageArn": package}) == {
        "outcome": "left",
        "reason": "the endpoint is off",
    }
    assert one.asked == ("", "off")


def test_other_groups_are_ignored(environment: Made) -> None:
    ours, theirs = environment(), environment()
    package = ours.approved()
    answer = theirs.compare(detail={"ModelApprovalStatus": "Approved", "ModelPackageArn": package})
    assert answer["outcome"] == "left"
    assert theirs.asked == ("", "off")


def test_a_registry_that_does_not_exist_yet_offers_nothing(environment: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = environment()
    monkeypatch.setenv("MODEL_PACKAGE_GROUP", f"{one.name}-absent")
    assert one.compare()["outcome"] == "left"


def test_five_approvals_during_a_rollout_one_rejected_meanwhile_and_two_out_of_order(environment: Made) -> None:
    one = environment(baking=2)
    one.approved()
    one.settle()
    waiting = [one.register() for _ in range(6)]
    one.judge(waiting[0])
    assert one.compare()["outcome"] == "promoting"
    for package in (waiting[2], waiting[1], waiting[5], waiting[4], waiting[3]):  # the newer before the older
        one.judge(package)
        assert one.compare()["outcome"] == "busy"
    one.judge(waiting[5], "Rejected")
    before = one.updates()
    assert one.settled() == "UPDATE_COMPLETE"
    assert one.compare(detail={})["outcome"] == "promoting", "one cycle after the stack is free"
    assert one.settle()["outcome"] == "left"
    assert one.serves() == waiting[4], "the newest of those that are approved"
    assert one.updates() == before + 1, "and none of the others was tried"


def test_the_newest_approved_version_serves_and_its_rejection_brings_the_one_before_back(environment: Made) -> None:
    one = environment()
    first, second = one.register(), one.register()
    one.judge(second)
    one.settle()
    one.judge(first)
    assert one.compare()["outcome"] == "left", "an older version does not replace a newer one"
    one.judge(second, "Rejected")
    assert one.compare()["outcome"] == "promoting"
    one.settle()
    assert one.serves() == first
    one.judge(second)
    one.settle()
    assert one.serves() == second, "approved again"


def test_a_rejection_turns_nothing_on(environment: Made) -> None:
    one = environment()
    one.approved()
    second = one.approved()
    one.settle()
    one.compare(endpoint="off")
    one.settled()
    one.judge(second, "Rejected")
    assert one.settle() == {"outcome": "left", "reason": "the endpoint is off"}


def test_when_nothing_is_approved_any_more_what_serves_stays_and_people_hear_of_it_once(environment: Made) -> None:
    one = environment()
    package = one.approved()
    one.settle()
    one.judge(package, "Rejected")
    for _ in range(2):
        assert one.compare() == {"outcome": "left", "reason": f"the endpoint serves {package}"}
    ((subject, text),) = one.alerts()
    assert subject == f"{one.name}: no model package is approved" and package in text
    one.compare(endpoint="off")
    one.settled()
    answer = one.compare(endpoint="on", by="a person")
    assert answer == {"outcome": "held", "reason": "no model package is approved: the endpoint stays off"}
    assert one.waiting() == 0


class TestFailedRollouts:
    """A package that cannot serve is tried once."""

    def test_it_is_refused_with_the_reason_and_not_tried_again_by_itself(self, environment: Made) -> None:
        one = environment()
        good = one.approved()
        one.settle()
        bad = one.approved(crash=True)
        assert one.compare()["outcome"] == "promoting"
        assert one.settled() == "UPDATE_ROLLBACK_COMPLETE"
        before = one.updates()
        for _ in range(3):
            assert one.compare(detail={}) == {"outcome": "left", "reason": f"the endpoint serves {good}"}
        assert one.updates() == before
        status, description = one.status_of(bad)
        assert status == "Rejected"
        assert description.startswith("Rolled back: Endpoint: ") and "cannot load the model" in description
        ((subject, text),) = one.alerts()
        assert subject == f"{one.name}: promotion rolled back"
        assert "cannot load the model" in text and f"the endpoint serves {good}" in text
        assert "marked Rejected" in text and "binventory approve" in text
        assert one.serves() == good

    def test_a_person_may_approve_it_again_and_it_is_tried_once_more(self, environment: Made) -> None:
        one = environment()
        good = one.approved()
        one.settle()
        bad = one.approved(crash=True)
        one.settle()
        one.alerts()
        before = one.updates()
        one.judge(bad)
        assert one.compare()["outcome"] == "promoting"
        one.settle()
        assert one.updates() == before + 1
        assert one.status_of(bad)[0] == "Rejected"
        assert one.serves() == good
        assert [subject for subject, _ in one.alerts()] == [f"{one.name}: promotion rolled back"]

    def test_the_first_package_of_all(self, environment: Made) -> None:
        one = environment()
        bad = one.approved(crash=True)
        assert one.settle() == {"outcome": "left", "reason": "the endpoint is off"}
        assert one.status_of(bad)[0] == "Rejected"
        good = one.approved()
        one.settle()
        assert one.serves() == good

    def test_the_newest_that_works_is_found(self, environment: Made) -> None:
        one = environment()
        one.approved()
        one.settle()
        works = one.approved()
        bad = [one.approved(crash=True) for _ in range(2)]
        one.settle()
        assert one.serves() == works
        assert {one.status_of(package)[0] for package in bad} == {"Rejected"}

    def test_a_deployment_in_between_hides_no_failure(self, environment: Made) -> None:
        one = environment()
        good = one.approved()
        one.settle()
        bad = one.approved(crash=True)
        one.compare()
        assert one.settled() == "UPDATE_ROLLBACK_COMPLETE"
        one.change(Baking="1")
        assert one.settled() == "UPDATE_COMPLETE", "the failed rollout is not the last update any more"
        assert one.compare() == {"outcome": "left", "reason": f"the endpoint serves {good}"}
        assert one.status_of(bad)[0] == "Rejected"
        assert [subject for subject, _ in one.alerts()] == [f"{one.name}: promotion rolled back"]

    def test_an_endpoint_that_cannot_be_turned_on_keeps_its_package(self, environment: Made) -> None:
        one = environment()
        package = one.approved()
        one.settle()
        one.compare(endpoint="off")
        one.settled()
        endpoint = self._in_the_way(one)
        assert one.compare(endpoint="on")["outcome"] == "turned on"
        assert one.settled() == "UPDATE_ROLLBACK_COMPLETE"
        one.aws("sagemaker").delete_endpoint(EndpointName=endpoint)
        answer = one.settle()
        assert answer == {"outcome": "left", "reason": "the endpoint is off"}, "and it is not tried again by itself"
        assert one.status_of(package)[0] == "Approved"
        assert f"{one.name}: update rolled back" in [subject for subject, _ in one.alerts()]

    @staticmethod
    def _in_the_way(one: Environment) -> str:
        """An endpoint of the same name, created by hand, so that the stack cannot create one."""
        sagemaker = one.aws("sagemaker")
        package = one.asked[0]
        name = f"{one.name}-by-hand"
        role = "arn:aws:iam::123456789012:role/serving"
        sagemaker.create_model(ModelName=name, Containers=[{"ModelPackageName": package}], ExecutionRoleArn=role)
        variant = {
            "VariantName": "primary",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=one.name, EndpointConfigName=name)
        while sagemaker.describe_endpoint(EndpointName=one.name)["EndpointStatus"] == "Creating":
            pass
        return one.name


class TestSwitch:
    """On and off, by a person and by the serving hours."""

    def test_off_and_on_brings_the_same_model_back(self, environment: Made) -> None:
        one = environment()
        package = one.approved()
        one.settle()
        assert one.compare(endpoint="off", by="Jo")["outcome"] == "turned off"
        one.settle()
        assert one.asked == (package, "off")
        assert one.serves() == ""
        assert one.compare(endpoint="on") == {"outcome": "turned on", "reason": "a person"}
        one.settle()
        assert one.serves() == package
        assert one.waiting() == 0

    def test_a_request_that_meets_a_busy_stack_waits_and_the_last_one_counts(self, environment: Made) -> None:
        one = environment(baking=2)
        one.approved()
        one.settle()
        one.approved()
        assert one.compare()["outcome"] == "promoting"
        for state in ("on", "off"):
            assert one.compare(endpoint=state)["outcome"] == "busy"
        assert one.waiting() == 2
        one.settled()
        assert one.compare(detail={})["outcome"] == "turned off", "nobody had to say it twice"
        one.settle()
        assert (one.asked[1], one.waiting()) == ("off", 0)

    def test_an_approval_after_the_request_counts_more_than_it(self, environment: Made) -> None:
        one = environment(baking=2)
        one.approved()
        one.settle()
        one.approved()
        one.compare()
        assert one.compare(endpoint="off")["outcome"] == "busy"
        newest = one.approved()
        one.settle()
        assert one.serves() == newest

    def test_a_request_after_the_approval_counts_more_than_it(self, environment: Made) -> None:
        one = environment(baking=2)
        one.approved()
        one.settle()
        one.approved()
        one.compare()
        one.approved()
        assert one.compare(endpoint="off")["outcome"] == "busy"
        one.settle()
        assert one.asked[1] == "off"
        assert one.settle()["outcome"] == "left", "the approval is not remembered against it"

    def test_a_switch_by_hand_in_cloudformation_is_not_undone(self, environment: Made) -> None:
        one = environment()
        one.approved()
        one.settle()
        one.change(EndpointState="off")
        assert one.settle() == {"outcome": "left", "reason": "the endpoint is off"}
        assert one.asked[1] == "off"

    def test_a_request_of_before_the_stack_is_not_for_this_one(self, environment: Made) -> None:
        one = environment()
        package = one.approved()
        one.settle()
        one.aws("s3").put_object(
            Bucket=one.name,
            Key="endpoint/requests/20200101T000000.000000-00000000.json",
            Body=json.dumps({"state": "off", "by": "Jo", "at": "2020-01-01T00:00:00+00:00"}).encode(),
        )
        assert one.compare() == {"outcome": "left", "reason": f"the endpoint serves {package}"}
        assert one.waiting() == 0

    def test_another_state_is_refused(self, environment: Made) -> None:
        one = environment()
        with pytest.raises(ValueError, match="turned on or off, not 'sideways'"):
            one.compare(endpoint="sideways")
        assert one.waiting() == 0


class TestTwoAtOnce:
    """Lambda runs as many as there are events."""

    def test_of_two_updates_one_is_made(self, environment: Made) -> None:
        one = environment(baking=2)
        package = one.approved()
        gate = threading.Barrier(4)
        answers: list[dict[str, str]] = []

        def call() -> None:
            gate.wait()
            answers.append(one.compare())

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer["outcome"] for answer in answers) == ["busy", "busy", "busy", "turned on"]
        one.settle()
        assert (one.serves(), one.updates()) == (package, 1)

    def test_the_second_one_gets_an_error_that_the_stack_is_busy(self, environment: Made) -> None:
        one = environment(baking=2)
        one.approved()
        one.compare()
        with pytest.raises(StackBusyError, match="IN_PROGRESS"):
            ServingStack(one.stack_name).change({"EndpointState": "off"})

    def test_who_asks_gets_the_answer_even_if_another_call_has_decided_the_request(
        self, environment: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = environment()
        one.approved()
        one.spend(LIMIT * 2)
        assert one.settle()["outcome"] == "held"
        requests = Memory.requests

        def decided_by_another(memory: Memory) -> list[SwitchRequest]:
            memory.forget(requests(memory))
            return requests(memory)

        monkeypatch.setattr(Memory, "requests", decided_by_another)
        answer = one.compare(endpoint="on", by="the approval of version 1")
        assert answer["outcome"] == "held" and "200%" in answer["reason"]


def test_without_a_serving_stack_there_is_nothing_to_do(environment: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = environment()
    one.approved()
    monkeypatch.setenv("SERVING_STACK", "there-is-none")
    assert one.compare()["outcome"] == "left"


def _waiting(seconds: int) -> dict[str, Any]:
    """A template that waits for a signal which never comes, as a stack waits for a long rollout."""
    return {
        "Parameters": {key: TEMPLATE["Parameters"][key] for key in ("ModelPackageArn", "EndpointState")},
        "Resources": {
            "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
            "Never": {
                "Type": "AWS::CloudFormation::WaitCondition",
                "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": str(seconds)},
            },
        },
    }


def test_a_busy_stack_is_left_and_nothing_is_waited_for(environment: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = environment()
    one.approved()
    name = f"{one.name}-busy"
    cloudformation = one.aws("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(_waiting(seconds=60)))
    monkeypatch.setenv("SERVING_STACK", name)
    try:
        answer = one.compare()
        assert (answer["outcome"], "CREATE_IN_PROGRESS" in answer["reason"]) == ("busy", True)
    finally:
        cloudformation.delete_stack(StackName=name)


def test_a_broken_stack_is_reported_as_broken(environment: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = environment()
    one.approved()
    name = f"{one.name}-broken"
    cloudformation = one.aws("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(_waiting(seconds=1)))
    with pytest.raises(WaiterError):
        cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})
    monkeypatch.setenv("SERVING_STACK", name)
    answer = one.compare()
    assert answer["outcome"] == "held"
    assert "repair it with `cdk deploy`" in answer["reason"]
    assert one.compare(endpoint="on")["outcome"] == "held"
    assert one.waiting() == 1, "what was requested is done when the stack is repaired"


def test_a_parameter_that_does_not_exist_is_named(environment: Made) -> None:
    with pytest.raises(ValueError, match="has no parameter Colour"):
        ServingStack(environment().stack_name).change({"Colour": "blue"})


def test_a_variable_that_is_missing_is_named(environment: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = environment()
    monkeypatch.delenv("MEMORY_BUCKET")
    with pytest.raises(VariableError, match="MEMORY_BUCKET of the function is missing"):
        one.compare()
    monkeypatch.setenv("MEMORY_BUCKET", one.name)
    monkeypatch.setenv("GUARD_PERCENT", "many")
    with pytest.raises(VariableError, match="GUARD_PERCENT of the function cannot be read: 'many'"):
        one.compare()


def test_a_stack_of_its_own_id_begins_anew(environment: Made) -> None:
    """A stack that was destroyed and created again serves the approved model, without regard to earlier decisions."""
    one = environment()
    package = one.approved()
    one.settle()
    one.compare(endpoint="off")
    one.settle()
    one.destroy()
    one.create()
    assert one.compare(detail={})["outcome"] == "turned on"
    one.settle()
    assert one.serves() == package
    assert uuid.UUID(one.aws("cloudformation").describe_stacks(StackName=one.stack_name)["Stacks"][0]["StackId"][-36:])
