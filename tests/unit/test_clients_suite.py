"""The suite of clients itself: what it installs, who is seen leaving loopback, how the notebook page is followed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.clients import __main__ as suite
from tests.clients import notebook
from tests.clients.environments import CLIENTS
from tests.clients.outside import watched


def test_make_lock_locks_every_client(repository: Path) -> None:
    named = re.search(r"^CLIENTS := (.*)$", (repository / "Makefile").read_text(), re.MULTILINE)
    assert named
    assert tuple(named[1].split()) == CLIENTS
    assert {"awscli", "s3fs_client", "sagemaker_core", "sagemaker_v2", "sagemaker_v3"} == set(CLIENTS)


def test_no_lock_names_a_place_to_download_from(repository: Path) -> None:
    for client in CLIENTS:
        text = (repository / "tests" / "clients" / client / "requirements.txt").read_text()
        assert re.search(r"://|--index|--find-links|@ file", text) is None, client


def test_who_leaves_loopback_is_refused_and_noted() -> None:
    with watched() as outside:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": outside.url}))
        with pytest.raises(urllib.error.URLError, match="403"):
            opener.open("https://sts.us-east-1.amazonaws.com/", timeout=10)
        assert outside.asked == ["sts.us-east-1.amazonaws.com:443"]


def test_an_unknown_client_is_named(repository: Path) -> None:
    command = [sys.executable, "-m", "tests.clients", "boto2"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no client boto2; there is awscli," in done.stderr


def test_the_cells_of_the_page_run_in_one_interpreter_and_in_order(repository: Path, tmp_path: Path) -> None:
    script = notebook.script(notebook.PAGE.read_text(), tmp_path, "http://127.0.0.1:9")
    (cells,) = tmp_path.iterdir()
    ast.parse(cells.read_text())
    order = ("--keep --state-dir rehearsal", "source rehearsal/environment.sh", str(cells), "--end rehearsal\n")
    places = [script.rindex(part) for part in order]
    assert places == sorted(places)
    assert suite.NOTEBOOK in (repository / "docs" / "notebook.md").read_text()


def test_a_page_whose_cell_fails_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `follow` would see it: the shell stops at the cell."""
    interpreter = tmp_path / "notebook" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.symlink_to(sys.executable)
    blocks = (("sh", "echo first"), ("python", "print('cell')"), ("python", "raise SystemExit(3)"), ("sh", "echo last"))
    page = "".join(f"```{language}\n{block}\n```\n" for language, block in blocks)
    script = notebook.script(page, tmp_path, "http://127.0.0.1:9")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "first\ncell\n")
