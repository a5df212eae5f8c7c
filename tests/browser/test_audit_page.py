"""The audit page in a browser: used and marked by keyboard, downloaded, and read by ingest."""

from __future__ import annotations

from pathlib import Path

import pytest

from binventory.audit import job
from binventory.records.labels import Label, read_labels
from tests.audited import FORMULA, SCRIPT, write_bin, write_evaluation, write_folder, write_predictions
from tests.browser.conftest import Watched

BINS = 130


def audited(place: Path, skill: float) -> Path:
    """The page of an audit by a model of that skill; some of its bins are hostile."""
    folder = write_folder(place / "bins", BINS)
    write_bin(folder, "00000", 1, name=SCRIPT)
    write_bin(folder, "00010", 2, name=FORMULA)
    predictions = write_predictions(folder, place / "p.jsonl", 40)
    (folder / "bin-images" / "00020.jpg").unlink()
    (folder / "bin-images" / "00020.jpg").write_bytes(b"no photo any more")
    evaluation = str(write_evaluation(place / "evaluation", skill))
    request = job.Request(str(folder), place / "out", predictions=predictions, evaluation=evaluation, formats=("html",))
    job.run_audit(request, lambda: pytest.fail("needs no AWS"))
    return place / "out" / "audit.html"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return audited(tmp_path_factory.mktemp("audit"), 3.0)


@pytest.fixture(scope="module")
def useless_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return audited(tmp_path_factory.mktemp("useless"), 0.0)


@pytest.fixture
def open_page(watched: Watched, page_file: Path) -> Watched:
    watched.open(page_file)
    watched.page.wait_for_selector("html[data-ready=true]")
    return watched


def title(watched: Watched) -> str:
    return watched.page.locator("#title").inner_text()


def labels(watched: Watched, key: str = "d") -> bytes:
    with watched.page.expect_download() as download:
        watched.page.keyboard.press(key)
    assert download.value.suggested_filename == "labels.csv"
    return Path(download.value.path()).read_bytes()


def test_opens_without_a_complaint_or_a_request(open_page: Watched) -> None:
    assert title(open_page) == "Bin 00000"
    assert open_page.page.locator("#photo").evaluate("image => image.naturalWidth") > 0
    assert f"0 of {BINS} checked" in open_page.page.locator("#progress").inner_text()
    open_page.assert_quiet()


def test_a_photo_that_cannot_be_shown_moves_no_other(watched: Watched, tmp_path: Path) -> None:
    """The first bins of the list have no photo any more, as in an audit of earlier answers."""
    folder = write_folder(tmp_path / "bins", 4)
    predictions = write_predictions(folder, tmp_path / "p.jsonl", 4)
    for image_id in ("00000", "00010", "00030"):
        (folder / "bin-images" / f"{image_id}.jpg").write_bytes(b"no photo any more")
    request = job.Request(str(folder), tmp_path / "out", predictions=predictions, formats=("html",))
    job.run_audit(request, lambda: pytest.fail("needs no AWS"))
    watched.open(tmp_path / "out" / "audit.html")
    watched.page.wait_for_selector("html[data-ready=true]")
    shown = {}
    for _ in range(4):
        shown[title(watched)] = watched.page.locator("#photo").is_visible()
        assert watched.page.locator("#no-photo").is_visible() != shown[title(watched)]
        watched.page.keyboard.press("ArrowDown")
    assert shown == {"Bin 00000": False, "Bin 00010": False, "Bin 00020": True, "Bin 00030": False}


def test_hostile_names_are_text(open_page: Watched) -> None:
    assert SCRIPT in open_page.page.locator("#skus").inner_text()
    assert open_page.page.title() == "Audit of recorded quantities"
    assert open_page.page.locator("#skus img").count() == 0
    open_page.page.keyboard.press("ArrowDown")
    assert FORMULA in open_page.page.locator("#skus").inner_text()
    open_page.assert_quiet()


