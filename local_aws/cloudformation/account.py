"""AWS::Budgets::Budget and AWS::IAM::OIDCProvider, by ministack's services; AWS::CE::*, which are records only.

Without bills there is no cost anomaly to detect, so a monitor and its subscription are only checked against the API's
shapes.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

from local_aws.cloudformation.resource_type import Created, ResourceType, Update
from local_aws.core.context import Context
from local_aws.core.errors import validation
from local_aws.core.protocol import Document

_ANY_THUMBPRINT = "0" * 40  # AWS finds the real one when a template gives none


def _create_budget(context: Context, name: str, properties: Document) -> Created:
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


def _update_budget(context: Context, change: Update) -> Created:
    """Only the budget itself changes in place: CloudFormation replaces a budget for another name or other alerts."""
    budget = _api_budget(change.new["Budget"]) | {"BudgetName": change.physical_id}
    context.client("budgets").update_budget(AccountId=context.account, NewBudget=budget)
    return change.physical_id, {}


def _delete_budget(context: Context, physical_id: str, properties: Document) -> None:
    client = context.client("budgets")
    try:
        client.delete_budget(AccountId=context.account, BudgetName=physical_id)
    except client.exceptions.NotFoundException:
        return


def _create_monitor(context: Context, name: str, properties: Document) -> Created:
    monitor = {key: value for key, value in properties.items() if key in ("MonitorName", "MonitorType")}
    if "MonitorSpecification" in properties:
        monitor["MonitorSpecification"] = json.loads(properties["MonitorSpecification"])
    _check("CreateAnomalyMonitor", {"AnomalyMonitor": monitor})
    arn = _anomaly_arn(context, "anomalymonitor")
    return arn, {"MonitorArn": arn}


def _create_subscription(context: Context, name: str, properties: Document) -> Created:
    subscription = dict(properties)
    if "ThresholdExpression" in subscription:
        subscription["ThresholdExpression"] = json.loads(subscription["ThresholdExpression"])
    subscription.pop("ResourceTags", None)
    _check("CreateAnomalySubscription", {"AnomalySubscription": subscription})
    arn = _anomaly_arn(context, "anomalysubscription")
    return arn, {"SubscriptionArn": arn}


def _check(operation: str, request: Document) -> None:
    model = botocore.session.get_session().get_service_model("ce").operation_model(operation)
    shape = model.input_shape
    assert shape is not None, "operations that create have an input"
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        raise validation(report.generate_report())


def _anomaly_arn(context: Context, kind: str) -> str:
    return f"arn:aws:ce::{context.account}:{kind}/{uuid.uuid4()}"


def _update_anomaly(context: Context, change: Update) -> Created:
    """The stack's record changes; the ARN stays."""
    attribute = "MonitorArn" if ":anomalymonitor/" in change.physical_id else "SubscriptionArn"
    return change.physical_id, {attribute: change.physical_id}


def _delete_anomaly(context: Context, physical_id: str, properties: Document) -> None:
    """Nothing to delete: only the stack's record exists."""


def _api_budget(budget: Document) -> Document:
    """A budget as the API expects it: amounts are numbers in CloudFormation and text in the API."""
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


def _create_provider(context: Context, name: str, properties: Document) -> Created:
    arn: str = context.client("iam").create_open_id_connect_provider(
        Url=properties["Url"],
        ClientIDList=properties.get("ClientIdList", []),
        ThumbprintList=properties.get("ThumbprintList") or [_ANY_THUMBPRINT],
        Tags=properties.get("Tags", []),
    )["OpenIDConnectProviderArn"]
    return arn, {"Arn": arn}


def _update_provider(context: Context, change: Update) -> Created:
    """Delete and create the provider; its ARN stays, because a change of the URL replaces it."""
    _delete_provider(context, change.physical_id, change.old)
    return _create_provider(context, "", change.new)


def _delete_provider(context: Context, physical_id: str, properties: Document) -> None:
    client = context.client("iam")
    try:
        client.delete_open_id_connect_provider(OpenIDConnectProviderArn=physical_id)
    except client.exceptions.NoSuchEntityException:
        return


TYPES = [
    ResourceType(
        "AWS::Budgets::Budget",
        _create_budget,
        _update_budget,
        _delete_budget,
        replacing=("NotificationsWithSubscribers", "Budget.BudgetName"),
        taggable=False,
    ),
    ResourceType("AWS::CE::AnomalyMonitor", _create_monitor, _update_anomaly, _delete_anomaly, taggable=False),
    ResourceType(
        "AWS::CE::AnomalySubscription", _create_subscription, _update_anomaly, _delete_anomaly, taggable=False
    ),
    ResourceType("AWS::IAM::OIDCProvider", _create_provider, _update_provider, _delete_provider, replacing=("Url",)),
]
