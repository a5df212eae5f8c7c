"""The results of a rehearsal in four small tables: steps, trials, metrics, and the endpoint's answers."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from binventory import executions
from binventory.cli.look import bars, duration, table
from binventory.core.journal import Journal
from binventory.rehearsal.result import Result
from binventory.report.page import METRICS


def print_result(result: Result, journal: Journal, console: Console) -> None:
    """Prints the summary; the steps only where no live table stands above it."""
    if not console.is_terminal:
        _print_steps(journal, console)
    _print_trials(result, console)
    _print_metrics(result, console)
    _print_transitions(result, console)
    _print_answers(result, console)


def _print_steps(journal: Journal, console: Console) -> None:
    steps = table("step", "took", "result", right=("took",))
    for entry in journal.snapshot():
        steps.add_row("  " * entry.level + entry.name, duration(entry.seconds(journal.now())), entry.note)
    console.print()
    console.print(steps)


def _print_trials(result: Result, console: Console) -> None:
    trials = table("trial", "learning rate", "batch size", "validation loss", right=("batch size", "validation loss"))
    best = executions.best_of(result.trials)
    for number, trial in enumerate(result.trials, start=1):
        name = f"{number} best" if trial is best else str(number)
        trials.add_row(name, trial.tried("lr"), trial.tried("batch-size"), trial.loss)
    console.print()
    console.print(trials)


def _print_metrics(result: Result, console: Console) -> None:
    """The test split: the model with its interval beside the baselines."""
    ours = result.evaluation.get("binventory", {})
    model, baselines = ours.get("model", {}), ours.get("baselines", {})
    shown = table("test split", "model", "95% interval", *baselines, right=("model", "95% interval", *baselines))
    for name in METRICS:
        metric = model.get(name)
        if isinstance(metric, dict) and metric.get("value") is not None:
            others = [_number(body.get(name)) for body in baselines.values()]
            interval = f"{_bound(metric, 'low')} to {_bound(metric, 'high')}"
            shown.add_row(name.replace("_", " "), _number(metric), interval, *others)
    if shown.row_count:
        console.print()
        console.print(shown)


def _number(metric: Any) -> str:
    value = metric.get("value") if isinstance(metric, dict) else None
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _bound(metric: dict[str, Any], end: str) -> str:
    value = metric.get(end)
    return f"{value:.2f}" if isinstance(value, int | float) else "?"


def _print_transitions(result: Result, console: Console) -> None:
    if result.transitions:
        console.print("\nThe training job was reclaimed and continued from its checkpoint:")
        transitions = table("status", "")
        for transition in result.transitions:
            transitions.add_row(transition.status, transition.message)
        console.print(transitions)


def _print_answers(result: Result, console: Console) -> None:
    answers = table("photo", "recorded", "counted", "probabilities", "ms", right=("recorded", "counted", "ms"))
    for item in result.counted:
        took = f"{item.answer.milliseconds:.0f}"
        answers.add_row(item.image_id, str(item.recorded), str(item.answer.count), bars(item.answer), took)
    console.print()
    console.print(answers)
