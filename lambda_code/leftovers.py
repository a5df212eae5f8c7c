"""Removes what keeps CloudFormation from deleting a bucket, a model package group or a pipeline, and the jobs' logs.

SageMaker's jobs log to groups that all jobs of an account share. Without a retention the logs are kept for ever.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
from botocore.exceptions import ClientError

from functions.aws import DENIED, list_executions, stop_running
from stacks.names import JOB_LOG_GROUPS, TRANSFORM_GROUP

_BATCH = 1000
_POLL_SECONDS = 5.0
_STOP_SECONDS = 12 * 60.0
_ALLOWED_SECONDS = 2 * 60.0
"""How long IAM may take to apply a policy that CloudFormation has made: https://github.com/aws/aws-cdk/issues/37675"""
_END_SECONDS = 14 * 60.0
"""For all of a pipeline's end: a minute less than the function may run, so that CloudFormation gets an answer."""


def empty_bucket(name: str) -> int:
    """Deletes every object, version and delete marker; returns their number.

    Writing is denied first: access logs arrive late, and one that arrives after this would keep the bucket.
    """
    s3 = boto3.client("s3")
    _deny_writing(s3, name)
    deleted = 0
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found]
        for start in range(0, len(objects), _BATCH):
            batch = objects[start : start + _BATCH]
            answer = s3.delete_objects(Bucket=name, Delete={"Objects": batch, "Quiet": True})
            if answer.get("Errors"):
                first = answer["Errors"][0]
                raise RuntimeError(
                    f"{first['Key']} cannot be deleted from bucket {name}: {first['Code']} {first.get('Message', '')}; "
                    "lift what protects it, then delete the stack again"
                )
            deleted += len(batch)
    return deleted


def delete_model_packages(group: str) -> int:
    """Deletes every version in the group; returns their number."""
    sagemaker = boto3.client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    arns = [package["ModelPackageArn"] for page in pages for package in page["ModelPackageSummaryList"]]
    for arn in arns:
        sagemaker.delete_model_package(ModelPackageName=arn)
    return len(arns)


def stop_executions(pipeline: str) -> int:
    """Stops the running executions and waits for their end; returns their number.

    Raises:
        TimeoutError: an execution did not end.
    """
    sagemaker = boto3.client("sagemaker")
    running = stop_running([pipeline])
    deadline = time.monotonic() + _STOP_SECONDS
    while list_executions(sagemaker, pipeline, "Executing", "Stopping"):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"executions of {pipeline} are still running after {_STOP_SECONDS:.0f} s; "
                "delete the stack again when they have stopped"
            )
        time.sleep(_POLL_SECONDS)
    return running


def end_pipeline(pipeline: str) -> int:
    """Stops running executions and deletes the job logs of all; returns the number of executions and streams.

    Raises:
        TimeoutError: an execution did not end, or there are more logs than can be deleted in time.
    """
    deadline = time.monotonic() + _END_SECONDS
    stopped = stop_executions(pipeline)
    sagemaker = boto3.client("sagemaker")
    ids = [arn.rsplit("/", 1)[-1] for arn in list_executions(sagemaker, pipeline)]
    return stopped + delete_job_logs(pipeline, ids, deadline)


def _deny_writing(s3: Any, bucket: str) -> None:
    try:
        policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucketPolicy":
            raise
        policy = {"Version": "2012-10-17", "Statement": []}
    partition = boto3.session.Session().get_partition_for_region(s3.meta.region_name)
    policy["Statement"].append(
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": f"arn:{partition}:s3:::{bucket}/*",
        }
    )
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def bound_job_logs(days: int) -> list[str]:
    """Makes the log groups that do not exist yet, with this retention; returns their names.

    A group that exists is left as it is, since other jobs of the account use it too.
    """
    logs = boto3.client("logs")
    made = []
    for group in JOB_LOG_GROUPS:
        try:
            _once_allowed(partial(logs.create_log_group, logGroupName=group))
        except logs.exceptions.ResourceAlreadyExistsException:
            continue
        _once_allowed(partial(logs.put_retention_policy, logGroupName=group, retentionInDays=days))
        made.append(group)
    return made


def _once_allowed(request: Callable[[], object]) -> None:
    """Makes a request, again where it is denied: the policy that allows it is new, and IAM takes a while to apply it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    """
    deadline = time.monotonic() + _ALLOWED_SECONDS
    while True:
        try:
            request()
        except ClientError as error:
            if error.response["Error"]["Code"] not in DENIED or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_POLL_SECONDS)


def delete_job_logs(pipeline: str, execution_ids: list[str], deadline: float) -> int:
    """Deletes the logs of the executions' jobs and trials and of transform jobs; returns the number of streams.

    Raises:
        TimeoutError: some are left at the deadline, which is on the monotonic clock.
    """
    logs = boto3.client("logs")
    # The command line names transform jobs after the environment, as the pipeline is, and their purpose.
    deleted = sum(
        _delete_streams(logs, TRANSFORM_GROUP, f"{pipeline}-{purpose}-", deadline) for purpose in ("audit", "count")
    )
    for group in JOB_LOG_GROUPS:
        for execution in execution_ids:
            # SageMaker names jobs `pipelines-<execution>-...`, and those of a search after the execution alone.
            for prefix in (f"pipelines-{execution}-", f"{execution}-"):
                deleted += _delete_streams(logs, group, prefix, deadline)
    return deleted


def _delete_streams(logs: Any, group: str, prefix: str, deadline: float) -> int:
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=group, logStreamNamePrefix=prefix)
    try:
        names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    except logs.exceptions.ResourceNotFoundException:
        return 0
    for number, name in enumerate(names):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{len(names) - number} or more log streams of group {group} are left; delete the stack again"
            )
        logs.delete_log_stream(logGroupName=group, logStreamName=name)
    return len(names)
