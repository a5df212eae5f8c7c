"""The logs of SageMaker's jobs: in groups that all of an account's jobs share, kept for ever unless somebody says."""

from __future__ import annotations

from typing import Any

import boto3

TRANSFORM_GROUP = "/aws/sagemaker/TransformJobs"
GROUPS = ("/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs", TRANSFORM_GROUP)


def bound(days: int) -> list[str]:
    """Makes the groups that are not there yet, with an end for what is in them; returns their names.

    A group that exists is left as it is: other jobs of the account may count on it.
    """
    logs = boto3.client("logs")
    made = []
    for group in GROUPS:
        try:
            logs.create_log_group(logGroupName=group)
        except logs.exceptions.ResourceAlreadyExistsException:
            continue
        logs.put_retention_policy(logGroupName=group, retentionInDays=days)
        made.append(group)
    return made


def delete_streams(pipeline: str, execution_ids: list[str]) -> int:
    """Deletes the logs of the executions' jobs and trials and of the transform jobs; returns how many streams."""
    logs = boto3.client("logs")
    # The command line names transform jobs after the environment, as the pipeline is, and what they are for.
    deleted = sum(_delete(logs, TRANSFORM_GROUP, f"{pipeline}-{purpose}-") for purpose in ("audit", "count"))
    for group in GROUPS:
        for execution in execution_ids:
            # SageMaker names jobs `pipelines-<execution>-...`, and those of a search after the execution alone.
            for prefix in (f"pipelines-{execution}-", f"{execution}-"):
                deleted += _delete(logs, group, prefix)
    return deleted


def _delete(logs: Any, group: str, prefix: str) -> int:
    pages = logs.get_paginator("describe_log_streams").paginate(logGroupName=group, logStreamNamePrefix=prefix)
    try:
        names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    except logs.exceptions.ResourceNotFoundException:
        return 0
    for name in names:
        logs.delete_log_stream(logGroupName=group, logStreamName=name)
    return len(names)
