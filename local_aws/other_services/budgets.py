"""Spent budgets: a test sets the actual spend, because there is no bill, and notifications are sent as on AWS."""

from __future__ import annotations

import logging
from decimal import Decimal, InvalidOperation

from local_aws.core.context import Context
from local_aws.core.errors import AwsError, validation
from local_aws.core.protocol import Document
from local_aws.ministack import hooks
from local_aws.ministack.deliveries import service_denial
from local_aws.other_services import cost_tags

_log = logging.getLogger(__name__)


def spend(context: Context, request: Document) -> Document:
    """Set the actual spend: `{"BudgetName": ..., "Amount": "12.5", "Credits": "12.5"}`.

    `Credits` is what credits pay of it, nothing by default: a budget that includes them counts the rest, as all do that
    do not exclude them. A budget sees no costs by a tag that is not active. Notifies the subscribers of every ACTUAL
    notification whose threshold is reached for the first time; returns those thresholds as `Notified`.
    """
    name, amount, credits = request.get("BudgetName"), _amount(request, "Amount"), _amount(request, "Credits", "0")
    if not isinstance(name, str):
        raise validation("BudgetName must be the name of a budget")
    asked = _budget(context, name)
    if asked.get("CostTypes", {}).get("IncludeCredit", True):
        amount -= credits
    if not cost_tags.counts(context, asked):
        amount = Decimal(0)
    notifications = hooks.set_budget_spend(name, str(amount), account=context.account)
    budget = _budget(context, name)
    limit = Decimal(budget.get("BudgetLimit", {}).get("Amount", "0"))
    notified = []
    for entry in notifications or ():
        notification = entry["notification"]
        if notification["NotificationType"] != "ACTUAL":
            continue
        reached = _reached(notification, amount, limit)
        if reached and notification.get("NotificationState") != "ALARM":
            notified.append(notification["Threshold"])
            _notify(context, budget, notification, entry["subscribers"])
        notification["NotificationState"] = "ALARM" if reached else "OK"
    return {"BudgetName": name, "Amount": str(amount), "Notified": notified}


def _budget(context: Context, name: str) -> Document:
    client = context.client("budgets")
    try:
        found: Document = client.describe_budget(AccountId=context.account, BudgetName=name)["Budget"]
    except client.exceptions.NotFoundException:
        raise AwsError("NotFoundException", f"There is no budget {name}", 404) from None
    return found


def _amount(request: Document, name: str, usual: str = "") -> Decimal:
    text = request.get(name, usual)
    try:
        amount = Decimal(str(text))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise validation(f"{name} must be a number of at least 0, got {text!r}")
    return amount


def _reached(notification: Document, amount: Decimal, limit: Decimal) -> bool:
    threshold = Decimal(str(notification["Threshold"]))
    if notification.get("ThresholdType", "PERCENTAGE") == "PERCENTAGE":
        threshold = threshold * limit / 100
    comparisons = {"GREATER_THAN": amount > threshold, "LESS_THAN": amount < threshold, "EQUAL_TO": amount == threshold}
    return comparisons[notification["ComparisonOperator"]]


def _notify(context: Context, budget: Document, notification: Document, subscribers: list[Document]) -> None:
    limit = budget.get("BudgetLimit", {})
    spent = budget["CalculatedSpend"]["ActualSpend"]
    message = (
        f"AWS Budget Notification\nAWS Account {context.account}\n\nBudget Name: {budget['BudgetName']}\n"
        f"Budgeted Amount: ${limit.get('Amount')}\nAlert Type: ACTUAL\n"
        f"Alert Threshold: > {notification['Threshold']}\nACTUAL Amount: ${spent['Amount']}\n"
    )
    for subscriber in subscribers:
        if subscriber["SubscriptionType"] != "SNS":
            _log.info("would send mail to %s: budget %s", subscriber["Address"], budget["BudgetName"])
            continue
        denied = context.enforce_iam and service_denial(
            "budgets.amazonaws.com",
            f"arn:aws:budgets::{context.account}:budget/{budget['BudgetName']}",
            subscriber["Address"],
            account=context.account,
            region=context.region,
        )
        if denied:
            _log.warning("budget %s did not notify %s: %s", budget["BudgetName"], subscriber["Address"], denied)
            continue
        subject = f"AWS Budgets: {budget['BudgetName']} has exceeded your alert threshold"[:100]
        context.client("sns").publish(TopicArn=subscriber["Address"], Subject=subject, Message=message)
