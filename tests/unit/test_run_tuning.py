"""The search in the page of an execution: every trial, whatever became of it."""

from __future__ import annotations

from dataclasses import replace

from binventory.executions import Trial
from binventory.report.page import render
from tests.recorded import record

TRIALS = (
    Trial("worse", "Completed", 1.9, {"lr": "0.1", "batch-size": '"64"'}),
    Trial("stopped", "<b>Stopped", None, {"lr": "0.01", "batch-size": '"64"'}),
    Trial("Tune-1", "Completed", 1.4, {"lr": "0.003", "batch-size": '"32"'}),
)


def test_trials_are_listed_and_those_with_an_objective_are_drawn() -> None:
    page = render(replace(record({}), trials=TRIALS, trial_curves=()))
    assert "Objective (smaller is better) by learning rate and batch size" in page
    assert page.count('<circle class="dot') == 2
    assert "batches of 64" in page and "batches of 32" in page, "SageMaker's quotes are dropped"
    assert '<td>3 best</td><td class="number">32</td><td class="number">0.003</td>' in page
    assert '<td class="number">1.4000</td><td class="number">60 s</td>' in page
    assert "<b>Stopped" not in page and "&lt;b&gt;Stopped" in page
    assert "<script" not in page
