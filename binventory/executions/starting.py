"""Starts the pipeline, and finds an execution by its name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from binventory.assembly.definitions import Definition
from binventory.core.aws import Aws, error_code, error_message
from binventory.core.deployed import not_deployed
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.executions.execution import NO_PIPELINE
from stacks.names import EMBED, SPOT_STEPS, continuing_pipeline

_NUMBERS = {"Integer": re.compile(r"-?\d+"), "Float": re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")}


def definition(aws: Aws, names: Names) -> dict[str, Any]:
    """The deployed pipeline's definition."""
    try:
        found = aws.client("sagemaker").describe_pipeline(PipelineName=names.prefix)
    except ClientError as error:
        if error_code(error) != "ResourceNotFound":
            raise
        raise not_deployed(aws, names, f"pipeline {names.prefix}") from error
    return dict(json.loads(found["PipelineDefinition"]))


def definition_on_demand(aws: Aws, names: Names) -> dict[str, Any] | None:
    """The definition that continues with Embed on demand after too many reclaims; None where the settings have none."""
    try:
        found = aws.client("sagemaker").describe_pipeline(PipelineName=continuing_pipeline(names.prefix, EMBED))
    except ClientError as error:
        if error_code(error) not in NO_PIPELINE:
            raise
        return None
    return dict(json.loads(found["PipelineDefinition"]))


def start(aws: Aws, names: Names, parameters: Mapping[str, str | int | float]) -> str:
    """Starts the pipeline and returns the execution's ARN."""
    try:
        reply = aws.client("sagemaker").start_pipeline_execution(
            PipelineName=names.prefix,
            PipelineParameters=[{"Name": name, "Value": str(value)} for name, value in parameters.items()],
        )
    except ClientError as error:
        if error_code(error) == "ResourceNotFound":
            raise not_deployed(aws, names, f"pipeline {names.prefix}") from error
        if error_code(error) != "ValidationException":
            raise
        raise Problem(
            f"The pipeline {names.prefix} did not start",
            error_message(error),
            "correct the parameter it names; `binventory train --help` lists them",
        ) from error
    return str(reply["PipelineExecutionArn"])


def newest(aws: Aws, names: Names) -> str:
    """ARN of the execution that started last."""
    try:
        found = aws.client("sagemaker").list_pipeline_executions(
            PipelineName=names.prefix, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
        )["PipelineExecutionSummaries"]
    except ClientError as error:
        if error_code(error) != "ResourceNotFound":
            raise
        found = []
    if not found:
        raise Problem(
            f"The pipeline {names.prefix} has not run",
            f"in {aws.place}, with these credentials, it has no execution or is not deployed",
            f"start one: {names.command('train')}",
            code=Exit.NOT_READY,
        )
    return str(found[0]["PipelineExecutionArn"])


def find(aws: Aws, names: Names, execution: str | None) -> str:
    """ARN of an execution that is named by its ARN or by the last part of it, or of the newest where none is named.

    Raises Problem where there is none.
    """
    if execution is None:
        return newest(aws, names)
    if execution.startswith("arn:"):
        return _known(aws, execution)
    sagemaker = aws.client("sagemaker")
    try:
        pages = sagemaker.get_paginator("list_pipeline_executions").paginate(
            PipelineName=names.prefix, SortBy="CreationTime", SortOrder="Descending"
        )
        arns = [str(item["PipelineExecutionArn"]) for page in pages for item in page["PipelineExecutionSummaries"]]
    except ClientError as error:
        if error_code(error) != "ResourceNotFound":
            raise
        raise not_deployed(aws, names, f"pipeline {names.prefix}") from error
    found = next((arn for arn in arns if arn.rsplit("/", 1)[-1] == execution), None)
    if found is None:
        raise Problem(
            f"There is no execution {execution} of the pipeline {names.prefix}",
            f"the newest of {len(arns)} is {arns[0].rsplit('/', 1)[-1]}" if arns else "it has not run",
            f"list them: aws sagemaker list-pipeline-executions --pipeline-name {names.prefix}",
            code=Exit.USAGE,
        )
    return found


def _known(aws: Aws, arn: str) -> str:
    """The ARN, which may be of another pipeline."""
    try:
        aws.client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)
    except ClientError as error:
        if error_code(error) not in {"ResourceNotFound", "ValidationException"}:
            raise
        raise Problem(
            f"There is no execution {arn}",
            error_message(error),
            "correct the ARN, or give the last part of one of this environment's executions",
            code=Exit.USAGE,
        ) from error
    return arn


def continued(aws: Aws, arn: str) -> str | None:
    """ARN of the execution that continues this one on demand after too many reclaims; None without one."""
    sagemaker = aws.client("sagemaker")
    name = arn.split("/")[-3]
    for first in reversed(SPOT_STEPS):
        pages = sagemaker.get_paginator("list_pipeline_executions").paginate(
            PipelineName=continuing_pipeline(name, first), SortOrder="Descending"
        )
        try:
            for summary in (summary for page in pages for summary in page["PipelineExecutionSummaries"]):
                if arn in summary.get("PipelineExecutionDescription", ""):
                    return str(summary["PipelineExecutionArn"])
        except ClientError as error:
            if error_code(error) not in NO_PIPELINE:
                raise
    return None


def check_parameters(definition: Definition, given: Mapping[str, Any]) -> None:
    """Refuses what the service would refuse, before the price is shown.

    Raises:
        Problem: a parameter is unknown, is no number where it must be, or is none of the allowed values.
    """
    declared = {item["Name"]: item for item in definition.get("Parameters", [])}
    for name, value in given.items():
        if name not in declared:
            close = difflib.get_close_matches(name, declared, n=1, cutoff=0.6)
            raise _wrong(name, f"the pipeline has {', '.join(sorted(declared)) or 'no parameters'}", *close)
        kind = declared[name]["Type"]
        if kind in _NUMBERS and not _NUMBERS[kind].fullmatch(str(value)):
            raise _wrong(name, f"{value} is no {kind}", f"{name}={declared[name].get('DefaultValue')}")
        allowed = declared[name].get("EnumValues", [])
        if allowed and value not in allowed:
            raise _wrong(name, f"{value} is none of {', '.join(allowed)}", f"{name}={allowed[0]}")


def _wrong(name: str, why: str, *better: str) -> Problem:
    cure = f"did you mean --set {better[0]}?" if better else "leave it out, or deploy a definition that has it"
    return Problem(f"The pipeline parameter {name} is not possible", why, cure, code=Exit.USAGE)
