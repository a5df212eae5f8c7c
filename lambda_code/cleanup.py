"""Lets `cdk destroy` leave nothing behind: a CloudFormation custom resource that acts when it is deleted.

CloudFormation cannot delete a bucket with objects, a model package group with packages or a pipeline that runs. Each
has a custom resource beside it that is deleted first. It acts only while the whole stack is deleted or its creation
is rolled back: taking the custom resource out of the template must not empty the bucket that stays.
"""

from __future__ import annotations

import json
import traceback
import urllib.request
from typing import Any

import boto3

from leftovers import bound_job_logs, delete_model_packages, empty_bucket, end_pipeline

ACTS = {
    "BucketName": empty_bucket,
    "ModelPackageGroupName": delete_model_packages,
    "PipelineName": end_pipeline,
}
_STACK_ENDS = ("DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS")


def handler(event: dict[str, Any], context: Any) -> None:
    """Answers CloudFormation, which would otherwise wait for an hour, whatever happens."""
    try:
        reason = clean_up(event)
        status = "SUCCESS"
    except Exception as error:
        traceback.print_exc()
        reason, status = f"{type(error).__name__}: {error}", "FAILED"
    print(json.dumps({"request": event["RequestType"], "status": status, "reason": reason}))
    _answer(event, status, reason)


def clean_up(event: dict[str, Any]) -> str:
    """Does what the request asks for and says what was done."""
    properties = event["ResourceProperties"]
    if "JobLogRetentionDays" in properties:
        return _bound_job_logs(event["RequestType"], int(properties["JobLogRetentionDays"]))
    subject = next(name for name in ACTS if name in properties)
    name = properties[subject]
    if event["RequestType"] != "Delete":
        return f"{name} will be emptied when its stack is deleted"
    stacks = boto3.client("cloudformation").describe_stacks(StackName=event["StackId"])["Stacks"]
    status = stacks[0]["StackStatus"]
    if status not in _STACK_ENDS:
        return f"{name} is left as it is: its stack stays ({status})"
    count = ACTS[subject](name)
    return f"{name}: {count} removed"


def _bound_job_logs(request: str, days: int) -> str:
    if request == "Delete":
        return "the groups of SageMaker's job logs are the account's, and stay"
    made = bound_job_logs(days)
    return f"{', '.join(made)} made, kept for {days} days" if made else "the groups of job logs were there already"


def _answer(event: dict[str, Any], status: str, reason: str) -> None:
    body = {
        "Status": status,
        "Reason": reason[:1000],
        # Stable, so that an update never looks like a replacement, which would delete the old one and so act.
        "PhysicalResourceId": event.get("PhysicalResourceId", event["LogicalResourceId"]),
        **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
    }
    request = urllib.request.Request(
        event["ResponseURL"], data=json.dumps(body).encode(), method="PUT", headers={"Content-Type": ""}
    )
    urllib.request.urlopen(request, timeout=30).close()
