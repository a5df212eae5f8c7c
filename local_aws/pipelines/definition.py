"""Pipeline definitions (schema 2020-12-01), read and checked before an execution starts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from local_aws.core.errors import not_local, validation
from local_aws.pipelines.expressions import CONDITION_TYPES, ExpressionError, parse_path, references
from local_aws.pipelines.parameters import TYPES, PipelineParameter, Value, read_parameters
from local_aws.pipelines.refusals import refuse_unknown, refused
from local_aws.pipelines.retry_policy import RETRIED_STEPS, RetryPolicy, read_policy

VERSION = "2020-12-01"
RUNNABLE = frozenset({"Processing", "Training", "Tuning", "Model", "RegisterModel", "Condition", "Fail", "Lambda"})
_ELSEWHERE = frozenset(
    {
        "AutoML",
        "Callback",
        "ClarifyCheck",
        "Cleanup",
        "EMR",
        "EMRServerless",
        "Endpoint",
        "EndpointConfig",
        "ForEach",
        "InferenceComponent",
        "Job",
        "Lineage",
        "NotebookJob",
        "QualityCheck",
        "Transform",
    }
)
_STEP_NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")
_MOST_OUTPUTS = 50
EXECUTION_VALUES = frozenset(
    {
        "PipelineName",
        "PipelineArn",
        "PipelineExecutionId",
        "PipelineExecutionArn",
        "StartDateTime",
        "CurrentDateTime",
    }
)
"""What references `Execution.*` may name."""
_VALUES_ELSEWHERE = frozenset({"TrainingJobName", "ProcessingJobName"})
_DEFINITION_MEMBERS = frozenset(
    {"Version", "Metadata", "Parameters", "PipelineExperimentConfig", "MlflowConfig", "Steps"}
)
_STEP_MEMBERS = frozenset(
    {
        "Name",
        "Type",
        "Arguments",
        "DependsOn",
        "DisplayName",
        "Description",
        "CacheConfig",
        "RetryPolicies",
        "PropertyFiles",
    }
)
_CACHE_MEMBERS = frozenset({"Enabled", "ExpireAfter"})
_CACHED = frozenset({"Processing", "Training", "Tuning", "Lambda"})
"""Of Lambda steps the SDK sends it, and nothing comes of it: docs/local-jobs.md says so."""
_PROPERTY_FILE_MEMBERS = frozenset({"PropertyFileName", "OutputName", "FilePath"})
_LAMBDA_MEMBERS = frozenset({"FunctionArn", "OutputParameters"})
_DURATION = re.compile(
    r"P?(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?",
    re.IGNORECASE,
)
_SECONDS = {
    "years": 365 * 86_400,
    "months": 30 * 86_400,
    "weeks": 7 * 86_400,
    "days": 86_400,
    "hours": 3_600,
    "minutes": 60,
    "seconds": 1,
}


@dataclass(frozen=True)
class PipelineStep:
    """One step.

    Args:
        name: unique in the pipeline.
        type: one of `RUNNABLE`.
        arguments: its request, expressions included.
        needs: names of the steps that must have succeeded first.
        condition: the Condition step on which this step depends, and the outcome with which it runs.
        cache_seconds: how long the result of an equal earlier run is reused; None without caching.
        retries: its retry policies.
        property_files: output name and path by property file's name.
        shown: DisplayName and Description, as ListPipelineExecutionSteps shows them.
        function: a Lambda step's FunctionArn, which may be an expression.
        outputs: types of a Lambda step's OutputParameters by their names.
    """

    name: str
    type: str
    arguments: dict[str, Any]
    needs: frozenset[str] = frozenset()
    condition: tuple[str, bool] | None = None
    cache_seconds: float | None = None
    retries: tuple[RetryPolicy, ...] = ()
    property_files: dict[str, tuple[str, str]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    function: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Definition:
    """A pipeline: parameters and steps by name, in the order of the definition."""

    parameters: dict[str, PipelineParameter]
    steps: dict[str, PipelineStep]

    def values(self, given: list[dict[str, str]]) -> dict[str, Value]:
        """The parameter values of an execution: its own, else the defaults. Raises a ValidationException."""
        values = {p.name: p.default for p in self.parameters.values() if p.default is not None}
        names = [item["Name"] for item in given]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise validation(f"Parameters are given more than once: {', '.join(doubled)}")
        for item in given:
            parameter = self.parameters.get(item["Name"])
            if parameter is None:
                raise validation(
                    f"Parameter {item['Name']} is not in the pipeline definition; it has: {', '.join(self.parameters)}"
                )
            values[parameter.name] = parameter.value_of(item["Value"])
        missing = sorted(self.parameters.keys() - values.keys())
        if missing:
            raise validation(f"Parameters without a default need a value: {', '.join(missing)}")
        return values


def read_definition(text: str) -> Definition:
    """Read a definition; raises a ValidationException that names the step and its fault."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise refused(f"it is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("Version") != VERSION:
        raise refused(f"Version must be {VERSION!r}")
    if not document.get("Steps"):
        raise refused("it has no Steps")
    refuse_unknown("the definition", document, _DEFINITION_MEMBERS)
    if document.get("MlflowConfig"):  # the SDK, version 3, sends an empty one with every definition
        raise not_local("MlflowConfig does not run locally", "leave it out of the definition")
    try:
        parameters = read_parameters(document.get("Parameters", []))
        found = list(_steps(document["Steps"], None))
    except (KeyError, TypeError, AttributeError) as error:
        raise refused(f"a member is missing or of the wrong type: {error}") from None
    steps = {step.name: step for step in found}
    if len(steps) != len(found):
        doubled = sorted({s.name for s in found if sum(other.name == s.name for other in found) > 1})
        raise refused(f"step names must be unique, found more than once: {', '.join(doubled)}")
    definition = Definition(parameters, {s.name: _with_needs(s, steps, parameters) for s in found})
    try:
        TopologicalSorter({step.name: predecessors(step) for step in definition.steps.values()}).prepare()
    except CycleError as error:
        raise refused(f"steps wait for each other: {' -> '.join(error.args[1])}") from None
    return definition


