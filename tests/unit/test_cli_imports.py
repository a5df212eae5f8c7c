"""Help and completion are quick because they import little: held by what is imported, not by the clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from binventory.cli.commands import COMMANDS, Commands

HEAVY = (
    "aws_cdk", "boto3", "botocore.session", "jinja2", "local_aws", "numpy", "PIL", "psutil", "pyarrow", "pydantic",
    "stacks.settings", "torch",
)  # fmt: skip
ALL = "import sys; from binventory.cli.commands import Commands; list(Commands().values())"
ONE = "import sys; from binventory.cli import run; run(sys.argv[1:])"
COMPLETE = "import sys; from binventory.cli import app; sys.argv = ['binventory']; app(prog_name='binventory')"


def imported(program: str, *arguments: str, complete: str | None = None) -> tuple[set[str], str]:
    """The modules in memory at the end of a program, and what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("_BINVENTORY", "COMP_"))}
    if complete is not None:
        words = f"binventory {complete}"
        environment |= {"_BINVENTORY_COMPLETE": "complete_bash", "COMP_WORDS": words}
        environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    say = "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))"
    done = subprocess.run(
        [sys.executable, "-c", f"{say}; {program}", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1])), done.stdout


def test_the_list_of_commands_imports_none_of_them() -> None:
    modules, said = imported(ONE, "--help")
    assert all(name in said for name in COMMANDS)
    assert sorted(modules & {*HEAVY, "botocore", *(f"binventory.cli.{one.module}" for one in COMMANDS.values())}) == []


def test_the_help_of_every_command_imports_no_heavy_package() -> None:
    modules, _ = imported(ALL)
    assert {f"binventory.cli.{one.module}" for one in COMMANDS.values()} <= modules
    assert sorted(modules & set(HEAVY)) == []


@pytest.mark.parametrize(
    ("typed", "wanted"), [("tr", "train"), ("train --ph", "--photos"), ("endpoint o", "on"), ("doctor --env p", "prod")]
)
def test_completion_imports_no_heavy_package(typed: str, wanted: str) -> None:
    modules, said = imported(COMPLETE, complete=typed)
    assert wanted in said.split()
    assert sorted(modules & set(HEAVY)) == []


def test_a_price_imports_nothing_that_talks_to_aws() -> None:
    """`binventory cost` asks nobody, unless it refreshes its prices."""
    modules, _ = imported("import binventory.cli.cost")
    assert sorted(modules & {*HEAVY, "botocore"}) == []


def test_the_table_says_what_the_commands_say() -> None:
    commands = Commands()
    for name, listed in COMMANDS.items():
        command = commands[name]
        assert (command.name, command.rich_help_panel) == (name, listed.panel)
        assert " ".join(command.help.split("\n\n")[0].split()) == listed.summary


def test_every_module_with_commands_is_in_the_table(repository: Path) -> None:
    folder = repository / "binventory" / "cli"
    there = {path.stem for path in folder.glob("*.py") if "def register(" in path.read_text()}
    assert there == {listed.module for listed in COMMANDS.values()}
