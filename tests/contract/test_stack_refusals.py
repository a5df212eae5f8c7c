"""What CloudFormation refuses on AWS, it refuses here: docs/local-jobs.md names the source of each."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stacks.settings import load
from tests.contract.conftest import ClientFactory
from tests.contract.stacked import Stack, Template
from tests.stacks.templates import changed, only, synthesize

ACCOUNT = "123456789012"


def budgets(client: ClientFactory) -> list[str]:
    """The names of the account's budgets."""
    return [item["BudgetName"] for item in client("budgets").describe_budgets(AccountId=ACCOUNT).get("Budgets", [])]


def money(**values: Any) -> Template:
    """The money stack of dev with some of its settings changed."""
    return synthesize(changed(load("dev"), "money", **values))["Money"]


def test_a_budget_with_other_alerts_is_another_budget(client: ClientFactory) -> None:
    """The name is free for the replacement only once the old budget is gone, which is too late."""
    stack, fixed = Stack(client, "fixed-name"), money()
    only(fixed, "AWS::Budgets::Budget")["Properties"]["Budget"]["BudgetName"] = "fixed"
    assert stack.create(fixed) == "CREATE_COMPLETE", stack.reasons()
    renotified = copy.deepcopy(fixed)
    only(renotified, "AWS::Budgets::Budget")["Properties"]["NotificationsWithSubscribers"].pop()
    assert stack.update(renotified) == "UPDATE_ROLLBACK_COMPLETE"
    assert "already exists" in stack.reasons()
    stack.delete()


@pytest.mark.parametrize("values", [{"alert_emails": ["ops@example.com"]}, {"guard_percent": 90}])
def test_alerts_of_the_money_stack_can_be_changed(client: ClientFactory, values: dict[str, Any]) -> None:
    stack = Stack(client, "binventory-dev-money")
    assert stack.create(money()) == "CREATE_COMPLETE", stack.reasons()
    before = budgets(client)
    assert stack.update(money(**values)) == "UPDATE_COMPLETE", stack.reasons()
    after = budgets(client)
    assert len(before) == len(after) == 1 and before != after, "replaced, the old one removed"
    assert stack.update(money(**values, monthly_budget_usd=77)) == "UPDATE_COMPLETE", stack.reasons()
    assert budgets(client) == after, "the amount changes in place"
    stack.delete()
    assert budgets(client) == []


def importing(template: Template, stack: str) -> Template:
    """A template that imports every export of another one."""
    exports = [output["Export"]["Name"] for output in template["Outputs"].values() if "Export" in output]
    assert exports and all(name.startswith(f"{stack}:") for name in exports)
    handle = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    values = {f"Value{number}": {"Value": {"Fn::ImportValue": name}} for number, name in enumerate(exports)}
    return {"Resources": {"Handle": handle}, "Outputs": values}


def test_what_another_stack_imports_can_neither_be_deleted_nor_changed(client: ClientFactory) -> None:
    name = "binventory-dev-money"
    producer, consumer, template = Stack(client, name), Stack(client, "consumer"), money()
    assert producer.create(template) == "CREATE_COMPLETE", producer.reasons()
    assert consumer.create(importing(template, name)) == "CREATE_COMPLETE", consumer.reasons()
    with pytest.raises(ClientError, match=f"Export {name}:.* is imported by stack consumer"):
        client("cloudformation").delete_stack(StackName=name)
    removed = copy.deepcopy(template)
    export = next(key for key, output in removed["Outputs"].items() if "Export" in output)
    del removed["Outputs"][export]
    assert producer.update(removed) == "UPDATE_ROLLBACK_COMPLETE"
    assert f"{export} cannot be deleted as it is in use by consumer" in producer.reasons()
    renamed = copy.deepcopy(template)
    renamed["Outputs"][export]["Value"] = "another"
    assert producer.update(renamed) == "UPDATE_ROLLBACK_COMPLETE"
    assert f"{export} cannot be updated as it is in use by consumer" in producer.reasons()
    consumer.delete()
    assert producer.update(removed) == "UPDATE_COMPLETE", producer.reasons()
    producer.delete()
