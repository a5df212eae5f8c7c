"""One training run as a page and as JSON: curves, gradient norms, the watch rules, where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from fitting.loop import EpochResult, Outcome
from jobs.container import write_json
from watching.line_chart import Line, chart
from watching.rules import RuleReport
from watching.watcher import Curves

STYLE = """
:root{--ink:#1a1a1a;--paper:#fff;--line:#ddd;--fired:#d55e00;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;
--c4:#e69f00;--c5:#56b4e9;--c6:#000}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--line:#30363d;--fired:#ff9e64;--c0:#58a6ff;
--c1:#ff9e64;--c2:#3fcf9b;--c3:#e3a3c7;--c4:#e3b341;--c5:#79c0ff;--c6:#fff}}
body{font:16px/1.5 system-ui,sans-serif;max-width:68rem;margin:0 auto;padding:1rem;color:var(--ink);
background:var(--paper)}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}figure{margin:1rem 0}figcaption{font-weight:600}
svg{width:100%;height:auto;font-size:12px}svg text{fill:var(--ink)}.grid{stroke:var(--line)}
.charts{display:grid;gap:1rem}
@media(min-width:60rem){.charts{grid-template-columns:1fr 1fr}}
.legend span{margin-right:1rem}.legend i{display:inline-block;width:1rem;height:.3rem;margin-right:.3rem;
vertical-align:middle}.table{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
tr.fired td:first-child{border-left:.3rem solid var(--fired)}
"""


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
    charts = [
        chart("Loss by epoch", _curves(history, "loss"), x_label="epoch"),
        chart("Accuracy by epoch", _curves(history, "accuracy"), x_label="epoch"),
        chart("Validation RMSE by epoch, items",
              [Line("validation", [(result.epoch, result.validation_rmse) for result in history])],
              x_label="epoch"),
        chart("Training loss by step", [Line("train", report.curves.steps)], x_label="step"),
        chart("Gradient norm by layer and epoch",
              [Line(name, list(enumerate(norms))) for name, norms in _shown_layers(report.curves)],
              x_label="epoch", log_y=True),
    ]  # fmt: skip
    facts = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in report.facts.items())
    sections = [
        f"<h1>{escape(report.title)}</h1>",
        f'<div class="table"><table>{facts}</table></div>',
        f'<h2>Learning curves</h2><div class="charts">{"".join(charts)}</div>',
        f"<h2>Watch rules</h2>{rule_table(report.watch)}",
    ]
    if report.profile_rules:
        sections.append(f"<h2>Where the time went</h2>{rule_table(report.profile_rules)}")
        sections.append(_operators(report.profile.get("operators", [])))
    return page(report.title, "".join(sections))


def page(title: str, body: str) -> str:
    """An HTML document around `body`."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def rule_table(rules: Sequence[RuleReport]) -> str:
    """What each rule checks, its threshold, how often it fired, on how many data points, and the cure."""
    head = "<tr><th>Rule</th><th>Checks</th><th>Threshold</th><th>Fired</th><th>Data points</th><th>First</th>" + (
        "<th>Recommendation</th></tr>"
    )
    rows = []
    for rule in rules:
        cells = (
            rule.rule, rule.checks, f"{rule.threshold:g}", str(rule.triggered), str(rule.data_points), rule.first,
            rule.recommendation,
        )  # fmt: skip
        fired = ' class="fired"' if rule.triggered else ""
        rows.append(f"<tr{fired}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return f'<div class="table"><table>{head}{"".join(rows)}</table></div>'


def _curves(history: Sequence[EpochResult], what: str) -> list[Line]:
    return [
        Line(split, [(result.epoch, getattr(result, f"{split}_{what}")) for result in history])
        for split in ("train", "validation")
    ]


def _shown_layers(curves: Curves) -> list[tuple[str, list[float]]]:
    """At most seven layers, first to last, so that the lines can be told apart."""
    layers = list(curves.gradients.items())
    step = max(1, -(-len(layers) // 7))
    return layers[::step]


def _operators(operators: Sequence[dict[str, Any]]) -> str:
    if not operators:
        return "<p>No operators were profiled: set profile-steps to look at a window of steps.</p>"
    head = "<tr><th>Operator</th><th>Calls</th><th>CPU, ms</th><th>GPU, ms</th></tr>"
    rows = "".join(
        f"<tr><td>{escape(row['operator'])}</td><td>{row['calls']}</td><td>{row['cpu_ms']}</td><td>{row['gpu_ms']}</td></tr>"
        for row in operators
    )
    return f'<div class="table"><table>{head}{rows}</table></div>'
