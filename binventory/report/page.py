"""Renders a run record as a page: self-contained, without scripts, everything from the record escaped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from binventory import executions
from binventory.core.journal import duration
from binventory.cost.amounts import money_or_unknown
from binventory.cost.spent import StepSpent
from binventory.executions.watching import outcome
from binventory.pages import charts, document
from binventory.report.record import Curve, RunRecord

METRICS: Final = ("accuracy", "balanced_accuracy", "within_one", "rmse", "mae", "calibration_error")
_WIDE: Final = 10.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


def render(record: RunRecord) -> str:
    """The page as HTML."""
    return document.render(
        Path(__file__).with_name("page.html"),
        **_head(record), **_steps(record), **_tuning(record), **_evaluation(record), **_costs(record),
        curves=Markup("".join(_curves(record))), parameters=sorted(record.parameters.items()),
    )  # fmt: skip


def _head(record: RunRecord) -> dict[str, Any]:
    execution = record.execution
    accuracy = record.evaluation.get("multiclass_classification_metrics", {}).get("accuracy", {}).get("value")
    facts = [
        ("Started", f"{record.started.astimezone(UTC):%Y-%m-%d %H:%M} UTC"),
        ("Took", duration((record.ended - record.started).total_seconds())),
        ("Cost", money_or_unknown(record.spent.dollars)),
        ("Spot saved", money_or_unknown(record.spent.saved)),
    ]
    if record.best is not None:
        facts.append(("Best trial's objective", f"{record.best.objective:.4g}"))
    if accuracy is not None:
        facts.append(("Test accuracy", f"{accuracy:.1%}"))
    return {
        "title": execution.id,
        "arn": execution.arn,
        "status": execution.status,
        "description": record.description,
        "failure": record.reason or execution.failure,
        "facts": facts,
    }


def _steps(record: RunRecord) -> dict[str, Any]:
    rows = [
        {"name": step.name, "status": step.status, "took": _took(step), "result": _result(step)}
        for step in record.execution.steps
    ]
    return {"steps": rows, "timeline": Markup(charts.timeline("Steps and trials", list(_spans(record))))}


def _spans(record: RunRecord) -> Iterator[charts.Span]:
    jobs = {step.step: step.jobs for step in record.spent.steps}
    for step in record.execution.steps:
        if step.started is not None:
            yield _span(record, step.name, step.started, step.ended, step.status, said=str(step.reused or ""))
            if step.kind == "TuningJob":
                for number, job in enumerate(jobs.get(step.name, ()), start=1):
                    if job.started is not None:
                        style = "Failed" if job.status == "Failed" else "trial"
                        yield _span(record, f"trial {number}", job.started, job.ended, style, level=1)


def _span(
    record: RunRecord, name: str, start: datetime, end: datetime | None, style: str, *, level: int = 0, said: str = ""
) -> charts.Span:
    begun = (start - record.started).total_seconds()
    ended = ((end or record.ended) - record.started).total_seconds()
    # Clocks of different services differ by parts of a second.
    return charts.Span(
        name, max(0.0, begun), max(begun, ended, 0.0), f"{name}: {said or duration(ended - begun)}", style, level=level
    )


def _seconds(step: executions.ExecutionStep) -> float | None:
    return (step.ended - step.started).total_seconds() if step.started and step.ended else None


def _took(step: executions.ExecutionStep) -> str:
    return "" if step.reused else duration(_seconds(step))


def _result(step: executions.ExecutionStep) -> str:
    if step.failure:
        return step.failure
    return str(step.reused) if step.reused is not None else outcome(step)


def _tuning(record: RunRecord) -> dict[str, Any]:
    took = {job.name: duration(job.seconds) for job in record.spent.jobs}
    tuned = sorted({name for trial in record.trials for name in trial.hyperparameters})
    rows = [
        {
            "best": trial is record.best,
            "given": [trial.tried(name) for name in tuned],
            "objective": trial.loss,
            "took": took.get(trial.job, ""),
            "status": trial.status,
        }
        for trial in record.trials
    ]
    return {"tuned": tuned, "trials": rows, "tuning": Markup(_tuning_picture(record))}


def _tuning_picture(record: RunRecord) -> str:
    dots = []
    for number, trial in enumerate(record.trials, start=1):
        rate = executions.number_in(trial.hyperparameters.get("lr", ""))
        if rate is not None and rate > 0 and trial.objective is not None:
            batch = trial.tried("batch-size")
            note = f"trial {number}: {trial.loss} with batches of {batch}"
            best = trial is record.best
            dots.append(charts.Dot(rate, trial.objective, f"{number}", note, best, f"batches of {batch}"))
    heights = [dot.y for dot in dots]
    wide = bool(heights) and min(heights) > 0 and max(heights) / min(heights) > _WIDE
    dots.sort(key=lambda dot: (len(dot.group), dot.group))
    title = "Objective (smaller is better) by learning rate and batch size"
    return charts.scatter(title, dots, x_label="learning rate, logarithmic", log_x=True, log_y=wide)


def _curves(record: RunRecord) -> Iterator[str]:
    training = record.training
    for metric, title in (("loss", "Loss by epoch"), ("accuracy", "Accuracy by epoch")):
        series = [
            charts.Series(f"trial {number}", _points(curve, f"validation:{metric}"), faint=True)
            for number, curve in enumerate(record.trial_curves, start=1)
        ]
        if training is not None:
            series += [
                charts.Series(split, _points(training, f"{split}:{metric}")) for split in ("train", "validation")
            ]
        series = [one for one in series if one.points]
        values = [y for one in series for _, y in one.points]
        wide = metric == "loss" and bool(values) and min(values) > 0 and max(values) / min(values) > _WIDE
        if series:
            yield charts.lines(title, series, x_label="epoch", log_y=wide)


def _points(curve: Curve, name: str) -> list[tuple[float, float]]:
    return [(float(epoch.number), epoch.metrics[name]) for epoch in curve.epochs if name in epoch.metrics]


def _evaluation(record: RunRecord) -> dict[str, Any]:
    ours = record.evaluation.get("binventory")
    if not ours:
        return {"metrics": []}
    model, baselines = ours["model"], ours["baselines"]
    rows = [
        [name.replace("_", " "), _value(model[name]), _interval(model[name])]
        + [_value(baseline[name]) for baseline in baselines.values()]
        for name in METRICS
        if model.get(name, {}).get("value") is not None
    ]  # fmt: skip
    gate = ours["gate"]
    heat = []
    for count, row in zip(ours["classes"], ours["confusion"], strict=True):
        total = sum(row) or 1
        heat.append({"count": count, "cells": [{"photos": n, "share": round(n / total / 2, 3)} for n in row]})
    return {
        "columns": ["this model", "95% interval", *baselines],
        "metrics": rows,
        "verdict": verdict(gate),
        "classes": ours["classes"],
        "confusion": heat,
    }


def verdict(gate: dict[str, Any]) -> str:
    """The gate's decision in one or two sentences."""
    said = "The gate let it pass." if gate["passed"] else "The gate refused it: " + "; ".join(gate["reasons"])
    # Older evaluations lack it.
    missing, no_bound = gate.get("not_compared", ""), gate.get("no_bound", "")
    if no_bound and gate["passed"]:
        return f"{said} Without a bound: {no_bound}."
    return f"{said} By the threshold alone: {missing}." if missing else said


def _value(metric: dict[str, Any]) -> str:
    value = metric.get("value")
    return "" if value is None else f"{value:.3f}"


def _interval(metric: dict[str, Any]) -> str:
    if metric.get("low") is None or metric.get("high") is None:
        return ""
    return f"{metric['low']:.2f} to {metric['high']:.2f}"


def _costs(record: RunRecord) -> dict[str, Any]:
    spent = record.spent
    total = {"cost": money_or_unknown(spent.dollars), "saved": money_or_unknown(spent.saved)}
    return {"costs": [_cost(step) for step in spent.steps], "total": total}


def _cost(step: StepSpent) -> dict[str, Any]:
    machines = sorted({f"{job.instance_count} x {job.instance_type}{' spot' if job.spot else ''}" for job in step.jobs})
    return {
        "step": step.step,
        "machines": ", ".join(machines),
        "jobs": len(step.jobs),
        "billed": duration(sum(job.billable for job in step.jobs)),
        "cost": money_or_unknown(step.dollars),
        "saved": money_or_unknown(step.saved),
    }
