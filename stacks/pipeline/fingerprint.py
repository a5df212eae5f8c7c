"""Fingerprint: lists what is at the addresses now, so that later steps are cached by content and not by address."""

from __future__ import annotations

from stacks import names
from stacks.names import FINGERPRINT
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.expressions import Expression, Output, ParameterType, PipelineStep, StepType, get

LISTING = Output(names.LISTING, ParameterType.STRING)
WEIGHTS = Output(names.WEIGHTS, ParameterType.STRING)
"""SHA-256 of the object at the weights' address; the value of `Weights` itself where that is no address."""
PHOTOS = Output(names.PHOTOS, ParameterType.INTEGER)
METADATA = Output(names.METADATA, ParameterType.INTEGER)


def fingerprint_step(context: PipelineContext) -> PipelineStep:
    """The step. It is never cached: the objects that it lists can change at any time."""
    parameters = context.parameters
    given = (parameters.photos_uri, parameters.labels_uri, parameters.weights)
    return PipelineStep(
        name=FINGERPRINT,
        type=StepType.LAMBDA,
        description="Lists photos, metadata and labels, so that Ingest runs when one of them has changed",
        arguments={parameter.name: parameter.value for parameter in given},
        function=context.fingerprint_function,
        outputs=(LISTING, WEIGHTS, PHOTOS, METADATA),
    )


def returned(output: Output) -> Expression:
    """A value that the step returns."""
    return get(f"Steps.{FINGERPRINT}.OutputParameters['{output.name}']")
