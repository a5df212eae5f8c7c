"""The README and the tutorial, followed word for word on a fresh clone: every block of shell is typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
CLONE = "git clone <this repository> binventory"


def blocks(page: Path) -> list[str]:
    """The shell blocks of a page, in order."""
    return _BLOCK.findall(page.read_text())


def follow(page: Path, repository: Path, folder: Path) -> str:
    """Types all blocks into one shell, which stops at the first command that fails; returns the output.

    The clone gets this checkout's installation: `make setup` finds that everything is there.
    """
    typed = "".join(blocks(page))
    clone = f"git clone --quiet {repository} binventory"
    ready = "; ".join(f"ln -s {repository}/{name} binventory/{name}" for name in (".venv", "node_modules"))
    assert typed.count(CLONE) == 1
    script = "set -e\n" + typed.replace(CLONE, f"{clone}; {ready}")
    # The installed package is this checkout; the clone's own modules come first, as after its own `make setup`.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BINVENTORY_"))}
    environment["PYTHONPATH"] = str(folder / "binventory")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    run = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"{page.name}:\n{run.stdout}\n{run.stderr}"
    return run.stdout


def test_the_tutorial(repository: Path, tmp_path: Path) -> None:
    said = follow(repository / "docs" / "tutorial.md", repository, tmp_path)
    clone = tmp_path / "binventory"
    assert "<title>" in (clone / "run.html").read_text()
    assert (clone / "audit" / "audit.html").is_file()
    assert '"switched_on": true' in said
    assert "no process, port or file" in said
    assert not (clone / "rehearsal").exists()
    # Step 8: another setting for the training computes no shard and no feature again.
    trained_again = said.rpartition("Started arn:")[2]
    for step in ("Ingest", "Embed"):
        assert re.search(
            rf" s  {step} reused from the execution \w+ of \d{{4}}-\d\d-\d\d \d\d:\d\d UTC$", trained_again, re.M
        ), trained_again
    assert re.search(r" s  (Tune|Train) reused", trained_again) is None
    assert "Photos and labels are those of the execution" in " ".join(said.split())


def test_the_readme(repository: Path, tmp_path: Path) -> None:
    said = follow(repository / "README.md", repository, tmp_path)
    assert "Prove that nothing is left" in said
    assert "Rehearsed in" in said
