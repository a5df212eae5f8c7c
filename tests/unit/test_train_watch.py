"""Every watch rule fires on its fault and not on a healthy run; each can warn or stop the job."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn

import train
from binventory.pages.charts import Series, lines
from fitting.loop import EpochResult, StepResult
from fitting.ranks import Ranks
from jobs.container import JobError
from tests.training_data import write_embedding
from watching.mlflow_tracking import MlflowTracking
from watching.profile_window import MeasuredTimes, StepTime, profile_rules
from watching.rules import RULES, LayerSignal, Rule, parse_rules
from watching.watcher import RunWatcher, layer_signals


def layer(
    name: str = "head", *, weight: float = 1.0, deviation: float = 0.1, gradient: float = 0.1, finite: bool = True
) -> LayerSignal:
    return LayerSignal(name, weight, gradient, finite, deviation)


def epochs(train_losses: Sequence[float], validation_losses: Sequence[float]) -> list[EpochResult]:
    return [
        EpochResult(number, ours, 0.5, theirs, 0.5, 1.0)
        for number, (ours, theirs) in enumerate(zip(train_losses, validation_losses, strict=True))
    ]


def steps(*layers: LayerSignal, count: int = 6) -> Callable[[Rule], list[str | None]]:
    return lambda rule: [rule.on_step(step, layers) for step in range(count)]


def history(train_losses: Sequence[float], validation_losses: Sequence[float]) -> Callable[[Rule], list[str | None]]:
    results = epochs(train_losses, validation_losses)
    return lambda rule: [rule.on_epoch(results[: number + 1]) for number in range(len(results))]


FALLING = [1.0 / (number + 1) for number in range(14)]
CASES: dict[str, tuple[Callable[[Rule], list[str | None]], Callable[[Rule], list[str | None]]]] = {
    "vanishing-gradient": (steps(layer(), layer(gradient=1e-9)), steps(layer(), layer(gradient=1e-9), count=4)),
    "exploding-tensor": (steps(layer(gradient=float("nan"), finite=False)), steps(layer(gradient=50.0))),
    "poor-weight-initialisation": (steps(layer(), layer(deviation=0.0)), steps(layer(), layer(gradient=1e-3))),
    "overfit": (history([0.2] * 4, [0.5] * 4), history([0.4] * 4, [0.5] * 4)),
    # An epoch whose validation loss is no number is never the best.
    "overtraining": (history([0.1] * 12, [0.5, 0.4, *[0.6] * 10]), history(FALLING, [math.nan, *FALLING[1:]])),
    "loss-not-decreasing": (history([1.0] * 7, [1.0] * 7), history(FALLING, FALLING)),
    "class-imbalance": (
        lambda rule: [rule.on_start({1: 5, 2: 60})],
        lambda rule: [rule.on_start({1: 20, 2: 60})],
    ),
}


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == set(CASES)


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.name)
def test_a_rule_fires_on_its_trouble_and_on_nothing_else(kind: type[Rule]) -> None:
    fires, quiet = CASES[kind.name]
    assert any(fires(kind(kind.default, "warn")))
    healthy = kind(kind.default, "warn")
    assert not any(quiet(healthy))
    assert healthy.data_points > 0


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("exploding-tensor", steps(layer(gradient=2e4))),
        ("poor-weight-initialisation", steps(layer(), layer(gradient=1e-9))),
        ("vanishing-gradient", steps(layer(gradient=0.0), count=5)),
    ],
)
def test_the_other_way_of_firing(name: str, case: Callable[[Rule], list[str | None]]) -> None:
    rule = next(rule for rule in parse_rules("default") if rule.name == name)
    assert any(case(rule))


def test_thresholds_are_settings() -> None:
    fires, _ = CASES["overfit"]
    strict, lax = (parse_rules(f"overfit=warn:{value}") for value in (0.1, 5))
    assert any(fires(next(rule for rule in strict if rule.name == "overfit")))
    assert not any(fires(next(rule for rule in lax if rule.name == "overfit")))


def test_rules_can_be_turned_off() -> None:
    assert parse_rules("off") == []
    assert "overfit" not in [rule.name for rule in parse_rules("overfit=off")]


@pytest.mark.parametrize("text", ["overfit", "overfit=shout", "underfit=warn", "overfit=warn:x", "overfit=warn:-1"])
def test_a_wrong_rule_is_refused_before_work(text: str) -> None:
    with pytest.raises(JobError, match=f"--watch is '{text}'"):
        train.main(["--watch", text])


def test_each_flag_of_rules_counts() -> None:
    """The last alone would drop the rules of the others without a word."""
    with pytest.raises(JobError, match="after another part about overfit"):
        train.main(["--watch", "overfit=stop", "--watch", "overfit=off"])


def watched(action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A run whose learning rate is so small that the loss does not move."""
    embedding = write_embedding(tmp_path / "embedding")
    flags = ["--backbone", "small", "--embedding", str(embedding), "--epochs", "8", "--lr", "1e-8", "--dropout", "0"]
    train.main(
        [*flags, "--watch", f"loss-not-decreasing={action}", "--output", str(tmp_path / "model"),
         "--checkpoints", str(tmp_path / "checkpoints")]
    )  # fmt: skip
    return capsys.readouterr().err


