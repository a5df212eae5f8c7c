"""What the README shows exists: commands, flags, links, folders, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.errors import Exit


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


@pytest.mark.parametrize("page", ["README.md", "docs/README.md", "docs/costs.md"])
def test_links_and_folders_exist(page: str, repository: Path) -> None:
    path = repository / page
    text = path.read_text()
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert targets
    for target in targets:
        assert (path.parent / target).exists(), target
    if page == "README.md":
        for folder in re.findall(r"^\| (`[^|]+`) \|", text, flags=re.MULTILINE):
            for name in re.findall(r"`([\w./]+)`", folder):
                assert (repository / name).exists() or "binventory " in folder, name


def test_make_targets_exist(readme: str, repository: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", readme)) <= targets


def test_every_page_is_in_the_table_of_contents(repository: Path) -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (repository / "docs" / "README.md").read_text()))
    assert listed == {path.name for path in (repository / "docs").glob("*.md")} - {"README.md"}
