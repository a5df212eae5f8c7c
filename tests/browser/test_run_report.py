"""The run report in a browser: light and dark, on a desktop, a phone and paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from binventory.report.page import render
from evaluation.report import to_json
from tests.browser.conftest import Watched
from tests.evaluated import evaluated, samples
from tests.recorded import SCRIPT, failed, record

HEADINGS = [
    "What ran when",
    "What was tried",
    "How it learned",
    "How good it is",
    "What it cost",
    "What was asked for",
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    photos = samples(120)
    evaluation = to_json(evaluated(photos, skill=2, replicates=100))
    path = tmp_path_factory.mktemp("page") / "run.html"
    path.write_text(render(record(evaluation)), encoding="utf-8")
    return path


def test_shows_the_whole_run_without_a_complaint_or_a_request(watched: Watched, page_file: Path) -> None:
    watched.open(page_file)
    assert watched.page.locator("h2").all_inner_texts() == HEADINGS
    assert watched.page.locator("svg").count() == 4
    assert watched.page.locator("svg rect.bar").count() == 7 + 5, "seven steps and five trials"
    assert watched.page.locator("svg circle.dot").count() == 5
    assert watched.page.locator("tr.best").first.inner_text().startswith("4 best")
    assert "$0.01" in watched.page.locator("tr.best").last.inner_text()
    watched.assert_quiet()


def test_every_bar_lies_inside_its_picture(watched: Watched, page_file: Path) -> None:
    watched.open(page_file)
    inside = """shapes => shapes.every(shape => {
      const box = shape.getBBox(), view = shape.ownerSVGElement.viewBox.baseVal;
      return box.x >= 0 && box.y >= 0 && box.x + box.width <= view.width && box.y + box.height <= view.height; })"""
    assert watched.page.locator("svg rect, svg circle, svg polyline").evaluate_all(inside)


def test_hostile_text_is_text(watched: Watched, page_file: Path) -> None:
    watched.open(page_file)
    assert watched.page.locator("script").count() == 0
    assert watched.page.get_by_text(SCRIPT).count() >= 1
    watched.assert_quiet()


def test_can_be_read_in_both_colour_schemes(shaded: Watched, page_file: Path) -> None:
    shaded.open(page_file)
    shaded.assert_readable("p.quiet", "th", "td", "svg text", ".status", "figcaption")


def test_fits_a_phone(phone: Watched, page_file: Path) -> None:
    phone.open(page_file)
    phone.assert_fits(360)
    phone.assert_no_column_cut()


def test_prints(watched: Watched, page_file: Path) -> None:
    watched.open(page_file)
    watched.assert_labels_apart()
    watched.assert_prints(".legend i", "svg rect.bar", "svg circle.dot")


def test_a_failed_run_shows_its_reason_and_nothing_it_does_not_have(watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_text(render(failed()), encoding="utf-8")
    watched.open(path)
    assert watched.page.locator("h2").all_inner_texts() == ["What ran when", "What it cost"]
    assert "the disk is full" in watched.page.locator("tbody").first.inner_text()
    watched.assert_quiet()
