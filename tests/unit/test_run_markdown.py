"""The summary of an execution for a workflow."""

from __future__ import annotations

from binventory.report.markdown import markdown
from tests import recorded


def test_the_summary_has_the_state_and_each_metric() -> None:
    evaluation = {"binventory": {"model": {"accuracy": {"value": 0.5125}, "rmse": {"value": 1.25}, "mae": {}}}}
    said = markdown(recorded.record(evaluation))
    assert said.startswith("### Pipeline execution h3scz028jl4e: Succeeded")
    assert "| accuracy | 0.5125 |" in said
    assert "| rmse | 1.2500 |" in said
    assert "mae" not in said


def test_an_execution_that_failed_early_says_why() -> None:
    record = recorded.failed()
    said = markdown(record)
    assert ": Failed" in said
    assert "No evaluation." in said
    assert all(f"> {line}" in said for line in record.execution.failure.splitlines())
