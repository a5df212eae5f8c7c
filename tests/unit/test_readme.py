"""What README and tutorial show exists: commands, flags, folders, exit codes; test_docs.py checks all pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from binventory.executions import STEPS
from binventory.rehearsal.run import AFTER, BEFORE

_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


@pytest.fixture(scope="module")
def tutorial(repository: Path) -> str:
    return (repository / "docs" / "tutorial.md").read_text()


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run([*arguments, "--help"]) == Exit.OK
    return capsys.readouterr().out


def lines_of(page: str, block_with: str) -> list[str]:
    """The lines of the only block of a page that contains a text, without the comments of commands."""
    (block,) = [block for block in _BLOCK.findall(page) if block_with in block]
    return [re.sub(r" +# .*", "", line) for line in block.splitlines()]


def test_every_command_is_in_the_readme_and_every_one_in_it_exists(
    readme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    real = set(re.findall(r"^│ ([a-z]+) ", help_of(capsys), flags=re.MULTILINE))
    assert real == set(re.findall(r"`binventory ([a-z]+)", readme))


def test_every_flag_of_the_rehearsal_is_in_the_tutorial(tutorial: str, capsys: pytest.CaptureFixture[str]) -> None:
    real = set(re.findall(r"--[a-z-]+", help_of(capsys, "rehearse"))) - {"--help"}
    table = "\n".join(line for line in tutorial.splitlines() if line.startswith("| `--"))
    assert real - {"--no"} == set(re.findall(r"--[a-z-]+", table))


def test_exit_codes_are_the_documented_ones(readme: str) -> None:
    line = next(line for line in readme.splitlines() if line.startswith("Exit codes:"))
    assert {int(code) for code in re.findall(r"\d+", line)} == {int(code) for code in Exit}


def test_the_rehearsal_that_the_tutorial_shows_has_the_steps_of_a_rehearsal(tutorial: str) -> None:
    shown = tutorial.split("step                         took  result\n")[1].split("\n\n")[0]
    names = [line.split("  ")[0] for line in map(str.strip, re.findall(r"^ {0,2}\S.*$", shown, flags=re.MULTILINE))]
    assert names == [*BEFORE, *STEPS, *AFTER]


def test_the_output_in_the_readme_is_that_of_the_rehearsal_in_the_tutorial(readme: str, tutorial: str) -> None:
    shown, whole = lines_of(readme, "Rehearsed in"), iter(lines_of(tutorial, "Rehearsed in"))
    assert len(shown) > 5
    assert [line for line in shown if line not in whole] == [], "not in the tutorial's output, or in another order"


def test_the_next_commands_of_the_readme_are_those_of_the_tutorial(readme: str, tutorial: str) -> None:
    shown = lines_of(readme, "environment.sh")
    followed = [line for block in _BLOCK.findall(tutorial) for line in block.splitlines()]
    # The tutorial has left the virtual environment before the last one.
    assert [line for line in shown if line not in followed and f".venv/bin/{line}" not in followed] == []


def test_the_folders_it_names_exist(readme: str, repository: Path) -> None:
    for folder in re.findall(r"^\| (`[^|]+/`[^|]*) \|", readme, flags=re.MULTILINE):
        for name in re.findall(r"`([\w./]+)`", folder):
            assert (repository / name).exists(), name


def test_every_page_is_in_the_table_of_contents(repository: Path) -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (repository / "docs" / "README.md").read_text()))
    assert listed == {path.name for path in (repository / "docs").glob("*.md")} - {"README.md"}
