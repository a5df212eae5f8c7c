"""The evaluation page in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.page import render_page
from tests.browser.conftest import Watched
from tests.evaluated import evaluated, samples

PHOTOS = samples(120)
HOSTILE = {"<script>alert(1)</script>": '"><img src=x onerror=alert(2)>', "Data": "https://example.com/x.js"}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    evaluation = evaluated(PHOTOS, skill=0.5, champion_skill=3, replicates=200, lineage=HOSTILE)
    path = tmp_path_factory.mktemp("page") / "evaluation.html"
    path.write_text(render_page(evaluation, PHOTOS), encoding="utf-8")
    return path


def test_opens_without_a_complaint_or_a_request(watched: Watched, page_file: Path) -> None:
    watched.open(page_file)
    assert "refuses this model" in watched.page.locator(".verdict").inner_text()
    figures = watched.page.locator("figure img")
    assert figures.count() == 24
    widths = figures.evaluate_all("images => images.map(image => image.naturalWidth)")
    assert all(width > 0 for width in widths)
    watched.assert_quiet()


def test_hostile_lineage_is_text(watched: Watched, page_file: Path) -> None:
    watched.open(page_file)
    assert watched.page.locator("script").count() == 0
    assert watched.page.get_by_text("<script>alert(1)</script>").count() == 1
    watched.assert_quiet()


def test_can_be_read_in_both_colour_schemes(shaded: Watched, page_file: Path) -> None:
    shaded.open(page_file)
    shaded.assert_readable("p", "th", "td", "small", "svg text", ".verdict", ".weak", "figcaption")


def test_fits_a_phone(phone: Watched, page_file: Path) -> None:
    phone.open(page_file)
    phone.assert_fits(360)
    phone.assert_no_column_cut()
    phone.assert_labels_apart()


def test_prints(watched: Watched, page_file: Path) -> None:
    watched.open(page_file)
    watched.assert_labels_apart()
    watched.assert_prints(".verdict", ".interval i", "svg circle")


def test_says_so_when_the_gate_opens(watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.html"
    path.write_text(render_page(evaluated(PHOTOS, skill=3, replicates=100), PHOTOS), encoding="utf-8")
    watched.open(path)
    assert "The gate opens" in watched.page.locator(".verdict").inner_text()
    watched.assert_quiet()
