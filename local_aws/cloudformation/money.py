"""AWS::Budgets::Budget, by ministack's own Budgets service."""

from __future__ import annotations

from typing import Any

from local_aws.cloudformation.base import Created, ResourceType, Update
from local_aws.context import Context
from local_aws.wire import Document


def _create(context: Context, name: str, properties: Document) -> Created:
    budget = _api_budget(properties["Budget"])
    budget.setdefault("BudgetName", name)
    request: Document = {"AccountId": context.account, "Budget": budget}
    notifications = properties.get("NotificationsWithSubscribers")
    if notifications:
        request["NotificationsWithSubscribers"] = [_api_notification(item) for item in notifications]
    if properties.get("ResourceTags"):
        request["ResourceTags"] = properties["ResourceTags"]
    context.client("budgets").create_budget(**request)
    return budget["BudgetName"], {}


def _update(context: Context, change: Update) -> Created:
    _delete(context, change.physical_id, change.old)
    return _create(context, change.physical_id, change.new)


def _delete(context: Context, physical_id: str, properties: Document) -> None:
    client = context.client("budgets")
    try:
        client.delete_budget(AccountId=context.account, BudgetName=physical_id)
    except client.exceptions.NotFoundException:
        return


def _api_budget(budget: Document) -> Document:
    """CloudFormation writes amounts as numbers, the API as text."""
    converted = dict(budget)
    if "BudgetLimit" in budget:
        converted["BudgetLimit"] = _spend(budget["BudgetLimit"])
    if "PlannedBudgetLimits" in budget:
        converted["PlannedBudgetLimits"] = {
            moment: _spend(limit) for moment, limit in budget["PlannedBudgetLimits"].items()
        }
    for member in ("CostTypes",):
        if member in budget:
            converted[member] = {key: _flag(value) for key, value in budget[member].items()}
    return converted


def _api_notification(item: Document) -> Document:
    notification = dict(item["Notification"])
    notification["Threshold"] = float(notification["Threshold"])
    return {"Notification": notification, "Subscribers": item.get("Subscribers", [])}


def _spend(limit: Document) -> Document:
    return {"Amount": str(limit["Amount"]), "Unit": limit["Unit"]}


def _flag(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).lower() == "true"


TYPES = [ResourceType("AWS::Budgets::Budget", _create, _update, _delete, taggable=False)]
