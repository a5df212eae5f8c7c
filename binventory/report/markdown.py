"""An execution for a workflow's summary: its state and the metrics of its evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from binventory.report.page import METRICS
from binventory.report.record import RunRecord


def markdown(record: RunRecord) -> str:
    """A heading, the metrics of the test split as a table, and the reason where the execution failed."""
    execution = record.execution
    lines = [f"### Pipeline execution {execution.id}: {execution.status}", ""]
    if said := record.reason or execution.failure:
        lines += [f"> {line}" for line in said.splitlines()] + [""]
    lines += [f"- {step.name} {step.reused}" for step in execution.steps if step.reused]
    lines += [""] if any(step.reused for step in execution.steps) else []
    rows = list(_metrics(record))
    lines += ["| metric of the test split | value |", "|---|---:|", *rows, ""] if rows else ["No evaluation.", ""]
    return "\n".join(lines)


def _metrics(record: RunRecord) -> Iterator[str]:
    model = record.evaluation.get("binventory", {}).get("model", {})
    for name in METRICS:
        value = model.get(name, {}).get("value")
        if value is not None:
            yield f"| {name.replace('_', ' ')} | {value:.4f} |"
