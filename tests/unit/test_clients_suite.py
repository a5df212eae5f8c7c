"""The suite of clients itself: what it installs, who is seen leaving loopback, how the notebook page is followed."""

from __future__ import annotations

import ast
import os
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
from tests.clients.web import HOST, on_the_web


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
    script = notebook.script(notebook.PAGE.read_text(), tmp_path, {"HTTPS_PROXY": "http://127.0.0.1:9"})
    (cells,) = tmp_path.iterdir()
    ast.parse(cells.read_text())
    order = ("--keep --state-dir rehearsal", "source rehearsal/environment.sh", str(cells), "clients/published",
             "--end rehearsal\n")  # fmt: skip
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
    script = notebook.script(page, tmp_path, {"HTTPS_PROXY": "http://127.0.0.1:9"})
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "first\ncell\n")


def test_every_row_of_the_page_is_tested_and_every_tested_call_has_a_row(repository: Path) -> None:
    table = (repository / "docs" / "notebook.md").read_text().split("## What published notebooks do")[1].split("## ")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| `")]
    tests = ast.parse((repository / "tests" / "clients" / "published" / "test_published.py").read_text())
    functions = [item for item in tests.body if isinstance(item, ast.FunctionDef) and item.name.startswith("test_")]
    tested = [ast.get_docstring(function) for function in functions]
    assert rows == tested


FETCH = """
import sys
from binventory.client import FetchError, fetch_photo
for address in sys.argv[1:]:
    try:
        print(fetch_photo(address).photo)
    except FetchError as error:
        print(error.reason)
"""


def test_the_web_stand_in_gives_a_photo_to_who_checks_everything(tmp_path: Path) -> None:
    """The fetching client of a process that only got the variables; any other name is still refused by its checks."""
    (tmp_path / "bin-images").mkdir()
    (tmp_path / "bin-images" / "1.jpg").write_bytes(b"\xff\xd8\xff photo")
    asked = [f"https://{HOST}/bin-images/1.jpg", f"https://{HOST}/bin-images/2.jpg", "https://localhost/1.jpg"]
    with on_the_web(tmp_path, tmp_path) as variables:
        done = subprocess.run(
            [sys.executable, "-c", FETCH, *asked],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.splitlines() == [r"b'\xff\xd8\xff photo'", "status", "not_allowed"]
