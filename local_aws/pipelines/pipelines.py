"""Pipelines and executions: CreatePipeline, StartPipelineExecution and the other operations."""

from __future__ import annotations

import json
import secrets
import string
from typing import Any

from local_aws.core import tags
from local_aws.core.context import Context
from local_aws.core.errors import conflict, not_found, validation
from local_aws.core.listing import Sorting, cut, list_page, named
from local_aws.core.objects import S3Uri
from local_aws.core.protocol import Document
from local_aws.core.wire import describe, summarise
from local_aws.jobs.running import Jobs, from_before
from local_aws.pipelines.arguments import check_arguments
from local_aws.pipelines.definition import read_definition
from local_aws.pipelines.execution_record import ENDED, STEPS, ExecutionRecord, forget_successes
from local_aws.pipelines.execution_record import FAMILY as EXECUTIONS
from local_aws.pipelines.executor import PipelineRun

PIPELINES = "Pipeline"
_TOKEN = "_Token"
_STOP_TOKEN = "_StopToken"
_RETRY_TOKEN = "_RetryToken"
_ALPHABET = string.ascii_lowercase + string.digits
_DEFINITION_MEMBERS = ("PipelineDefinition", "PipelineDefinitionS3Location")


def create_pipeline(context: Context, request: Document) -> Document:
    """Create a pipeline; its definition is checked."""
    name = request["PipelineName"]
    arn = context.arn("pipeline", name)
    now = context.now()
    pipeline = {
        key: value
        for key, value in request.items()
        if key not in {"Tags", "ClientRequestToken", "PipelineDefinitionS3Location"}
    } | {
        "PipelineArn": arn,
        "PipelineDefinition": _definition(context, request),
        "PipelineStatus": "Active",
        "CreationTime": now,
        "LastModifiedTime": now,
        _TOKEN: request["ClientRequestToken"],
    }
    pipeline.setdefault("PipelineDisplayName", name)
    if not tags.store_new(context, PIPELINES, name, pipeline, arn, request.get("Tags")):
        existing = context.table(PIPELINES).get(name) or {}
        if existing.get(_TOKEN) == request["ClientRequestToken"]:
            return {"PipelineArn": arn}
        raise validation(f"Pipeline names must be unique within an AWS account and region. Pipeline {name} exists")
    return {"PipelineArn": arn}


def update_pipeline(context: Context, request: Document) -> Document:
    """Change a pipeline; running executions keep their definition."""
    pipeline = _pipeline(context, request["PipelineName"])
    changes: Document = {
        key: request[key]
        for key in ("PipelineDisplayName", "PipelineDescription", "RoleArn", "ParallelismConfiguration")
        if key in request
    }
    if any(member in request for member in _DEFINITION_MEMBERS):
        changes["PipelineDefinition"] = _definition(context, request)
    changes["LastModifiedTime"] = context.now()
    context.table(PIPELINES).update(pipeline["PipelineName"], lambda stored: stored.update(changes))
    return {"PipelineArn": pipeline["PipelineArn"]}


def describe_pipeline(context: Context, request: Document) -> Document:
    """Everything about one pipeline, by name or ARN."""
    return describe("DescribePipeline", _pipeline(context, request["PipelineName"]))


def delete_pipeline(context: Context, request: Document) -> Document:
    """Delete a pipeline and its executions, with their results in the cache; refused while one runs."""
    with context.shared(Jobs).starting:  # no execution starts meanwhile
        pipeline = _pipeline(context, request["PipelineName"])
        arn = pipeline["PipelineArn"]
        executions = _executions(context, arn)
        running = [e for e in executions if e["PipelineExecutionStatus"] not in ENDED]
        if running:
            raise conflict(f"Pipeline {arn} has {len(running)} running executions; stop them first")
        forget_successes(context, {execution["PipelineExecutionArn"] for execution in executions})
        for execution in executions:
            context.table(EXECUTIONS).delete(execution["PipelineExecutionArn"])
        tags.delete(context, PIPELINES, pipeline["PipelineName"], arn)
    return {"PipelineArn": arn}


def list_pipelines(context: Context, request: Document) -> Document:
    """All pipelines, newest first unless the request says otherwise."""
    prefix = request.get("PipelineNamePrefix", "")
    found = [item for item in context.table(PIPELINES).all() if item["PipelineName"].startswith(prefix)]
    page = list_page(found, _with_usual_names(request), name="PipelineName")
    return page.reply("PipelineSummaries", summarise("ListPipelines", "PipelineSummaries", page.documents))