def predecessors(step: PipelineStep) -> frozenset[str]:
    """Every step that must end before this one can start."""
    return step.needs | ({step.condition[0]} if step.condition else frozenset())


def seconds_of(duration: str) -> float:
    """An ISO 8601 duration in seconds; months count 30 days. Raises `ValueError`.

    AWS's page on caching writes durations also as `30d` and `T16m`: without the P, in small letters.
    """
    match = _DURATION.fullmatch(duration)
    found = {unit: int(count) for unit, count in match.groupdict().items() if count} if match else {}
    if not found:
        raise ValueError(f"{duration!r} is not an ISO 8601 duration such as P30D or PT12H")
    return float(sum(count * _SECONDS[unit] for unit, count in found.items()))


def _steps(items: list[dict[str, Any]], condition: tuple[str, bool] | None) -> Iterator[PipelineStep]:
    """The steps of a list, with the steps of both branches of each Condition step."""
    for item in items:
        name, kind = item["Name"], item["Type"]
        if not _STEP_NAME.fullmatch(name):
            raise refused(f"step name {name!r} must be 1 to 64 letters, digits, - or _")
        if kind in _ELSEWHERE:
            raise not_local(f"Step {name}: steps of type {kind} do not run locally", "leave the step out of rehearsals")
        if kind not in RUNNABLE:
            raise refused(f"step {name} has the unknown type {kind!r}")
        refuse_unknown(f"step {name}", item, _STEP_MEMBERS | (_LAMBDA_MEMBERS if kind == "Lambda" else frozenset()))
        arguments = item.get("Arguments", {})
        _refuse_files_in_s3(name, arguments)
        if kind == "Condition":
            for outcome, branch in ((True, "IfSteps"), (False, "ElseSteps")):
                yield from _steps(arguments.get(branch, []), (name, outcome))
            _check_conditions(name, arguments["Conditions"])
            arguments = {"Conditions": arguments["Conditions"]}
        yield PipelineStep(
            name=name,
            type=kind,
            arguments=arguments,
            needs=_depends_on(name, item.get("DependsOn", [])),
            condition=condition,
            cache_seconds=_cache_seconds(name, kind, item.get("CacheConfig", {})),
            retries=_retries(name, kind, item.get("RetryPolicies", [])),
            property_files=_property_files(name, arguments, item.get("PropertyFiles", [])),
            shown={
                shown: item[member]
                for member, shown in (("DisplayName", "StepDisplayName"), ("Description", "StepDescription"))
                if item.get(member)
            },
            function=item["FunctionArn"] if kind == "Lambda" else "",
            outputs=_outputs(name, item.get("OutputParameters", [])) if kind == "Lambda" else {},
        )


