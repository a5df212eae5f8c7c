"""A headless Chromium that records every complaint and request of a page."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

# Contrast ratio that WCAG 2 asks of text (AA).
LEAST_CONTRAST = 4.5
# A sheet of A4 without its margins, CSS pixels.
_A4: ViewportSize = {"width": 718, "height": 1000}
# Of an element's text with what lies behind it, half-transparent layers blended.
_CONTRAST = """element => {
  const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => a * value + (1 - a) * below[i]);
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
  const behind = layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  const style = getComputedStyle(element);
  const front = over(parse(element.tagName === 'text' ? style.fill : style.color), behind);
  const [a, b] = [light(front), light(behind)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""
# Tables that end beyond what is seen of them, by the text of their heads.
_CUT = """() => [...document.querySelectorAll("table")].filter(table => {
  let seen = document.documentElement.clientWidth;
  for (let at = table.parentElement; at; at = at.parentElement)
    if (getComputedStyle(at).overflowX !== "visible") seen = Math.min(seen, at.getBoundingClientRect().right);
  return table.getClientRects().length && table.getBoundingClientRect().right > seen + 1;
}).map(table => table.rows[0].innerText)"""
# Pairs of texts in one picture that cover each other.
_COVERED = """() => [...document.querySelectorAll("svg")].flatMap(picture => {
  const texts = [...picture.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
  return texts.flatMap(([one, a], index) => texts.slice(index + 1)
    .filter(([, b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
    .map(([other]) => one + " and " + other));
})"""
# Colour that an element is filled with.
_FILL = """element => {
  const style = getComputedStyle(element);
  return element.ownerSVGElement ? style.fill : style.backgroundColor;
}"""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


# Not for the session: while Playwright runs, no other test in this process can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; skips where there is none."""
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright  # not by every process that collects these tests

    # Chromium refuses to start its sandbox as root, and the pages under test are our own files.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield instance
        instance.close()


@dataclass
class Watched:
    """A page with its complaints and requests."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def open(self, path: Path) -> None:
        """Load a local file and wait until it has loaded."""
        self.page.goto(path.resolve().as_uri())

    def assert_quiet(self) -> None:
        """No console error or warning, no uncaught exception, no dialog, nothing asked of any other host."""
        assert self.complaints == []
        assert self.outside == []

    def assert_fits(self, width: int) -> None:
        """The page needs no sideways scrolling, except in elements with their own scroll bar."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width
        self.assert_quiet()

    def assert_readable(self, *selectors: str) -> None:
        """The text of every selected element has enough contrast with its background."""
        for selector in selectors:
            contrasts = self.page.locator(selector).evaluate_all(f"elements => elements.map({_CONTRAST})")
            assert contrasts, f"nothing is {selector}"
            assert min(contrasts) >= LEAST_CONTRAST, selector

    def assert_no_column_cut(self) -> None:
        """Every table is seen whole, without scrolling sideways."""
        assert self.page.evaluate(_CUT) == []

    def assert_labels_apart(self) -> None:
        """No text of a picture covers another."""
        assert self.page.evaluate(_COVERED) == []

    def assert_prints(self, *coloured: str) -> None:
        """The page becomes paper of A4, no table is cut, and the colour of every element `coloured` is painted."""
        self.page.emulate_media(media="print")
        self.page.set_viewport_size(_A4)
        self.assert_no_column_cut()
        painted = _painted(self.page.pdf(format="A4"))
        for selector in coloured:
            colour = self.page.locator(selector).first.evaluate(_FILL)
            wanted = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
            assert any(
                all(abs(one - other) < 0.003 for one, other in zip(wanted, found, strict=True)) for found in painted
            ), f"{selector} is {colour} on screen, and not on paper"
        self.assert_quiet()


def _painted(pdf: bytes) -> set[tuple[float, ...]]:
    """The colours, red, green and blue from 0 to 1, in which something is filled in a PDF of Chromium."""
    found = set()
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):  # fonts and pictures are packed otherwise
            for colour in re.findall(rb"([\d.]+ [\d.]+ [\d.]+) rg", zlib.decompress(stream)):
                found.add(tuple(map(float, colour.split())))
    return found


def _watch(context: BrowserContext) -> Watched:
    watched = Watched(context.new_page())
    page = watched.page
    page.on(
        "console",
        lambda message: watched.complaints.append(message.text) if message.type in {"error", "warning"} else None,
    )
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))

    def dismiss(dialog: object) -> None:
        watched.complaints.append(f"dialog: {dialog}")
        dialog.dismiss()  # type: ignore[attr-defined]

    page.on("dialog", dismiss)
    page.on(
        "request",
        lambda request: (
            watched.outside.append(request.url)
            if urlsplit(request.url).scheme not in {"file", "data", "blob"}
            else None
        ),
    )
    return watched


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A fresh page of desktop size."""
    context = browser.new_context(accept_downloads=True, viewport={"width": 1280, "height": 900})
    yield _watch(context)
    context.close()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Watched]:
    """A fresh page the size of a phone, with touch."""
    context = browser.new_context(
        accept_downloads=True, viewport={"width": 360, "height": 740}, device_scale_factor=2, has_touch=True
    )
    yield _watch(context)
    context.close()


@pytest.fixture(params=["light", "dark"])
def shaded(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A fresh page for a reader who likes it light, then for one who likes it dark; the page must follow."""
    context = browser.new_context(color_scheme=request.param)
    watched = _watch(context)
    yield watched
    shade = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (shade != "rgb(255, 255, 255)") == (request.param == "dark")
    watched.assert_quiet()
    context.close()
