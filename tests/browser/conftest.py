"""A headless Chromium that records every complaint and request of a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

# Contrast ratio that WCAG 2 asks of text (AA).
LEAST_CONTRAST = 4.5
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
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


# Not for the session: while Playwright runs, no other test in this process can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; skips where there is none."""
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
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

    def assert_prints(self) -> None:
        """The page becomes paper."""
        assert self.page.pdf(format="A4").startswith(b"%PDF")
        self.assert_quiet()


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
