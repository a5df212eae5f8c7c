"""The summary of a rehearsal shows its results, also if some are missing, and fits the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from binventory.cli.summary import print_result
from binventory.core.journal import Journal
from binventory.executions import Trial
from binventory.executions.watching import Transition
from binventory.rehearsal.result import CountedTestPhoto, Result
from binventory.serving import EndpointAnswer


def printed(result: Result, width: int = 80) -> str:
    """The summary as a pipe of this width gets it."""
    text = io.StringIO()
    journal = Journal()
    with journal.step("Deploy") as entry:
        journal.note(entry, "binventory-dev-storage, binventory-dev-training, binventory-dev-serving")
    print_result(result, journal, Console(file=text, width=width))
    return text.getvalue()


def measured(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


FULL = Result(
    trials=(
        Trial("a-very-long-name-of-a-job-001", "Completed", 1.25, {"lr": "0.0168407425", "batch-size": "64"}),
        Trial("a-very-long-name-of-a-job-002", "Stopped", None, {"lr": "0.1", "batch-size": "32"}),
    ),
    evaluation={
        "binventory": {
            "model": {"accuracy": measured(0.4), "rmse": measured(1.2)},
            "baselines": {"always the majority": {"accuracy": measured(0.2), "rmse": {"value": None}}},
        }
    },
    transitions=(Transition("Interrupted", "Spot capacity was reclaimed"), Transition("Training", "again")),
    counted=(CountedTestPhoto("00104", 3, EndpointAnswer(2, {1: 0.1, 2: 0.6, 3: 0.2, 4: 0.07, 5: 0.03}, 2.3, 41.6)),),
)


@pytest.mark.parametrize("width", [80, 200])
def test_everything_found_is_shown_within_the_width(width: int) -> None:
    text = printed(FULL, width)
    assert max(len(line) for line in text.splitlines()) <= width
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["Deploy"][0:3] == ["Deploy", "0.0", "s"]
    assert lines["1"][:5] == ["1", "best", "0.0168", "64", "1.2500"]
    assert lines["2"] == ["2", "0.1", "32"]
    assert lines["accuracy"] == ["accuracy", "0.400", "0.30", "to", "0.50", "0.200"]
    assert lines["rmse"][-1] == "-", "an undefined baseline is no number"
    assert lines["00104"] == ["00104", "3", "2", "1", ".10", "2", ".60", "3", ".20", "4", ".07", "5", ".03", "42"]
    assert "Interrupted" in text


def test_an_empty_result_is_no_error() -> None:
    assert "Deploy" in printed(Result())


def test_a_terminal_that_shows_the_steps_live_does_not_get_them_twice() -> None:
    text = io.StringIO()
    journal = Journal()
    with journal.step("Deploy"):
        pass
    print_result(FULL, journal, Console(file=text, force_terminal=True, width=100, color_system=None))
    assert "Deploy" not in text.getvalue()
    assert "00104" in text.getvalue()