def test_a_rule_that_warns_says_so_once_and_in_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert watched("warn", tmp_path, capsys).count("watch rule loss-not-decreasing") == 1
    reports = {rule["rule"]: rule for rule in json.loads((tmp_path / "model" / "watch.json").read_text())}
    assert reports["loss-not-decreasing"]["triggered"] == 3
    assert reports["loss-not-decreasing"]["data_points"] == 8
    assert reports["exploding-tensor"]["triggered"] == 0


def test_every_epoch_prints_what_cloudwatch_makes_metrics_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embedding = write_embedding(tmp_path / "embedding")
    flags = ["--backbone", "small", "--embedding", str(embedding), "--epochs", "3", "--output", str(tmp_path / "model"),
             "--checkpoints", str(tmp_path / "checkpoints")]  # fmt: skip
    train.main([*flags, "--watch", "class-imbalance=warn:0.5"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("watch ")]
    norms = json.loads((tmp_path / "model" / "metrics.json").read_text())["gradient_norms"].values()
    for epoch, (line, *layers) in enumerate(zip(lines, *norms, strict=True)):
        values = dict(part.split("=") for part in line.split()[1:])
        assert values["epoch"] == str(epoch) and values["watch:fired"] == "1"
        whole = sum(layer**2 for layer in layers) ** 0.5
        assert float(values["train:gradient-norm"]) == pytest.approx(whole, rel=1e-4)


def test_a_rule_that_stops_ends_the_job_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JobError, match="watch rule loss-not-decreasing stopped the run"):
        watched("stop", tmp_path, capsys)


def test_what_a_rule_has_seen_survives_a_restart() -> None:
    def watcher() -> RunWatcher:
        return RunWatcher(parse_rules("default"), {1: 100, 2: 1}, speak=False)

    network = nn.Linear(3, 2)
    network(torch.ones(1, 3)).sum().backward()
    whole, first, second = watcher(), watcher(), watcher()
    results = epochs([0.1] * 12, [0.5] * 12)
    for number in range(12):
        for target in (whole, first if number < 7 else second):
            target.on_step(StepResult(number, number, 0.1, 0.1, network))
            target.on_epoch(results[: number + 1])
        if number == 6:
            second.restore(json.loads(json.dumps(first.state())))
    assert second.reports() == whole.reports()
    assert second.curves == whole.curves


def test_signals_are_those_of_the_tensors() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    network(torch.randn(5, 4)).square().sum().backward()
    for signal, place in zip(layer_signals(network, deviations=True), ("0", "1"), strict=True):
        weight = network.get_parameter(f"{place}.weight")
        assert weight.grad is not None
        assert signal.weight_norm == pytest.approx(float(weight.detach().norm()))
        assert signal.gradient_norm == pytest.approx(float(weight.grad.norm()))
        assert signal.weight_deviation == pytest.approx(float(weight.detach().std(correction=0)))
        assert signal.finite


HEALTHY = MeasuredTimes(
    initialisation=1.0, steps=(StepTime(0.01, 0.1),) * 100, rank_seconds=(0.09, 0.1), cpu_share=0.5, threads=2, cores=2,
    gpu=True, gpu_memory=(0.8, 0.8), gpu_busy=0.95,
)  # fmt: skip
TROUBLES = {
    "io-bottleneck": {"steps": (StepTime(0.08, 0.1),) * 100},
    "step-outliers": {"steps": (StepTime(0.0, 0.1),) * 93 + (StepTime(0.0, 0.9),) * 7},
    "initialisation-time": {"initialisation": 60.0},
    "load-balance": {"rank_seconds": (0.1, 0.3)},
    "cpu-bottleneck": {"steps": (StepTime(0.05, 0.1),) * 100, "cpu_share": 0.99},
    "dataloader-workers": {"steps": (StepTime(0.05, 0.1),) * 100, "threads": 1, "cores": 8},
    "batch-size": {"gpu_memory": (0.1, 0.1)},
    "gpu-memory-increase": {"gpu_memory": (0.5, 0.9)},
    "low-gpu-utilisation": {"gpu_busy": 0.3},
}


def fired(measured: MeasuredTimes) -> set[str]:
    return {report.rule for report in profile_rules(measured) if report.triggered}


def test_a_profile_rule_counts_the_steps_it_fires_on() -> None:
    from dataclasses import replace

    steps = {report.rule: report for report in profile_rules(replace(HEALTHY, **TROUBLES["step-outliers"]))}  # type: ignore[arg-type]
    assert (steps["step-outliers"].triggered, steps["step-outliers"].data_points) == (7, 100)
    waits = (StepTime(0.08, 0.1),) * 90 + (StepTime(0.0, 0.1),) * 10
    io = {report.rule: report for report in profile_rules(replace(HEALTHY, steps=waits))}["io-bottleneck"]
    assert (io.triggered, io.data_points) == (90, 100)


def test_a_healthy_profile_fires_nothing() -> None:
    assert fired(HEALTHY) == set()
    assert {report.rule for report in profile_rules(HEALTHY)} == set(TROUBLES)


