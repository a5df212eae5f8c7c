"""Whether photos, metadata or labels have changed since the last execution, for the screen before a start.

The pipeline's first step lists them anyway. Here the same function is called beforehand where that is cheap: the last
listing took a few seconds, and the addresses are those of the last execution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from binventory import executions
from binventory.assembly.definitions import Definition, defaults_of, step_named
from binventory.core.aws import DENIED, Aws, error_code
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.core.words import counted
from stacks.names import FINGERPRINT, LABELS_URI, LISTING, PHOTOS_URI

CHEAP_SECONDS: Final = 10.0
_ADDRESSES: Final = (PHOTOS_URI, LABELS_URI)
_RECENT: Final = 5


@dataclass(frozen=True)
class Changes:
    """What is known before a start."""

    note: str = ""
    """One sentence for the launch screen; empty without an earlier listing."""
    photos: int | None = None
    """Photos at the address now, where that is known."""


def changes(aws: Aws, names: Names, definition: Definition, parameters: Mapping[str, object]) -> Changes:
    """Compares what would be read now with what the last execution has listed.

    Raises Problem when the function refuses an address: the execution would fail with the same message.
    """
    step = step_named(definition, FINGERPRINT)
    last = _last_listed(aws, names) if step else None
    if step is None or last is None:
        return Changes()
    execution, listed = last
    values = {**defaults_of(definition), **parameters}
    before = {**defaults_of(definition), **executions.parameters_of(aws, execution.arn)}
    if any(values.get(name) != before.get(name) for name in _ADDRESSES):
        return Changes()
    photos = int(listed.outputs.get("Photos", 0)) or None
    seconds = (listed.ended - listed.started).total_seconds() if listed.ended and listed.started else 0.0
    if seconds > CHEAP_SECONDS:
        later = f"Step {FINGERPRINT} finds out whether the photos have changed; it took {seconds:.0f} s the last time."
        return Changes(later, photos)
    found = _ask(aws, step, values)
    if found is None:
        function = step["FunctionArn"].rpartition(":")[-1]
        return Changes(f"Whether the photos have changed is not known: you may not invoke {function}.", photos)
    of = executions.named(execution.arn, execution.started)
    now = int(found["Photos"])
    if found[LISTING] == listed.outputs.get(LISTING):
        same = f"Photos and labels are those of {of}: what is computed from them alone is reused while it is kept."
        return Changes(same, now)
    counts = f"{counted(now, 'photo')}, then {photos or 0:,}"
    return Changes(f"Photos, metadata or labels have changed since {of} ({counts}): they are ingested anew.", now)


def _last_listed(aws: Aws, names: Names) -> tuple[executions.Execution, executions.ExecutionStep] | None:
    """The newest execution whose listing succeeded, and that step."""
    listed = aws.client("sagemaker").list_pipeline_executions(
        PipelineName=names.prefix, SortBy="CreationTime", SortOrder="Descending", MaxResults=_RECENT
    )
    for summary in listed["PipelineExecutionSummaries"]:
        execution = executions.look(aws, summary["PipelineExecutionArn"])
        step = execution.step(FINGERPRINT)
        if step is not None and step.status == "Succeeded":
            return execution, step
    return None


def _ask(aws: Aws, step: Mapping[str, Any], values: Mapping[str, object]) -> dict[str, Any] | None:
    """The result of the step's function for these parameters; None where it may not be invoked."""
    event = {name: values.get(name) for name in step["Arguments"]}
    try:
        reply = aws.client("lambda").invoke(FunctionName=step["FunctionArn"], Payload=json.dumps(event).encode())
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        return None
    said: dict[str, Any] = json.loads(reply["Payload"].read())
    if "FunctionError" in reply:
        raise Problem(
            "The photos or labels cannot be listed",
            str(said.get("errorMessage", said)),
            "correct the parameter that it names; nothing was started",
            code=Exit.USAGE,
        )
    return said
