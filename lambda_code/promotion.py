"""Puts an approved model package behind the endpoint: the handler of a Lambda function.

It is called by the event that SageMaker sends when a model package changes its state. An event may come twice, late or
for another group, so it is taken as a hint only: what counts is what the registry and the stack say now.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import boto3

from serving_stack import ENDPOINT_STATE, MODEL_PACKAGE_ARN, Outcome, ServingStack

APPROVED = "Approved"
# Lambda ends the function after 15 minutes; it must give up earlier to say why, and is then called again.
PATIENCE_SECONDS = 13 * 60


@dataclass(frozen=True)
class Answer:
    """What the function did, as it is logged and returned."""

    outcome: str
    """`started`, `unchanged` or `ignored`."""
    reason: str
    model_package_arn: str


def handler(event: dict[str, Any], context: object) -> dict[str, str]:
    """Updates the serving stack for an approval; other events are ignored.

    Raises:
        StackBusyError, StackUnusableError, botocore.exceptions.ClientError: nothing was changed; Lambda tries again.
    """
    answer = promote(event, group=os.environ["MODEL_PACKAGE_GROUP"], stack=os.environ["SERVING_STACK"])
    record = {"outcome": answer.outcome, "reason": answer.reason, "model_package_arn": answer.model_package_arn}
    print(json.dumps(record))
    return record


def promote(event: dict[str, Any], *, group: str, stack: str) -> Answer:
    """The decision and the act."""
    detail = event.get("detail", {})
    arn = detail.get("ModelPackageArn", "")
    if detail.get("ModelPackageGroupName") != group:
        return Answer("ignored", f"the event is about group {detail.get('ModelPackageGroupName')}, not {group}", arn)
    if detail.get("ModelApprovalStatus") != APPROVED:
        return Answer("ignored", f"the event says {detail.get('ModelApprovalStatus')}, not {APPROVED}", arn)
    package = boto3.client("sagemaker").describe_model_package(ModelPackageName=arn)
    status = package["ModelApprovalStatus"]
    if status != APPROVED:
        return Answer("ignored", f"the model package was approved, but is {status} by now", arn)
    wanted = {MODEL_PACKAGE_ARN: arn, ENDPOINT_STATE: "on"}
    outcome = ServingStack(boto3.client("cloudformation"), stack).change(wanted, PATIENCE_SECONDS)
    if outcome is Outcome.UNCHANGED:
        return Answer(outcome, f"stack {stack} serves this model package already", arn)
    return Answer(outcome, f"stack {stack} is being updated", arn)
