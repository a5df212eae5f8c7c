"""The run report in a real browser: light and dark, on a desk, on a phone and on paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

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
# Contrast ratio that WCAG 2 asks of text (AA).
LEAST_CONTRAST = 4.5
CONTRAST = """element => {
  const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = colour => { const [r, g, b] = rgb(colour).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const style = getComputedStyle(element), svg = element.tagName === 'text';
  const [a, b] = [light(svg ? style.fill : style.color), light(getComputedStyle(document.body).backgroundColor)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""  # noqa: E501


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_can_be_read_in_both_colour_schemes(browser: Browser, page_file: Path, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two literals
    page = context.new_page()
    page.goto(page_file.as_uri())
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    for selector in ("p.quiet", "th", "td", "svg text", ".status", "figcaption"):
        contrasts = page.locator(selector).evaluate_all(f"elements => elements.map({CONTRAST})")
        assert min(contrasts) >= LEAST_CONTRAST, selector
    context.close()


def test_fits_a_phone(phone: Watched, page_file: Path) -> None:
    phone.open(page_file)
    phone.assert_fits(360)


def test_prints(watched: Watched, page_file: Path) -> None:
    watched.open(page_file)
    watched.assert_prints()


def test_a_failed_run_shows_its_reason_and_nothing_it_does_not_have(watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_text(render(failed()), encoding="utf-8")
    watched.open(path)
    assert watched.page.locator("h2").all_inner_texts() == ["What ran when", "What it cost"]
    assert "the disk is full" in watched.page.locator("tbody").first.inner_text()
    watched.assert_quiet()
