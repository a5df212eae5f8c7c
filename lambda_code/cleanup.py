"""Clean-up: a CloudFormation custom resource, so that `cdk destroy` leaves nothing behind.

CloudFormation cannot delete a bucket with objects, a model package group with packages or a running pipeline. So each
has a custom resource that is deleted first and empties it. It does so only while the whole stack is deleted or its
creation is rolled back: removing the custom resource from the template must not empty a bucket that stays.
"""

from __future__ import annotations

import json
import traceback
import urllib.request
from typing import Any

import boto3
from botocore.exceptions import ClientError

from leftovers import bound_job_logs, delete_model_packages, empty_bucket, end_pipeline

ACTS = {
    "BucketName": empty_bucket,
    "ModelPackageGroupName": delete_model_packages,
    "PipelineName": end_pipeline,
}
_LONGEST_REASON = 1000
_LONGEST_ANSWER = 4096
"""Bytes: CloudFormation refuses a longer answer with `Response object is too long`, and with it the reason."""
_STACK_ENDS = ("DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS")


def handler(event: dict[str, Any], context: Any) -> None:
    """Does the request, and answers CloudFormation in every case: without an answer it would wait for an hour."""
    try:
        reason = clean_up(event)
        status = "SUCCESS"
    except Exception as error:
        traceback.print_exc()
        reason, status = f"{type(error).__name__}: {error}", "FAILED"
    print(json.dumps({"request": event["RequestType"], "status": status, "reason": reason}))
    _answer(event, status, reason)


def clean_up(event: dict[str, Any]) -> str:
    """Does the request; returns what was done, in words."""
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
    try:
        count = ACTS[subject](name)
    except ClientError as error:
        if not _is_gone(error):
            raise
        return f"{name} was deleted before"
    return f"{name}: {count} removed"


def _is_gone(error: ClientError) -> bool:
    """Whether the resource does not exist: somebody deleted it by hand. CloudFormation takes that for deleted, too."""
    code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    # That of a model package group is the code of any wrong request.
    return code in {"NoSuchBucket", "ResourceNotFound"} or (
        code == "ValidationException" and "does not exist" in message
    )


def _bound_job_logs(request: str, days: int) -> str:
    if request == "Delete":
        return "the groups of SageMaker's job logs are the account's, and stay"
    made = bound_job_logs(days)
    return f"{', '.join(made)} made, kept for {days} days" if made else "the groups of job logs were there already"


def _answer(event: dict[str, Any], status: str, reason: str) -> None:
    body = {
        "Status": status,
        # Stable: with a new id CloudFormation would see a replacement and delete the old resource, which would act.
        "PhysicalResourceId": event.get("PhysicalResourceId", event["LogicalResourceId"]),
        **{key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")},
    }
    request = urllib.request.Request(
        event["ResponseURL"], data=_with_reason(body, reason), method="PUT", headers={"Content-Type": ""}
    )
    urllib.request.urlopen(request, timeout=30).close()


def _with_reason(body: dict[str, Any], reason: str) -> bytes:
    """The answer, with as much of the reason as it may hold: a key of S3 may have letters of several bytes."""
    answers = (
        json.dumps({**body, "Reason": reason[:length]}, ensure_ascii=False).encode()
        for length in range(_LONGEST_REASON, -1, -1)
    )
    return next(answer for answer in answers if len(answer) <= _LONGEST_ANSWER)
