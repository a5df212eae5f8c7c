"""What the README shows exists: commands, flags, folders, exit codes; tests/unit/test_docs.py looks at all pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from binventory.executions import STEPS
from binventory.rehearsal.run import AFTER, BEFORE


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run([*arguments, "--help"]) == Exit.OK
    return capsys.readouterr().out


def test_every_command_is_in_the_readme_and_every_one_in_it_exists(
    readme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    real = set(re.findall(r"^│ ([a-z]+) ", help_of(capsys), flags=re.MULTILINE))
    assert real == set(re.findall(r"`binventory ([a-z]+)", readme))


def test_every_flag_of_the_rehearsal_is_in_the_readme(readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    real = set(re.findall(r"--[a-z-]+", help_of(capsys, "rehearse"))) - {"--help"}
    table = "\n".join(line for line in readme.splitlines() if line.startswith("| `--"))
    assert real - {"--no"} == set(re.findall(r"--[a-z-]+", table))


def test_exit_codes_are_the_documented_ones(readme: str) -> None:
    line = next(line for line in readme.splitlines() if line.startswith("Exit codes:"))
    assert {int(code) for code in re.findall(r"\d+", line)} == {int(code) for code in Exit}


def test_the_rehearsal_it_shows_has_the_steps_of_a_rehearsal(readme: str) -> None:
    shown = readme.split("step                         took  result\n")[1].split("\n\n")[0]
    names = [line.split("  ")[0] for line in map(str.strip, re.findall(r"^ {0,2}\S.*$", shown, flags=re.MULTILINE))]
    assert names == [*BEFORE, *STEPS, *AFTER]


def test_the_folders_it_names_exist(readme: str, repository: Path) -> None:
    for folder in re.findall(r"^\| (`[^|]+/`[^|]*) \|", readme, flags=re.MULTILINE):
        for name in re.findall(r"`([\w./]+)`", folder):
            assert (repository / name).exists(), name


def test_every_page_is_in_the_table_of_contents(repository: Path) -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (repository / "docs" / "README.md").read_text()))
    assert listed == {path.name for path in (repository / "docs").glob("*.md")} - {"README.md"}
