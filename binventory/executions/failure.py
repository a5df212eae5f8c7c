"""Why an execution did not succeed, and what to do about it."""

from __future__ import annotations

import json

from botocore.exceptions import ClientError

from binventory.assembly.definitions import defaults_of
from binventory.core.aws import Aws
from binventory.core.errors import Problem
from binventory.executions.execution import Execution, parameters_of
from binventory.executions.jobs import log_tail
from stacks.names import LIMIT_PER_CLASS, PHOTOS_URI


def explain(aws: Aws, execution: Execution) -> Problem:
    """Why an execution did not succeed, with the log of the job that failed."""
    refused = next((step for step in execution.steps if step.kind == "Fail"), None)
    if refused is not None:
        return Problem(
            "The pipeline refused the model",
            refused.detail or refused.failure or "the gate's condition was not met",
            f"read evaluation.json, then {_more_photos(aws, execution)}, or lower the parameter AccuracyThreshold",
        )
    failed = next((step for step in execution.steps if step.status == "Failed"), None)
    if failed is None:
        return Problem(
            f"The pipeline execution ended as {execution.status}",
            execution.failure or "the service gives no reason",
            f"look at it: aws sagemaker list-pipeline-execution-steps --pipeline-execution-arn {execution.arn}",
        )
    cure = f"the end of the log of {failed.job or failed.name} is above; correct it and start the pipeline again"
    if failed.kind == "Lambda":
        function = failed.detail.rpartition(":")[-1]
        cure = f"correct the parameter it names and start the pipeline again; its log is /aws/lambda/{function}"
    return Problem(
        f"Step {failed.name} failed",
        failed.failure or execution.failure or "the service gives no reason",
        cure,
        log=log_tail(aws, failed),
    )


def _more_photos(aws: Aws, execution: Execution) -> str:
    """What to do to train on more photos."""
    try:
        described = aws.client("sagemaker").describe_pipeline(PipelineName=execution.arn.split("/")[-3])
        values = defaults_of(json.loads(described["PipelineDefinition"])) | parameters_of(aws, execution.arn)
    except ClientError:
        values = {}
    if int(values.get(LIMIT_PER_CLASS) or 0):
        return f"train on more photos of each count than {values['LimitPerClass']}: --set LimitPerClass=..."
    where = values.get(PHOTOS_URI) or "the same address"
    return f"put more photos at {where}: the next execution reads them"