def test_the_keyboard_walks(open_page: Watched) -> None:
    keyboard = open_page.page.keyboard
    for key, expected in (
        ("ArrowDown", "00010"),
        ("j", "00020"),
        ("k", "00010"),
        ("ArrowUp", "00000"),
        ("ArrowUp", "00000"),
        ("End", f"{(BINS - 1) * 10:05d}"),
        ("j", f"{(BINS - 1) * 10:05d}"),
        ("Home", "00000"),
    ):
        keyboard.press(key)
        assert title(open_page) == f"Bin {expected}", key
    keyboard.press("PageDown")
    assert open_page.page.locator("#list").get_attribute("aria-activedescendant") == "row-10"
    selected = open_page.page.locator("[aria-selected=true]")
    assert selected.count() == 1 and selected.get_attribute("id") == "row-10"
    open_page.assert_quiet()


def test_a_photo_that_is_gone_says_so(open_page: Watched) -> None:
    open_page.page.keyboard.press("j")
    open_page.page.keyboard.press("j")
    assert title(open_page) == "Bin 00020"
    assert open_page.page.locator("#no-photo").is_visible() and not open_page.page.locator("#photo").is_visible()
    open_page.assert_quiet()


def test_marks_download_as_labels_that_ingest_reads(open_page: Watched) -> None:
    """00000 right, 00010 counted 4, 00020 wrong without a count, 00030 counted 12, 00040 marked and taken back."""
    page, keyboard = open_page.page, open_page.page.keyboard
    assert page.locator("#download").is_disabled()
    keyboard.press("r")
    keyboard.press("4")
    keyboard.press("w")
    page.locator("#count-field").fill("12")
    keyboard.press("Enter")
    page.locator("#title").click()
    keyboard.press("r")
    keyboard.press("k")
    assert title(open_page) == "Bin 00040"
    keyboard.press("u")
    assert "4 of 130 checked: 3 wrong, 1 right" in page.locator("#progress").inner_text()

    found = read_labels(labels(open_page), "labels.csv")
    assert dict(found.by_id) == {"00000": Label(1, "audit"), "00010": Label(4, "audit"), "00030": Label(12, "audit")}
    assert found.refused == ()

    with page.expect_download() as download:
        page.locator("#download-marks").click()
    assert Path(download.value.path()).read_text().splitlines() == [
        "image_id,recorded,verdict,counted",
        "00000,1,right,1",
        "00010,2,wrong,4",
        "00020,3,wrong,",
        "00030,4,wrong,12",
    ]
    open_page.assert_quiet()


def test_a_digit_equal_to_the_record_means_right(open_page: Watched) -> None:
    open_page.page.keyboard.press("1")
    assert "1 checked" in open_page.page.locator("#progress").inner_text().replace("of 130 ", "")
    assert "0 wrong, 1 right" in open_page.page.locator("#progress").inner_text()


def test_marks_survive_a_reload(open_page: Watched, page_file: Path) -> None:
    open_page.page.keyboard.press("5")
    open_page.open(page_file)
    open_page.page.wait_for_selector("html[data-ready=true]")
    assert "you counted 5" in open_page.page.locator("#mark").inner_text()
    assert read_labels(labels(open_page), "labels.csv").by_id["00000"].count == 5


def test_search_and_filter_narrow_the_list(open_page: Watched) -> None:
    page = open_page.page
    page.keyboard.press("w")
    page.keyboard.press("/")
    page.keyboard.type("B00050")
    assert title(open_page) == "Bin 00050"
    assert page.locator(".row").count() == 1
    page.locator("#search").fill("no such bin")
    assert page.locator("#empty").is_visible() and not page.locator("#detail").is_visible()
    page.locator("#search").fill("")
    page.locator("#filter").select_option("wrong")
    assert page.locator(".row").count() == 1 and title(open_page) == "Bin 00000"
    open_page.assert_quiet()


