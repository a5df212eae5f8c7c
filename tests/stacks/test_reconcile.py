"""The handler of reconcile with a registry, a stack and an endpoint: what should serve does, in any order of events."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from functions.interface import VariableError
from promotion.serving_stack import ServingStack
from stacks.names import command_of
from tests.stacks.reconciled import TEMPLATE, Made


def test_an_approval_is_served_and_everything_else_of_the_stack_stays(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    one = made(baking=7)
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
    described = one.aws("sagemaker").describe_model_package(ModelPackageName=package)
    digest = described["CustomerMetadataProperties"]["archive"]
    assert values == {
        "ModelPackageArn": package, "ModelDigest": digest, "EndpointState": "on", "Name": one.name, "Baking": "7"
    }  # fmt: skip
    template = one.aws("cloudformation").get_template(StackName=one.stack_name)["TemplateBody"]
    assert (template if isinstance(template, dict) else json.loads(template)) == TEMPLATE
    assert one.serves() == package


def test_what_serves_already_is_left_however_often_it_is_compared(made: Made) -> None:
    one = made()
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
def test_what_is_not_approved_any_more_is_not_tried(made: Made, status: str) -> None:
    one = made()
    package = one.approved()
    one.judge(package, status)
    assert one.compare(detail={"ModelApprovalStatus": "Approved", "ModelPackageArn": package}) == {
        "outcome": "left",
        "reason": "the endpoint is off",
    }
    assert one.asked == ("", "off")


def test_other_groups_are_ignored(made: Made) -> None:
    ours, theirs = made(), made()
    package = ours.approved()
    answer = theirs.compare(detail={"ModelApprovalStatus": "Approved", "ModelPackageArn": package})
    assert answer["outcome"] == "left"
    assert theirs.asked == ("", "off")


def test_a_registry_that_does_not_exist_yet_offers_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made()
    monkeypatch.setenv("MODEL_PACKAGE_GROUP", f"{one.name}-absent")
    assert one.compare()["outcome"] == "left"


def test_five_approvals_during_a_rollout_one_rejected_meanwhile_and_two_out_of_order(made: Made) -> None:
    one = made()
    one.approved()
    one.settle()
    waiting = [one.register(held=number == 0) for number in range(6)]
    one.judge(waiting[0])
    assert one.compare()["outcome"] == "promoting"
    for package in (waiting[2], waiting[1], waiting[5], waiting[4], waiting[3]):  # the newer before the older
        one.judge(package)
        assert one.compare()["outcome"] == "busy"
    one.judge(waiting[5], "Rejected")
    before = one.updates()
    one.release()
    assert one.settled() == "UPDATE_COMPLETE"
    assert one.compare(detail={})["outcome"] == "promoting", "one cycle after the stack is free"
    assert one.settle()["outcome"] == "left"
    assert one.serves() == waiting[4], "the newest of those that are approved"
    assert one.updates() == before + 1, "and none of the others was tried"


def test_the_newest_approved_version_serves_and_its_rejection_brings_the_one_before_back(made: Made) -> None:
    one = made()
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


def test_a_rejection_turns_nothing_on(made: Made) -> None:
    one = made()
    one.approved()
    second = one.approved()
    one.settle()
    one.compare(endpoint="off")
    one.settled()
    one.judge(second, "Rejected")
    assert one.settle() == {"outcome": "left", "reason": "the endpoint is off"}


def test_when_nothing_is_approved_any_more_what_serves_stays_and_people_hear_of_it_once(made: Made) -> None:
    one = made()
    package = one.approved()
    one.settle()
    one.judge(package, "Rejected")
    for _ in range(2):
        assert one.compare() == {"outcome": "left", "reason": f"the endpoint serves {package}"}
    ((subject, text),) = one.alerts()
    assert subject == f"{one.name}: no model package is approved" and package in text
    # The newest that waits need not exist: then only a version that was rejected can be approved again.
    ways = [command_of(one.name, words) for words in ("approve", "approve ARN", "endpoint off")]
    assert [way for way in ways if way in text] == ways
    one.compare(endpoint="off")
    one.settled()
    answer = one.compare(endpoint="on", by="a person")
    assert answer == {"outcome": "held", "reason": "no model package is approved: the endpoint stays off"}
    assert one.waiting() == 0


def test_without_a_serving_stack_there_is_nothing_to_do(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made()
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


def test_objects_that_are_no_requests_are_named_once_and_passed_over(made: Made) -> None:
    """Every later call failed at one."""
    one = made()
    package = one.approved()
    bodies = (b"", b"\xff", b"[]", b"{}", b'{"state": "up", "by": "me", "at": "2026-11-30T07:00:00Z"}')
    for number, body in enumerate(bodies):
        one.aws("s3").put_object(Bucket=one.name, Key=f"endpoint/requests/a note {number}", Body=body)
    one.aws("s3").put_object(Bucket=one.name, Key="endpoint/requests/", Body=b"")  # as a console makes a folder
    one.aws("s3").put_object(Bucket=one.name, Key="endpoint/decided.json", Body=b"not JSON")
    assert one.compare(endpoint="on", by="a person")["outcome"] == "turned on"
    one.settle()
    assert one.serves() == package
    told = [message for subject, message in one.alerts() if "an object that is no request" in subject]
    assert len(told) == len(bodies) + 1 and one.compare()["outcome"] == "left" and one.alerts() == []
    assert f"aws s3 rm 's3://{one.name}/endpoint/requests/a note 4'" in "".join(told)
    assert one.waiting() == len(bodies) + 1, "the function deletes nothing that it has not written"


def test_a_busy_stack_is_left_and_nothing_is_waited_for(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made()
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


def test_a_broken_stack_is_reported_as_broken(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made()
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


def test_a_parameter_that_does_not_exist_is_named(made: Made) -> None:
    with pytest.raises(ValueError, match="has no parameter Colour"):
        ServingStack(made().stack_name).change({"Colour": "blue"})


def test_a_variable_that_is_missing_is_named(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made()
    monkeypatch.delenv("MEMORY_BUCKET")
    with pytest.raises(VariableError, match="MEMORY_BUCKET of the function is missing"):
        one.compare()
    monkeypatch.setenv("MEMORY_BUCKET", one.name)
    monkeypatch.setenv("GUARD_PERCENT", "many")
    with pytest.raises(VariableError, match="GUARD_PERCENT of the function cannot be read: 'many'"):
        one.compare()


def test_a_stack_of_its_own_id_begins_anew(made: Made) -> None:
    """A stack that was destroyed and created again serves the approved model, without regard to earlier decisions."""
    one = made()
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
