"""AWS::Budgets::Budget and AWS::IAM::OIDCProvider, by ministack's services; AWS::CE::*, which are records only.

Without bills there is no cost anomaly to detect, so a monitor and its subscription are only checked against the API's
shapes.
"""

from __future__ import annotations

import json
import uuid

from local_aws.cloudformation.resource_type import Created, ResourceType, Update, typed
from local_aws.core.context import Context
from local_aws.core.errors import validation
from local_aws.core.protocol import COST_EXPLORER, Document
from local_aws.core.shapes import operation_model, violations

_BUDGETS = "budgets"
_ANY_THUMBPRINT = "0" * 40  # AWS finds the real one when a template gives none


def _create_budget(context: Context, name: str, properties: Document) -> Created:
    request = typed("CreateBudget", properties | {"AccountId": context.account}, _BUDGETS)
    request["Budget"].setdefault("BudgetName", name)
    context.client(_BUDGETS).create_budget(**request)
    return request["Budget"]["BudgetName"], {}


def _update_budget(context: Context, change: Update) -> Created:
    """Budget and tags change in place: CloudFormation replaces a budget for another name or other alerts."""
    budget = change.new["Budget"] | {"BudgetName": change.physical_id}
    request = typed("UpdateBudget", {"AccountId": context.account, "NewBudget": budget}, _BUDGETS)
    client = context.client(_BUDGETS)
    client.update_budget(**request)
    arn = f"arn:aws:budgets::{context.account}:budget/{change.physical_id}"
    new = change.new.get("ResourceTags", [])
    gone = {tag["Key"] for tag in change.old.get("ResourceTags", [])} - {tag["Key"] for tag in new}
    if gone:
        client.untag_resource(ResourceARN=arn, ResourceTagKeys=sorted(gone))
    if new:
        client.tag_resource(ResourceARN=arn, ResourceTags=new)
    return change.physical_id, {}


def _delete_budget(context: Context, physical_id: str, properties: Document) -> None:
    client = context.client(_BUDGETS)
    try:
        client.delete_budget(AccountId=context.account, BudgetName=physical_id)
    except client.exceptions.NotFoundException:
        return


def _anomaly(noun: str, document: str, *replacing: str) -> ResourceType:
    """A monitor or a subscription.

    Args:
        noun: `Monitor` or `Subscription`.
        document: the property that is JSON in CloudFormation and a structure in the API.
        replacing: properties whose change makes another one.
    """

    def check(stated: Document) -> None:
        given = {key: value for key, value in stated.items() if key != "ResourceTags"}
        if document in given:
            given[document] = json.loads(given[document])
        operation, request = f"CreateAnomaly{noun}", {f"Anomaly{noun}": given}
        shape = operation_model(operation, COST_EXPLORER).input_shape
        if wrong := violations(shape, typed(operation, request, COST_EXPLORER)):
            raise validation("; ".join(wrong))

    def create(context: Context, name: str, properties: Document) -> Created:
        check(properties)
        arn = f"arn:aws:ce::{context.account}:anomaly{noun.lower()}/{uuid.uuid4()}"
        return arn, {f"{noun}Arn": arn}

    def update(context: Context, change: Update) -> Created:
        """The stack's record changes; the ARN stays."""
        check(change.new)
        return change.physical_id, {f"{noun}Arn": change.physical_id}

    def delete(context: Context, physical_id: str, properties: Document) -> None:
        """Nothing to delete: only the stack's record exists."""

    return ResourceType(f"AWS::CE::Anomaly{noun}", create, update, delete, replacing, taggable=False)


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
    _anomaly(
        "Monitor", "MonitorSpecification", "MonitorSpecification", "MonitorType", "MonitorDimension", "ResourceTags"
    ),
    _anomaly("Subscription", "ThresholdExpression", "ResourceTags"),
    ResourceType(
        "AWS::IAM::OIDCProvider",
        _create_provider,
        _update_provider,
        _delete_provider,
        replacing=("Url",),
    ),
]