@pytest.mark.parametrize("name", TROUBLES)
def test_a_profile_rule_fires_on_its_trouble(name: str) -> None:
    from dataclasses import replace

    assert name in fired(replace(HEALTHY, **TROUBLES[name]))  # type: ignore[arg-type]


def test_gpu_rules_have_no_data_points_without_one() -> None:
    from dataclasses import replace

    reports = {
        report.rule: report for report in profile_rules(replace(HEALTHY, gpu=False, gpu_memory=(), gpu_busy=0.0))
    }
    for name in ("batch-size", "gpu-memory-increase", "low-gpu-utilisation"):
        assert reports[name].data_points == 0 and not reports[name].triggered


class Page(HTMLParser):
    """Collects the elements that would load or run a resource."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [
            value for name, value in attributes if name in {"src", "href"} and value and not value.startswith("data:")
        ]


def test_the_page_is_self_contained_and_shows_curves_rules_and_operators(tmp_path: Path) -> None:
    embedding = write_embedding(tmp_path / "embedding")
    train.main(
        ["--backbone", "small", "--embedding", str(embedding), "--epochs", "3", "--batch-size", "8",
         "--profile-steps", "3", "--head", "softmax", "--output", str(tmp_path / "model"),
         "--checkpoints", str(tmp_path / "checkpoints")]
    )  # fmt: skip
    text = (tmp_path / "model" / "report.html").read_text()
    page = Page(text)
    assert page.outside == [] and "script" not in page.tags
    assert page.tags.count("svg") == 5
    assert all(rule.name in text for rule in RULES) and all(name in text for name in TROUBLES)
    assert all(rule.recommendation in unescape(text) for rule in RULES), "each rule's recommendation is always shown"
    profile = json.loads((tmp_path / "model" / "profile.json").read_text())
    assert any("addmm" in row["operator"] or "linear" in row["operator"] for row in profile["operators"])
    assert profile["steps"] == 3 * 8 - 1
    norms = json.loads((tmp_path / "model" / "metrics.json").read_text())["gradient_norms"]
    assert {name: len(values) for name, values in norms.items()} == {"hidden.weight": 3, "out.weight": 3}


def test_a_window_longer_than_the_run_shows_what_it_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embedding = write_embedding(tmp_path / "embedding")

    def operators(name: str, *flags: str) -> list[dict[str, Any]]:
        train.main(
            ["--backbone", "small", "--embedding", str(embedding), "--epochs", "1", "--profile-steps", "1000", *flags,
             "--output", str(tmp_path / name), "--checkpoints", str(tmp_path / f"{name}-checkpoints")]
        )  # fmt: skip
        found: list[dict[str, Any]] = json.loads((tmp_path / name / "profile.json").read_text())["operators"]
        return found

    assert operators("eight steps", "--batch-size", "8")
    assert "profiled nothing" not in capsys.readouterr().err
    assert operators("two steps", "--batch-size", "30") == []
    assert "profile-steps 1000 profiled nothing: its window begins after 5 steps, and here were 2" in (
        capsys.readouterr().err
    )


def test_a_chart_survives_values_that_cannot_be_drawn() -> None:
    assert "no data" in lines("Loss", [Series("a", [(0, float("nan"))])], x_label="x")
    drawn = lines("<b>", [Series("<i>", [(1, 0.0), (2, 5.0), (3, 5.0)])], x_label="x", log_y=True)
    assert "<b>" not in drawn and "&lt;i&gt;" in drawn and "nan" not in drawn


def test_mlflow_reports_to_nobody_but_its_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MLflow decides at its import whether it reports its use to its makers."""
    (tmp_path / "mlflow.py").write_text(
        "import os\nat_import = os.environ['MLFLOW_DISABLE_TELEMETRY']\n"
        "set_tracking_uri = set_experiment = lambda name: None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with mock.patch.dict(os.environ), mock.patch.dict(sys.modules):
        os.environ.pop("MLFLOW_DISABLE_TELEMETRY", None)
        assert MlflowTracking("https://mlflow.example", "job", {})._mlflow.at_import == "true"


def test_mlflow_is_asked_for_before_work_starts(tmp_path: Path) -> None:
    embedding = write_embedding(tmp_path / "embedding")
    with pytest.raises(
        JobError, match=r"mlflow is set but not installed: pip install --require-hashes -r requirements-mlflow\.txt"
    ):
        train.main(["--backbone", "small", "--embedding", str(embedding), "--mlflow", "file:///nowhere"])


def test_a_weight_that_is_no_number_is_not_called_a_gradient() -> None:
    rule = next(rule for rule in parse_rules("default") if rule.name == "exploding-tensor")
    assert (
        rule.on_step(3, [layer(weight=float("nan"), finite=False)]) == "a weight of head is no finite number at step 3"
    )
    assert (
        rule.on_step(4, [layer(gradient=float("nan"), finite=False)]) == "the gradient of head has norm nan at step 4"
    )


def test_one_rank_needs_no_group() -> None:
    assert Ranks().gather(2.5) == [2.5]
