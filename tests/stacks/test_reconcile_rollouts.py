"""The handler of reconcile when rollouts fail, when people switch the endpoint, and when two calls run at once."""

from __future__ import annotations

import json
import threading
import time

import pytest

import reconcile
from promotion.decision import ServingDecision, ServingFacts, decide
from promotion.memory import Memory, SwitchRequest
from promotion.serving_stack import ServedEndpoint, ServingStack, StackBusyError, find_endpoint
from promotion.turns import turn
from stacks.names import command_of
from tests.contract.conftest import UPDATE_ROLE
from tests.contract.jobs import until
from tests.stacks.reconciled import LIMIT, Environment, Made


class TestFailedRollouts:
    """A package that cannot serve is tried once."""

    def test_it_is_refused_with_the_reason_and_not_tried_again_by_itself(self, made: Made) -> None:
        one = made()
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
        assert "marked Rejected" in text and text.endswith(command_of(one.name, f"approve {bad}"))
        assert one.serves() == good

    def test_a_person_may_approve_it_again_and_it_is_tried_once_more(self, made: Made) -> None:
        one = made()
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

    def test_the_first_package_of_all(self, made: Made) -> None:
        one = made()
        bad = one.approved(crash=True)
        assert one.settle() == {"outcome": "left", "reason": "the endpoint is off"}
        assert one.status_of(bad)[0] == "Rejected"
        good = one.approved()
        one.settle()
        assert one.serves() == good

    def test_the_newest_that_works_is_found(self, made: Made) -> None:
        one = made()
        one.approved()
        one.settle()
        works = one.approved()
        bad = [one.approved(crash=True) for _ in range(2)]
        one.settle()
        assert one.serves() == works
        assert {one.status_of(package)[0] for package in bad} == {"Rejected"}

    def test_a_deployment_in_between_hides_no_failure(self, made: Made) -> None:
        one = made()
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

    def test_an_endpoint_that_cannot_be_turned_on_keeps_its_package(self, made: Made) -> None:
        one = made()
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

    def test_off_and_on_brings_the_same_model_back(self, made: Made) -> None:
        one = made()
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

    def test_a_request_that_meets_a_busy_stack_waits_and_the_last_one_counts(self, made: Made) -> None:
        one = made()
        one.approved()
        one.settle()
        one.approved(held=True)
        assert one.compare()["outcome"] == "promoting"
        for state in ("on", "off"):
            assert one.compare(endpoint=state)["outcome"] == "busy"
        assert one.waiting() == 2
        one.release()
        one.settled()
        assert one.compare(detail={})["outcome"] == "turned off", "nobody had to say it twice"
        one.settle()
        assert (one.asked[1], one.waiting()) == ("off", 0)

    def test_an_approval_after_the_request_counts_more_than_it(self, made: Made) -> None:
        one = made()
        one.approved()
        one.settle()
        one.approved(held=True)
        one.compare()
        assert one.compare(endpoint="off")["outcome"] == "busy"
        newest = one.approved()
        one.release()
        one.settle()
        assert one.serves() == newest

    def test_a_request_after_the_approval_counts_more_than_it(self, made: Made) -> None:
        one = made()
        one.approved()
        one.settle()
        one.approved(held=True)
        one.compare()
        one.approved()
        assert one.compare(endpoint="off")["outcome"] == "busy"
        one.release()
        one.settle()
        assert one.asked[1] == "off"
        assert one.settle()["outcome"] == "left", "the approval is not remembered against it"

    def test_a_switch_by_hand_in_cloudformation_is_not_undone(self, made: Made) -> None:
        one = made()
        one.approved()
        one.settle()
        one.change(EndpointState="off")
        assert one.settle() == {"outcome": "left", "reason": "the endpoint is off"}
        assert one.asked[1] == "off"

    def test_a_request_of_before_the_stack_is_not_for_this_one(self, made: Made) -> None:
        one = made()
        package = one.approved()
        one.settle()
        one.aws("s3").put_object(
            Bucket=one.name,
            Key="endpoint/requests/20200101T000000.000000-00000000.json",
            Body=json.dumps({"state": "off", "by": "Jo", "at": "2020-01-01T00:00:00+00:00"}).encode(),
        )
        assert one.compare() == {"outcome": "left", "reason": f"the endpoint serves {package}"}
        assert one.waiting() == 0

    def test_another_state_is_refused(self, made: Made) -> None:
        one = made()
        with pytest.raises(ValueError, match="turned on or off, not 'sideways'"):
            one.compare(endpoint="sideways")
        assert one.waiting() == 0


