"""boto3 clients, each made once because that takes longer than a request, and running pipeline executions."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import ClientError

from binventory.core.contents import bucket_and_key, whole

DENIED = frozenset({"AccessDenied", "AccessDeniedException"})
"""Codes of an error that says that the function may not make a request."""
_LOCK = threading.Lock()


def client(service: str) -> Any:
    """The client of a service in boto3's default session."""
    with _LOCK:
        if boto3.DEFAULT_SESSION is None:
            boto3.setup_default_session()
        return _made(boto3.DEFAULT_SESSION, service)


@cache
def _made(session: Any, service: str) -> Any:
    return session.client(service)


def read_object(uri: str) -> bytes:
    """The object at an s3:// address. Raises DamagedError where its bytes are not those that S3 names."""
    bucket, key = bucket_and_key(uri)
    return whole(client("s3").get_object(Bucket=bucket, Key=key), uri)


def execution_summaries(sagemaker: Any, pipeline: str) -> Iterator[dict[str, Any]]:
    """All executions of a pipeline, as ListPipelineExecutions describes them, the newest first."""
    for page in sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=pipeline):
        yield from page["PipelineExecutionSummaries"]


def list_executions(sagemaker: Any, pipeline: str, *states: str) -> list[str]:
    """ARNs of the executions in these states; of all executions where no state is given."""
    return [
        execution["PipelineExecutionArn"]
        for execution in execution_summaries(sagemaker, pipeline)
        if not states or execution["PipelineExecutionStatus"] in states
    ]


def stop_running(pipelines: Iterable[str]) -> int:
    """Stops the running executions of these pipelines without waiting for their end; returns their number.

    Raises ClientError for one that runs on, once the others are stopped.
    """
    sagemaker = client("sagemaker")
    running = [(pipeline, arn) for pipeline in pipelines for arn in list_executions(sagemaker, pipeline, "Executing")]
    stopped, refused = 0, None
    for pipeline, arn in running:
        try:
            # With a token of this request: SageMaker takes one that it knows for a stop that is done, and an execution
            # that a person has retried since would run on.
            sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=uuid.uuid4().hex)
            stopped += 1
        except ClientError as error:
            # It may have ended by itself since it was listed.
            if arn in list_executions(sagemaker, pipeline, "Executing"):
                refused = error
    if refused is not None:
        raise refused
    return stopped
