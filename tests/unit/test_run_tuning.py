"""The search in the page of an execution: every trial, whatever became of it."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from binventory.cli.summary import print_result
from binventory.cli.watch import trials_table
from binventory.core.journal import Journal
from binventory.executions import Trial
from binventory.pages.charts import Dot, Series, lines, scatter
from binventory.rehearsal.result import Result
from binventory.report.page import render
from binventory.report.record import Curve, epochs
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


def shown_everywhere(trials: tuple[Trial, ...]) -> dict[str, str]:
    """The trials in the page, in the table of `watch`, and in the summary of a rehearsal."""
    watched, rehearsed = (Console(file=io.StringIO(), width=200, color_system=None) for _ in range(2))
    watched.print(trials_table(trials))
    print_result(Result(trials=trials), Journal(), rehearsed)
    texts = {name: console.file.getvalue() for name, console in (("watch", watched), ("rehearse", rehearsed))}  # type: ignore[attr-defined]
    return {"page": render(replace(record({}), trials=trials, trial_curves=())), **texts}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"lr": "0.000123456", "batch-size": '"1024"'}, ("0.000123", "1024")),
        ({"lr": "0.5", "batch-size": "4096"}, ("0.5", "4096")),
        ({"lr": "3e-06", "batch-size": '"64"'}, ("3e-06", "64")),
    ],
)
def test_what_was_tried_is_written_alike_everywhere(given: dict[str, str], wanted: tuple[str, str]) -> None:
    for place, text in shown_everywhere((Trial("t", "Completed", 1.5, given),)).items():
        assert all(value in text for value in wanted), place
        assert "e+" not in text and '"64"' not in text and '"1024"' not in text, place


def test_of_two_trials_that_are_as_good_one_is_the_best() -> None:
    trials = tuple(Trial(f"t{number}", "Completed", 1.5, {"lr": "0.1", "batch-size": "32"}) for number in range(2))
    texts = shown_everywhere(trials)
    assert texts["page"].count(" best</td>") == 1
    assert texts["watch"].count("best") == texts["rehearse"].count("best") == 1


def test_a_loss_that_diverged_is_not_read_as_a_small_one() -> None:
    lines = ["epoch=1 train:loss=1.23457e+06 validation:loss=2.5", "epoch=2 train:loss=nan validation:loss=3E+08"]
    first, second = epochs(lines)
    assert first.metrics == {"train:loss": 1.23457e6, "validation:loss": 2.5}
    assert second.metrics == {"validation:loss": 3e8}, "what is no number is left out"


@pytest.mark.parametrize("rates", [("0.011", "0.014", "0.019"), ("0.0021", "0.0022"), ("0.0001", "0.1"), ("0.3",)])
def test_learning_rates_that_lie_close_together_have_an_axis(rates: tuple[str, ...]) -> None:
    trials = tuple(Trial(f"t{rate}", "Completed", 1.5, {"lr": rate, "batch-size": "32"}) for rate in rates)
    page = render(replace(record({}), trials=trials, trial_curves=(), training=None))
    picture = page[page.index("Objective (smaller") :].partition("</figure>")[0]
    places = re.findall(r'<text x="[\d.]+" y="236" text-anchor="middle">([^<]+)</text>', picture)
    assert len(places) >= 2, "values that a reader can go by"
    assert places == sorted(places, key=float)


@pytest.mark.parametrize("loss", ["1e20", "1e307", "0", "1e-320"])
def test_a_run_whose_only_loss_is_far_off_has_its_page(loss: str) -> None:
    """A training that diverged in its only epoch; its trial as well."""
    diverged = Curve("train", epochs([f"epoch=1 train:loss={loss} validation:loss={loss}"]))
    trials = (Trial("t", "Completed", float(loss), {"lr": "0.3", "batch-size": "32"}),)
    page = render(replace(record({}), trials=trials, trial_curves=(diverged,), training=diverged))
    drawn = page.count('<circle class="point') + page.count('<circle class="dot')
    assert drawn == (0 if loss == "1e307" else 4)
    assert "nan" not in page and "inf" not in page


def test_values_beside_an_axis_are_told_apart() -> None:
    drawn = lines("Loss", [Series("train", [(1.0, 2.302585090), (2.0, 2.302585091)])], x_label="epoch")
    labels = re.findall(r'text-anchor="end">([^<]+)<', drawn)
    assert len(set(labels)) == len(labels) >= 3
    assert all(2.302585 < float(label) < 2.302586 for label in labels)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=4), st.booleans(), st.booleans())
def test_every_number_is_drawn_or_left_out(points: list[tuple[float, float]], log_x: bool, log_y: bool) -> None:
    dots = [Dot(x, y, "1", "note") for x, y in points]
    for drawn in (
        lines("Loss", [Series("train", points)], x_label="epoch", log_y=log_y),
        scatter("Trials", dots, x_label="rate", log_x=log_x, log_y=log_y),
    ):
        assert not re.search(r"=.-?(nan|inf)", drawn)
