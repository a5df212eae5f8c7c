"""One kept rehearsal for all tests that do not change it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import browser, watched  # noqa: F401  # fixtures for the pages that a run writes
from tests.rehearsal.kept import LOST, WATCHFUL, binventory


@pytest.fixture(scope="session")
def kept(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The output of `binventory rehearse --keep --json`; the rehearsal ends after the last test.

    Its folder has a space and an apostrophe, and AWS_PROFILE names a profile that does not exist.
    """
    state = tmp_path_factory.mktemp("it's kept")
    arguments = ("rehearse", "--keep", "--json", "--photos-count", "180", "--state-dir", str(state))
    yield json.loads(binventory(repository, *arguments, environment={**WATCHFUL, **LOST}))
    assert "no process" in binventory(repository, "rehearse", "--end", str(state))
    assert not state.exists()