class TestTwoAtOnce:
    """Lambda runs as many as there are events."""

    def test_of_two_updates_one_is_made(self, made: Made) -> None:
        one = made()
        package = one.approved(held=True)
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
        one.release()
        one.settle()
        assert (one.serves(), one.updates()) == (package, 1)

    def test_the_second_one_gets_an_error_that_the_stack_is_busy(self, made: Made) -> None:
        one = made()
        one.approved(held=True)
        one.compare()
        with pytest.raises(StackBusyError, match="IN_PROGRESS"):
            ServingStack(one.stack_name, UPDATE_ROLE).change({"EndpointState": "off"})

    @pytest.mark.parametrize("serves", [True, False], ids=["on", "off"])
    def test_a_request_that_comes_while_another_call_promotes_is_decided_after_it(
        self, made: Made, monkeypatch: pytest.MonkeyPatch, serves: bool
    ) -> None:
        one = made()
        if serves:
            one.approved()
            one.settle()
        newest = one.approved()
        asks = threading.Thread(target=one.compare, kwargs={"endpoint": "off", "by": "Jo"})

        def decide_and_be_asked(facts: ServingFacts) -> ServingDecision:
            monkeypatch.setattr(reconcile, "decide", decide)
            decision = decide(facts)
            asks.start()
            until(one.waiting)
            asks.join(timeout=2)
            return decision

        monkeypatch.setattr(reconcile, "decide", decide_and_be_asked)
        assert one.compare()["outcome"] == ("promoting" if serves else "turned on")
        asks.join()
        one.settle()
        assert (one.asked, one.waiting()) == ((newest, "off"), 0)

    def test_what_is_spent_while_a_call_waits_for_its_turn_counts(self, made: Made) -> None:
        one = made()
        one.approved()
        one.settle()
        one.compare(endpoint="off")
        one.settle()
        answers: list[dict[str, str]] = []
        asks = threading.Thread(target=lambda: answers.append(one.compare(endpoint="on", by="Jo")))
        with turn(one.name):
            asks.start()
            until(one.waiting)
            time.sleep(0.5)
            one.spend(LIMIT * 2)
        asks.join()
        assert answers[0]["outcome"] == "held" and "200%" in answers[0]["reason"]
        assert one.asked[1] == "off"

    def test_who_asks_gets_the_answer_even_if_another_call_has_decided_the_request(
        self, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = made()
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


def deploy(package: str, one: Environment) -> None:
    """A person's update of the stack with an approved package, until it has replaced the endpoint's configuration."""
    stack = ServingStack(one.stack_name)
    before = stack.configuration()
    one.judge(package)
    one.change(ModelPackageArn=package)
    until(lambda: stack.configuration() != before)


def test_an_update_that_begins_during_a_comparison_is_no_undone_rollout(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made()
    good = one.approved()
    one.settle()
    better = one.register(held=True)

    def look_and_be_overtaken(name: str) -> ServedEndpoint | None:
        found = find_endpoint(name)
        monkeypatch.setattr(reconcile, "find_endpoint", find_endpoint)
        deploy(better, one)
        return found

    monkeypatch.setattr(reconcile, "find_endpoint", look_and_be_overtaken)
    assert one.compare()["outcome"] == "busy"
    assert one.status_of(good)[0] == "Approved" and one.alerts() == []
    one.release()
    assert one.settled() == "UPDATE_COMPLETE"
    assert one.settle()["outcome"] == "left" and one.serves() == better


def test_an_update_that_begins_during_a_clean_up_can_be_rolled_back(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a rollout the stack no longer has the configuration that the endpoint runs, and its rollback needs it."""
    one = made()
    good = one.approved()
    one.settle()
    bad = one.register(crash=True)

    def decide_and_be_overtaken(facts: ServingFacts) -> ServingDecision:
        monkeypatch.setattr(reconcile, "decide", decide)
        deploy(bad, one)
        return decide(facts)

    monkeypatch.setattr(reconcile, "decide", decide_and_be_overtaken)
    assert one.compare(detail={})["outcome"] == "left"
    assert one.settled() == "UPDATE_ROLLBACK_COMPLETE"
    assert one.serves() == good
    one.settle()
    assert one.status_of(bad)[0] == "Rejected" and one.serves() == good