def start_pipeline_execution(context: Context, request: Document) -> Document:
    """Start an execution; the same ClientRequestToken starts it once only."""
    token = request["ClientRequestToken"]
    with context.shared(Jobs).starting:
        pipeline = _pipeline(context, request["PipelineName"])
        values = read_definition(pipeline["PipelineDefinition"]).values(request.get("PipelineParameters", []))
        with context.store.transaction():
            for execution in _executions(context, pipeline["PipelineArn"]):
                if execution[_TOKEN] == token:
                    return {"PipelineExecutionArn": execution["PipelineExecutionArn"]}
            execution = _new_execution(context, pipeline, request, values)
            context.table(EXECUTIONS).put(execution["PipelineExecutionArn"], execution)
            moment = {"LastRunTime": execution["CreationTime"]}
            context.table(PIPELINES).update(pipeline["PipelineName"], lambda stored: stored.update(moment))
        ExecutionRecord(context, execution["PipelineExecutionArn"]).announce(execution, None)
        _run(context, execution["PipelineExecutionArn"])
    return {"PipelineExecutionArn": execution["PipelineExecutionArn"]}


def _new_execution(context: Context, pipeline: Document, request: Document, values: dict[str, Any]) -> Document:
    identifier = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    now = context.now()
    execution = {
        "PipelineArn": pipeline["PipelineArn"],
        "PipelineExecutionArn": f"{pipeline['PipelineArn']}/execution/{identifier}",
        "PipelineExecutionDisplayName": request.get("PipelineExecutionDisplayName", f"execution-{int(now * 1000)}"),
        "PipelineExecutionStatus": "Executing",
        "CreationTime": now,
        "LastModifiedTime": now,
        "StartTime": now,
        "_Id": identifier,
        "_PipelineName": pipeline["PipelineName"],
        "_Definition": pipeline["PipelineDefinition"],
        "_Parameters": values,
        "_Given": request.get("PipelineParameters", []),
        _TOKEN: request["ClientRequestToken"],
        STEPS: {},
    }
    if "PipelineExecutionDescription" in request:
        execution["PipelineExecutionDescription"] = request["PipelineExecutionDescription"]
    parallelism = request.get("ParallelismConfiguration") or pipeline.get("ParallelismConfiguration")
    return execution | ({"ParallelismConfiguration": parallelism} if parallelism else {})


def stop_pipeline_execution(context: Context, request: Document) -> Document:
    """Stop an execution and its jobs; the same ClientRequestToken does it once only."""
    with context.shared(Jobs).starting:
        execution = _execution(context, request["PipelineExecutionArn"])
        arn, status = execution["PipelineExecutionArn"], execution["PipelineExecutionStatus"]
        token = request.get("ClientRequestToken")
        if token is not None and execution.get(_STOP_TOKEN) == token:
            return {"PipelineExecutionArn": arn}
        if status in ENDED:
            raise conflict(f"Pipeline execution {arn} is {status}; only a running one can be stopped")
        context.table(EXECUTIONS).update(arn, lambda stored: stored.update({_STOP_TOKEN: token}))
        run = context.shared(Jobs).find(EXECUTIONS, arn)
        if run is None:  # it ends at this moment, or it ran before a restart and is not resumed yet
            ExecutionRecord(context, arn).change(only_from="Executing", PipelineExecutionStatus="Stopping")
    if run is not None and status == "Executing":
        run.stop()
    return {"PipelineExecutionArn": arn}


def retry_pipeline_execution(context: Context, request: Document) -> Document:
    """Run an execution that failed or was stopped again; steps that succeeded are not repeated.

    The same ClientRequestToken does it once only.
    """
    token = request["ClientRequestToken"]

    def forget_what_failed(stored: Document) -> None:
        stored[STEPS] = {n: step for n, step in stored[STEPS].items() if step["StepStatus"] == "Succeeded"}
        stored.pop("FailureReason", None)
        stored[_RETRY_TOKEN] = token
        if "ParallelismConfiguration" in request:
            stored["ParallelismConfiguration"] = request["ParallelismConfiguration"]

    with context.shared(Jobs).starting:
        execution = _execution(context, request["PipelineExecutionArn"])
        arn, status = execution["PipelineExecutionArn"], execution["PipelineExecutionStatus"]
        if execution.get(_RETRY_TOKEN) == token:
            return {"PipelineExecutionArn": arn}
        if status not in {"Failed", "Stopped"}:
            raise conflict(f"Pipeline execution {arn} is {status}; only one that failed or was stopped can be retried")
        ExecutionRecord(context, arn).change(forget_what_failed, PipelineExecutionStatus="Executing")
        _run(context, arn)
    return {"PipelineExecutionArn": arn}


def describe_pipeline_execution(context: Context, request: Document) -> Document:
    """Everything about one execution, except its steps."""
    return describe("DescribePipelineExecution", _execution(context, request["PipelineExecutionArn"]))