def _refuse_files_in_s3(step: str, value: Any) -> None:
    """Refuse a `Std:JsonGet` of an object in S3; that of a property file runs."""
    if isinstance(value, dict):
        read = value.get("Std:JsonGet")
        if isinstance(read, dict) and "S3Uri" in read:
            raise not_local(f"Step {step}: Std:JsonGet of an S3Uri does not run locally", "give a PropertyFile")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_files_in_s3(step, item)


def _check_conditions(step: str, conditions: list[dict[str, Any]]) -> None:
    for condition in conditions:
        kind = condition["Type"]
        if kind not in CONDITION_TYPES:
            raise refused(f"step {step}: unknown condition {kind!r}; known: {', '.join(sorted(CONDITION_TYPES))}")
        wanted = {"Not": ("Condition",), "Or": ("Conditions",), "In": ("QueryValue", "Values")}
        for member in wanted.get(kind, ("LeftValue", "RightValue")):
            if member not in condition:
                raise refused(f"step {step}: the condition {kind} needs {member}")
        inner = {"Not": [condition.get("Condition")], "Or": condition.get("Conditions", [])}
        _check_conditions(step, inner.get(kind, []))


def _depends_on(step: str, names: Any) -> frozenset[str]:
    if not isinstance(names, list):
        raise refused(f"step {step}: DependsOn must be a list of step names, got {names!r}")
    if not all(isinstance(name, str) for name in names):
        raise not_local(f"Step {step}: a condition in DependsOn does not run locally", "give the names of steps only")
    return frozenset(names)


