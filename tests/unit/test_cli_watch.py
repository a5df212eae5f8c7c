"""The trials and the log that `watch` shows below the steps, in narrow and wide terminals."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from binventory.cli.watch import below
from binventory.core.aws import Aws
from binventory.core.journal import Journal
from binventory.executions import Trial
from binventory.executions.watching import StepWatcher

TRIALS = (
    Trial("a", "Completed", 1.6094, {"lr": "0.0490", "batch-size": "32"}),
    Trial("b", "Completed", 1.5111, {"lr": "0.0066", "batch-size": "128"}),
    Trial("c", "InProgress", None, {"lr": "0.0137", "batch-size": "256"}),
)


@pytest.fixture
def watcher() -> StepWatcher:
    made = StepWatcher(Aws(session=None), Journal())  # type: ignore[arg-type]  # nothing is asked of AWS
    made.trials = TRIALS
    made.tail = ("epoch=1 [red]not markup[/red]", "x" * 300)
    return made


def drawn(watcher: StepWatcher, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    found = below(watcher)(console)
    assert found is not None
    console.print(found)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_nothing_is_wider_than_the_terminal(watcher: StepWatcher, width: int) -> None:
    lines = drawn(watcher, width)
    assert max(map(len, lines)) <= width
    assert any("[red]not markup[/red]" in line for line in lines)


def test_side_by_side_where_there_is_room(watcher: StepWatcher) -> None:
    def together(width: int) -> bool:
        return any("Trials" in line and "Log" in line for line in drawn(watcher, width))

    assert not together(80)
    assert together(200)


def test_the_best_trial_and_the_running_one_are_named(watcher: StepWatcher) -> None:
    lines = drawn(watcher, 80)
    (best,) = (line for line in lines if "best" in line)
    assert "0.0066" in best and "128" in best and "1.5111" in best
    (running,) = (line for line in lines if "running" in line)
    assert "0.0137" in running


def test_without_trials_and_log_there_is_nothing(watcher: StepWatcher) -> None:
    watcher.trials, watcher.tail = (), ()
    assert below(watcher)(Console()) is None


@pytest.mark.parametrize(
    ("objective", "shown"),
    [(None, ""), (1.52041, "1.5204"), (-0.5, "-0.5000"), (98813.2, "9.9e+04"), (4.8e15, "4.8e+15")],
)
def test_the_loss_of_a_trial_that_diverged_stays_short(objective: float | None, shown: str) -> None:
    assert Trial("t", "Completed", objective, {}).loss == shown