def describe_definition(context: Context, request: Document) -> Document:
    """The definition of an execution."""
    execution = _execution(context, request["PipelineExecutionArn"])
    return {"PipelineDefinition": execution["_Definition"], "CreationTime": execution["CreationTime"]}


def list_parameters(context: Context, request: Document) -> Document:
    """The parameters in the request of an execution."""
    page = cut(_execution(context, request["PipelineExecutionArn"])["_Given"], request)
    return page.reply("PipelineParameters", page.documents)


def list_pipeline_executions(context: Context, request: Document) -> Document:
    """The executions of one pipeline, newest first unless the request says otherwise."""
    pipeline = _pipeline(context, request["PipelineName"])
    page = list_page(
        _executions(context, pipeline["PipelineArn"]), _with_usual_names(request), name="PipelineExecutionArn"
    )
    documents = [
        execution
        | ({"PipelineExecutionFailureReason": execution["FailureReason"]} if "FailureReason" in execution else {})
        for execution in page.documents
    ]
    shown = summarise("ListPipelineExecutions", "PipelineExecutionSummaries", documents)
    return page.reply("PipelineExecutionSummaries", shown)


def list_steps(context: Context, request: Document) -> Document:
    """The steps of an execution that have started, newest first unless the request says otherwise."""
    execution = _execution(context, request["PipelineExecutionArn"])
    sorting = Sorting(lambda step: [float(step["StartTime"])], "StepName", request.get("SortOrder", "Descending"))
    page = cut(execution[STEPS].values(), request, sorting)
    shown = summarise("ListPipelineExecutionSteps", "PipelineExecutionSteps", page.documents)
    return page.reply("PipelineExecutionSteps", shown)


def resume(context: Context) -> None:
    """Continue the executions that ran or were being stopped when the local AWS stopped, after their jobs."""
    for execution in from_before(context, EXECUTIONS):
        arn = execution["PipelineExecutionArn"]
        with context.shared(Jobs).starting:  # a client may have stopped it since it was listed
            stored = _execution(context, arn)
            status = stored["PipelineExecutionStatus"]
            unfinished = any(step["StepStatus"] not in ENDED for step in stored[STEPS].values())
            if status == "Executing" or (status == "Stopping" and unfinished):
                _run(context, arn)
            elif status == "Stopping":
                ExecutionRecord(context, arn).end("Stopped")


def _run(context: Context, arn: str) -> None:
    context.shared(Jobs).start(EXECUTIONS, arn, PipelineRun(context, arn))


def _definition(context: Context, request: Document) -> str:
    """The definition in a request or in S3, checked."""
    given = [member for member in _DEFINITION_MEMBERS if member in request]
    if len(given) != 1:
        raise validation("Give either PipelineDefinition or PipelineDefinitionS3Location, and only one of them")
    if given[0] == "PipelineDefinition":
        text = str(request["PipelineDefinition"])
    else:
        location = request["PipelineDefinitionS3Location"]
        where = S3Uri(location["Bucket"], location["ObjectKey"])
        version = {"VersionId": location["VersionId"]} if "VersionId" in location else {}
        client = context.client("s3")
        try:
            text = client.get_object(Bucket=where.bucket, Key=where.key, **version)["Body"].read().decode()
        except client.exceptions.ClientError as error:
            raise validation(f"The pipeline definition at {where} cannot be read: {error}") from None
    check_arguments(read_definition(text).steps.values())
    return json.dumps(json.loads(text), separators=(",", ":"))


def _pipeline(context: Context, name: str) -> Document:
    """A pipeline by name or ARN."""
    pipeline = named(context.table(PIPELINES), name)
    if pipeline is None:
        raise not_found(f"Pipeline '{context.arn('pipeline', name.rsplit('/', 1)[-1])}' does not exist.")
    return pipeline


def _execution(context: Context, arn: str) -> Document:
    execution = context.table(EXECUTIONS).get(arn) or context.table(EXECUTIONS).get(arn.lower())
    if execution is None:
        raise not_found(f"Pipeline execution '{arn}' does not exist.")
    return execution


def _executions(context: Context, pipeline_arn: str) -> list[Document]:
    return [item for item in context.table(EXECUTIONS).all() if item["PipelineArn"] == pipeline_arn]


def _with_usual_names(request: Document) -> Document:
    """The request with the names of other List operations: these two have CreatedAfter for CreationTimeAfter."""
    renamed = {"CreatedAfter": "CreationTimeAfter", "CreatedBefore": "CreationTimeBefore"}
    return {renamed.get(key, key): value for key, value in request.items()}