def test_keys_typed_into_a_field_or_with_a_modifier_do_nothing_else(open_page: Watched) -> None:
    page = open_page.page
    page.locator("#search").focus()
    page.keyboard.type("r5w")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+j")
    assert "0 of 130 checked" in page.locator("#progress").inner_text()


def test_can_be_read_in_both_colour_schemes(shaded: Watched, page_file: Path) -> None:
    shaded.open(page_file)
    shaded.page.wait_for_selector("html[data-ready=true]")
    shaded.assert_readable(
        "p", "dt", "dd", "small", ".verdict strong", "th", "td", ".row span", "button:enabled", "kbd", "input", "select"
    )


def test_fits_a_phone_and_works_by_touch(phone: Watched, page_file: Path) -> None:
    phone.open(page_file)
    phone.assert_fits(360)
    phone.assert_no_column_cut()
    phone.page.locator("#right").tap()
    assert title(phone) == "Bin 00010"
    phone.page.locator("#next").tap()
    assert title(phone) == "Bin 00020"
    label = phone.page.locator(".cards td[data-label]").first
    assert label.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Bins"', "cells name their column"
    phone.assert_quiet()


def test_prints_a_list_to_take_along(open_page: Watched) -> None:
    page = open_page.page
    open_page.assert_prints(".verdict", ".meter i", ".legend i.of-record", ".legend i.other", ".spark i.of-record")
    assert page.locator(".print tbody tr").count() == 100
    assert page.locator(".print").is_visible() and not page.locator(".walk").is_visible()
    assert "B00000" in page.locator(".print tbody tr").first.inner_text()


def test_says_first_how_far_the_model_can_be_trusted(open_page: Watched) -> None:
    verdict = open_page.page.locator("h1 + section.verdict")
    assert verdict.locator("strong").inner_text() == (
        "The model is better than always answering the most frequent quantity."
    )
    rows = verdict.locator("tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows[:2]] == ["Right", "Right within one"] and "10.0% by chance" in rows[2]


def test_a_model_that_knows_nothing_calls_no_record_wrong(watched: Watched, useless_page: Path) -> None:
    watched.open(useless_page)
    watched.page.wait_for_selector("html[data-ready=true]")
    page = watched.page
    assert "no record is called wrong" in page.locator("h1 + section.verdict.refused strong").inner_text()
    assert title(watched) == "Bin 00000", "the bins are ranked all the same"
    assert page.locator("#wrong").inner_text() == "not judged"
    assert page.locator(".row .state").first.inner_text() == ""
    assert "estimated wrong" not in page.locator("body").inner_text()
    assert page.get_by_text("By SKU").count() == 0 and page.locator(".print th", has_text="Wrong").count() == 0
    watched.assert_quiet()


def test_skus_are_grouped_by_fewer_and_more_and_lead_to_their_bins(open_page: Watched) -> None:
    page = open_page.page
    for heading, sign in (("Fewer than recorded", "-"), ("More than recorded", "+")):
        section = page.locator("section", has=page.get_by_role("heading", name=heading))
        differences = section.locator("tbody td:last-child").all_inner_texts()
        assert differences and all(text.startswith(sign) for text in differences), heading
        assert differences == sorted(differences, key=float, reverse=sign == "+"), "the largest difference first"
    page.locator("button.sku").first.click()
    assert page.locator(".row").count() == 1
    assert page.locator("#skus small").inner_text().strip() == page.locator("#search").input_value()
    open_page.assert_quiet()


def test_the_policy_stops_scripts_that_are_not_ours(open_page: Watched) -> None:
    """Even markup that got in would not run: the page's own policy allows one script by its digest."""
    page = open_page.page
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x: onerror=\"document.title=1\">')")
    page.wait_for_timeout(200)
    assert page.title() == "Audit of recorded quantities"
    assert any("Content Security Policy" in complaint for complaint in open_page.complaints)
