"""Fingerprint: what lies at the addresses now, so that the steps after it are cached by content and not by address."""

from __future__ import annotations

from stacks.pipeline.context import PipelineContext
from stacks.pipeline.expressions import Expression, Output, ParameterType, PipelineStep, StepType, get
from stacks.pipeline.names import FINGERPRINT

LISTING = Output("Listing", ParameterType.STRING)
"""Address of the listing of photos, metadata and labels, with its SHA-256 for a name."""
WEIGHTS = Output("Weights", ParameterType.STRING)
"""SHA-256 of what lies at the weights' address; the word itself where `Weights` is none."""
PHOTOS = Output("Photos", ParameterType.INTEGER)
METADATA = Output("Metadata", ParameterType.INTEGER)


def fingerprint_step(context: PipelineContext) -> PipelineStep:
    """The step. It is never cached: what it looks at changes without a word."""
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
    """What the step has returned."""
    return get(f"Steps.{FINGERPRINT}.OutputParameters['{output.name}']")