def _property_files(step: str, arguments: dict[str, Any], files: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Output name and path of each property file; its output must be one of the step's."""
    outputs = [item["OutputName"] for item in arguments.get("ProcessingOutputConfig", {}).get("Outputs", [])]
    for file in files:
        refuse_unknown(f"a property file of step {step}", file, _PROPERTY_FILE_MEMBERS)
        if file["OutputName"] not in outputs:
            known = ", ".join(map(str, outputs)) or "none"
            raise refused(
                f"step {step}: property file {file['PropertyFileName']} is in the output "
                f"{file['OutputName']!r}, which the step does not have; it has: {known}"
            )
    return {file["PropertyFileName"]: (file["OutputName"], file["FilePath"]) for file in files}


def _cache_seconds(step: str, kind: str, config: dict[str, Any]) -> float | None:
    refuse_unknown(f"CacheConfig of step {step}", config, _CACHE_MEMBERS)
    enabled = config.get("Enabled", False)
    if not isinstance(enabled, bool):
        raise refused(f"step {step}: CacheConfig.Enabled must be true or false, got {enabled!r}")
    if not enabled:
        return None
    if kind not in _CACHED:
        raise refused(f"step {step}: CacheConfig is for steps of type {', '.join(sorted(_CACHED))}, not {kind}")
    try:
        return seconds_of(config["ExpireAfter"]) if "ExpireAfter" in config else float("inf")
    except ValueError as error:
        raise refused(f"step {step}: CacheConfig.ExpireAfter: {error}") from None


def _outputs(step: str, items: list[dict[str, Any]]) -> dict[str, str]:
    """The types of a Lambda step's outputs by their names."""
    outputs = {item["OutputName"]: item["OutputType"] for item in items}
    if len(outputs) < len(items) or len(items) > _MOST_OUTPUTS:
        raise refused(f"step {step}: OutputParameters are at most {_MOST_OUTPUTS}, each of another name")
    for name, kind in outputs.items():
        if kind not in TYPES:
            raise refused(f"step {step}: output {name} has type {kind!r}; known: {', '.join(TYPES)}")
    return outputs


def _retries(step: str, kind: str, policies: list[dict[str, Any]]) -> tuple[RetryPolicy, ...]:
    if policies and kind not in RETRIED_STEPS:
        known = ", ".join(sorted(RETRIED_STEPS))
        raise refused(f"step {step}: RetryPolicies are for steps of type {known}, not {kind}")
    try:
        return tuple(read_policy(policy) for policy in policies)
    except ValueError as error:
        raise refused(f"step {step}: RetryPolicies: {error}") from None


def _with_needs(
    step: PipelineStep, steps: dict[str, PipelineStep], parameters: dict[str, PipelineParameter]
) -> PipelineStep:
    """The step with the dependencies of its references; refuses a reference to a step that does not exist."""
    needs = set(step.needs)
    for reference in references([step.arguments, step.function]):
        try:
            head, *rest = parse_path(reference)
        except ExpressionError as error:
            raise refused(f"step {step.name}: {error}") from None
        name = str(rest[0]) if rest else ""
        if head == "Parameters" and name not in parameters:
            raise refused(f"step {step.name} refers to the parameter {name!r}, which does not exist")
        if head == "Steps":
            needs.add(name)
            _check_output(step.name, steps.get(name), rest[1:])
            _check_property_file(step.name, steps.get(name), rest[1:])
        if head == "Execution" and name in _VALUES_ELSEWHERE:
            raise not_local(f"Step {step.name}: {reference} does not run locally", "refer to the step that has the job")
        if head == "Execution" and name not in EXECUTION_VALUES:
            known = ", ".join(sorted(EXECUTION_VALUES))
            raise refused(f"step {step.name} refers to {reference}; an execution has here: {known}")
        if head not in {"Parameters", "Steps", "Execution"}:
            raise refused(f"step {step.name} refers to {reference}, which is no parameter, step or execution")
    unknown = sorted(needs - steps.keys())
    if unknown:
        raise refused(f"step {step.name} depends on steps that do not exist: {', '.join(unknown)}")
    return PipelineStep(**{**step.__dict__, "needs": frozenset(needs)})


def _check_output(step: str, of: PipelineStep | None, path: list[str | int]) -> None:
    """Refuse a reference to an output that a Lambda step does not declare: it would never have a value."""
    if of is None or of.type != "Lambda":
        return
    if len(path) != 2 or path[0] != "OutputParameters" or path[1] not in of.outputs:
        known = ", ".join(f"OutputParameters[{name!r}]" for name in of.outputs) or "none"
        raise refused(f"step {step} refers to {path} of the Lambda step {of.name}, which has: {known}")


def _check_property_file(step: str, of: PipelineStep | None, path: list[str | int]) -> None:
    """Refuse a reference to a property file that a step does not declare, before anything of the pipeline runs."""
    if of is None or path[:1] != ["PropertyFiles"]:
        return
    if len(path) != 2 or path[1] not in of.property_files:
        known = ", ".join(of.property_files) or "none"
        raise refused(f"step {step} refers to {path} of step {of.name}, whose property files are: {known}")
