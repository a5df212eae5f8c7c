"""One training run as a page and as JSON: curves, gradient norms, the watch rules, where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from binventory.pages import document
from binventory.pages.charts import Series, lines
from fitting.loop import EpochResult, Outcome
from jobs.container import write_json
from watching.rules import RuleReport
from watching.watcher import Curves


@dataclass(frozen=True, eq=False)
class RunReport:
    """Everything the page shows."""

    title: str
    facts: dict[str, str]
    outcome: Outcome
    curves: Curves
    watch: Sequence[RuleReport]
    profile: dict[str, Any] = field(default_factory=dict)
    profile_rules: Sequence[RuleReport] = ()


def write_run_report(folder: Path, report: RunReport, *, seconds: float) -> None:
    """Write metrics.json, watch.json, profile.json and report.html into `folder`."""
    outcome = report.outcome
    write_json(folder / "metrics.json", {
        "best": asdict(outcome.best), "history": [asdict(result) for result in outcome.history],
        "resumed_at_step": outcome.resumed_at, "seconds": round(seconds, 3),
        "step_losses": report.curves.steps, "gradient_norms": report.curves.gradients,
    })  # fmt: skip
    write_json(folder / "watch.json", [asdict(rule) for rule in report.watch])
    write_json(folder / "profile.json", report.profile)
    (folder / "report.html").write_text(render(report), encoding="utf-8")


def render(report: RunReport) -> str:
    """The page: self-contained, without scripts or outside requests."""
    history = report.outcome.history
    validation = [(float(result.epoch), result.validation_rmse) for result in history]
    layers = [Series(name, list(enumerate(norms))) for name, norms in _shown_layers(report.curves)]
    charts = [
        lines("Loss by epoch", _curves(history, "loss"), x_label="epoch"),
        lines("Accuracy by epoch", _curves(history, "accuracy"), x_label="epoch"),
        lines("Validation RMSE by epoch, items", [Series("validation", validation)], x_label="epoch"),
        lines("Training loss by step", [Series("train", report.curves.steps)], x_label="step"),
        lines("Gradient norm by layer and epoch", layers, x_label="epoch", log_y=True),
    ]
    return document.render(
        Path(__file__).with_name("page.html"),
        report=report,
        charts=Markup("".join(charts)),
        operators=report.profile.get("operators", []),
    )


def _curves(history: Sequence[EpochResult], what: str) -> list[Series]:
    return [
        Series(split, [(result.epoch, getattr(result, f"{split}_{what}")) for result in history])
        for split in ("train", "validation")
    ]


def _shown_layers(curves: Curves) -> list[tuple[str, list[float]]]:
    """At most seven layers, first to last, so that the lines are distinguishable."""
    layers = list(curves.gradients.items())
    step = max(1, -(-len(layers) // 7))
    return layers[::step]
