"""The arguments of a pipeline's steps, held to the model of the operation that each step calls.

AWS does so when a pipeline is created or changed, not when the step runs: a step that never ran can be wrong, too. Seen
are unknown members (https://github.com/aws/sagemaker-python-sdk/issues/4994), values of no enumeration, and texts that
are too long (https://github.com/aws/sagemaker-python-sdk/issues/5099). An expression may become any value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from local_aws.core.protocol import Document
from local_aws.core.shapes import LATER, operation_model, violations, without_nulls
from local_aws.pipelines.definition import PipelineStep
from local_aws.pipelines.expressions import is_expression
from local_aws.pipelines.refusals import refuse_unknown, refused

_OPERATIONS = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName"),
    "Training": ("CreateTrainingJob", "TrainingJobName"),
    "Tuning": ("CreateHyperParameterTuningJob", "HyperParameterTuningJobName"),
    "Model": ("CreateModel", "ModelName"),
    "RegisterModel": ("CreateModelPackage", ""),
}
"""By the type of a step: its operation, and the member that the execution adds where the arguments lack it."""
_LEFT_OUT = {"RegisterModel": frozenset({"ModelPackageName"})}
"""Members of an operation that a step may not have: https://github.com/aws/sagemaker-python-sdk/pull/3472."""


def check_arguments(steps: Iterable[PipelineStep]) -> None:
    """Refuse the first step whose request would not be one of its operation. Raises a ValidationException."""
    for step in steps:
        if step.type in _OPERATIONS:
            _check(step)


def _check(step: PipelineStep) -> None:
    operation, name = _OPERATIONS[step.type]
    shape = operation_model(operation).input_shape
    members = frozenset(shape.members if shape else ()) - _LEFT_OUT.get(step.type, frozenset())
    refuse_unknown(f"Arguments of step {step.name}", step.arguments, members)
    given: Document = _with_later_values(step.arguments)
    if name:
        given.setdefault(name, LATER)
    if wrong := violations(shape, without_nulls(shape, given)):
        raise refused(f"Model Validation failed: step {step.name}: {'; '.join(wrong)}")


def _with_later_values(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_later_values(item) for item in value]
    if not isinstance(value, dict):
        return value
    return LATER if is_expression(value) else {key: _with_later_values(item) for key, item in value.items()}
