"""The expressions of the pipeline definition language (schema 2020-12-01) and the envelope of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Expression = dict[str, Any]
"""A `Get`, `Std:Join` or `Std:JsonGet` object: SageMaker puts a value in its place when the pipeline runs."""


def get(path: str) -> Expression:
    """A parameter, an execution variable or a property of an earlier step."""
    return {"Get": path}


def join(*values: str | Expression, on: str = "") -> Expression:
    """Text that SageMaker joins from parts when the pipeline runs."""
    return {"Std:Join": {"On": on, "Values": list(values)}}


def json_get(step: str, property_file: str, path: str) -> Expression:
    """A value inside a JSON file that an earlier processing step declared as a property file."""
    return {"Std:JsonGet": {"PropertyFile": get(f"Steps.{step}.PropertyFiles.{property_file}"), "Path": path}}


EXECUTION_ID = get("Execution.PipelineExecutionId")
EXECUTION_ARN = get("Execution.PipelineExecutionArn")


class ParameterType(StrEnum):
    """The types of pipeline parameters."""

    STRING = "String"
    INTEGER = "Integer"
    FLOAT = "Float"


@dataclass(frozen=True)
class Parameter:
    """A pipeline parameter: each execution can set it."""

    name: str
    type: ParameterType
    default: str | int | float
    allowed: tuple[str, ...] = ()

    @property
    def value(self) -> Expression:
        """The parameter, where its type fits."""
        return get(f"Parameters.{self.name}")

    @property
    def text(self) -> Expression:
        """The parameter as text: arguments and hyperparameters are strings."""
        return self.value if self.type is ParameterType.STRING else join(self.value)

    def render(self) -> dict[str, Any]:
        """The declaration at the top of the definition."""
        rendered: dict[str, Any] = {"Name": self.name, "Type": self.type.value, "DefaultValue": self.default}
        if self.allowed:
            rendered["EnumValues"] = list(self.allowed)
        return rendered


@dataclass(frozen=True)
class Retry:
    """When and how often a step is tried again."""

    exceptions: tuple[str, ...]
    interval_seconds: int
    backoff: float
    attempts: int

    def render(self) -> dict[str, Any]:
        """The entry of `RetryPolicies`."""
        return {
            "ExceptionType": list(self.exceptions),
            "IntervalSeconds": self.interval_seconds,
            "BackoffRate": self.backoff,
            "MaxAttempts": self.attempts,
        }


# SageMaker did not accept the request: repeating it is cheap.
SERVICE_RETRY = Retry(("Step.SERVICE_FAULT", "Step.THROTTLING"), interval_seconds=10, backoff=2.0, attempts=5)
# A fault of SageMaker ended the job, or there was no capacity. A script that fails is not retried: it would fail again.
JOB_RETRY = Retry(
    ("SageMaker.JOB_INTERNAL_ERROR", "SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT"),
    interval_seconds=120,
    backoff=2.0,
    attempts=3,
)
JOB_RETRIES = (SERVICE_RETRY, JOB_RETRY)


@dataclass(frozen=True)
class PropertyFile:
    """A JSON file among a processing step's outputs, whose values later steps can read."""

    name: str
    output: str
    path: str

    def render(self) -> dict[str, Any]:
        """The entry of `PropertyFiles`."""
        return {"PropertyFileName": self.name, "OutputName": self.output, "FilePath": self.path}


@dataclass(frozen=True)
class Output:
    """A value that the function of a Lambda step returns; later steps can refer to it."""

    name: str
    type: ParameterType

    def render(self) -> dict[str, Any]:
        """The entry of `OutputParameters`."""
        return {"OutputName": self.name, "OutputType": self.type.value}


class StepType(StrEnum):
    """The kinds of step this pipeline uses."""

    LAMBDA = "Lambda"
    PROCESSING = "Processing"
    TRAINING = "Training"
    TUNING = "Tuning"
    CONDITION = "Condition"
    REGISTER_MODEL = "RegisterModel"
    FAIL = "Fail"


@dataclass(frozen=True)
class PipelineStep:
    """One step: `arguments` is the request of the SageMaker operation behind it, with expressions for values."""

    name: str
    type: StepType
    description: str
    arguments: Mapping[str, Any]
    cache_days: int = 0
    """Age up to which the result of an earlier execution with equal arguments is reused; 0: the step always runs."""
    retries: Sequence[Retry] = ()
    property_files: Sequence[PropertyFile] = ()
    function: str = ""
    """ARN of the function that a Lambda step invokes with its arguments. SageMaker does not retry such a step."""
    outputs: Sequence[Output] = ()

    def render(self) -> dict[str, Any]:
        """The step's JSON."""
        rendered: dict[str, Any] = {
            "Name": self.name,
            "Type": self.type.value,
            "Description": self.description,
            "Arguments": dict(self.arguments),
        }
        if self.type in (StepType.PROCESSING, StepType.TRAINING, StepType.TUNING):
            rendered["CacheConfig"] = {"Enabled": self.cache_days > 0}
            if self.cache_days:
                rendered["CacheConfig"]["ExpireAfter"] = f"P{self.cache_days}D"
        if self.type is StepType.LAMBDA:
            rendered["FunctionArn"] = self.function
            rendered["OutputParameters"] = [output.render() for output in self.outputs]
        if self.retries:
            rendered["RetryPolicies"] = [retry.render() for retry in self.retries]
        if self.property_files:
            rendered["PropertyFiles"] = [file.render() for file in self.property_files]
        return rendered
