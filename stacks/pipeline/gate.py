"""Gate: registers the evaluated model, or refuses it with the reason."""

from __future__ import annotations

from stacks.names import EVALUATE, GATE, REFUSE
from stacks.pipeline.context import PipelineContext
from stacks.pipeline.evaluate import EVALUATION
from stacks.pipeline.expressions import PipelineStep, StepType, join, json_get
from stacks.pipeline.processing import output_uri
from stacks.pipeline.register import register_step


def gate_step(context: PipelineContext) -> PipelineStep:
    """The condition: at least the accuracy threshold, and not worse than the champion."""
    conditions = [
        {
            "Type": "GreaterThanOrEqualTo",
            "LeftValue": json_get(EVALUATE, EVALUATION.name, "multiclass_classification_metrics.accuracy.value"),
            "RightValue": context.parameters.accuracy_threshold.value,
        },
        {
            "Type": "Equals",
            "LeftValue": json_get(EVALUATE, EVALUATION.name, "binventory.gate.not_worse_than_champion"),
            "RightValue": True,
        },
    ]
    return PipelineStep(
        name=GATE,
        type=StepType.CONDITION,
        description="At least the accuracy threshold, and not worse than the champion on the same test split",
        arguments={
            "Conditions": conditions,
            "IfSteps": [register_step(context).render()],
            "ElseSteps": [_refuse_step(context).render()],
        },
    )


def _refuse_step(context: PipelineContext) -> PipelineStep:
    message = join(
        "The model was not registered: its accuracy on the test split is below AccuracyThreshold (",
        context.parameters.accuracy_threshold.value,
        ") or it is worse than the approved champion. The figures are in ",
        output_uri(EVALUATE, EVALUATION.output),
        f"/{EVALUATION.path}",
    )
    return PipelineStep(
        name=REFUSE,
        type=StepType.FAIL,
        description="Ends the execution with the reason",
        arguments={"ErrorMessage": message},
    )
