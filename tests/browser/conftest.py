"""A real headless Chromium, and a watch over everything a page does in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


# Not for the session: while Playwright runs, nothing else in this process can run an event loop of its own.
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
    """A page and what it complained about or asked for."""

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
        """Nothing has to be scrolled for sideways, but what scrolls by itself."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width
        self.assert_quiet()

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
