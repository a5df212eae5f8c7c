"""All commands look alike: examples, JSON, help that fits the terminal, no colours on request, completion."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.rich_utils
from rich.console import Console

from binventory.cli import app, look, run
from binventory.cli.interrupted import JobHalted
from binventory.cli.volume import volume
from binventory.core.errors import Exit, Problem
from binventory.core.remains import Remains
from binventory.doctor.check import Check
from tests.conftest import NAMES


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that is not a group, by its words."""
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {sub}", inner) for sub, inner in command.commands.items())
        else:
            yield name, command


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_json(name: str) -> None:
    command = COMMANDS[name]
    assert f"binventory {name.split()[0]}" in command.epilog
    assert "--json" in {flag for parameter in command.params for flag in parameter.opts}
    assert all(parameter.help for parameter in command.params)


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_the_terminal_and_says_no_types_of_python(
    name: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Set where it was read to, since typer reads the environment once for all tests of a process.
    monkeypatch.setattr(typer.rich_utils, "MAX_WIDTH", width)
    assert run([*name.split(), "--help"]) == Exit.OK
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said, "a word is cut off"
    assert not re.search(r"<(bool|str|int|float)>|\[\[|<=x", said)
    assert "Example" in said or name == "endpoint"


def test_what_a_job_leaves_behind_is_named_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    remains = Remains("2 objects below s3://bins/[old]/", "denied", "aws s3 rm --recursive 's3://bins/[old]/'")
    JobHalted(NAMES, lambda: None).left(remains)
    assert capsys.readouterr().err == f"{remains}\n"


def test_no_text_is_taken_for_a_colour_or_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths, names and messages come from people and from AWS: `[old]` and `:key:` are shown as they are."""
    folder = tmp_path / "bins[old]" / ":key:"
    assert run(["render", str(folder), "--photos", "2"]) == Exit.OK
    assert str(folder) in capsys.readouterr().out
    answers = tmp_path / "answers.jsonl"
    table = {str(count): 0.2 for count in range(1, 6)}
    answers.write_text(
        "".join(json.dumps({"image_id": f"0010{number}", "probabilities": table}) + "\n" for number in range(2))
    )
    output = tmp_path / "out[bold]"
    arguments = ["audit", str(folder), "--predictions", str(answers), "--output", str(output), "--format", "csv"]
    assert run(arguments) == Exit.OK
    assert f"{output}/disagreements.csv" in capsys.readouterr().out
    found = [Check("credentials", "missing", "Invalid value [/a] for [red] :key:", "run: aws [...]")]
    monkeypatch.setattr("binventory.cli.doctor.examine", lambda repository, settings: found)
    assert run(["doctor"]) == Exit.NOT_READY
    shown = capsys.readouterr().out
    assert "Invalid value [/a] for [red] :key:" in shown and "aws [...]" in shown


def test_colours_respect_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> str:
        stream = io.StringIO()
        monkeypatch.setattr(look, "stderr", Console(file=stream, force_terminal=True, color_system="truecolor"))
        look.print_problem(Problem("It failed", "the disk is full", "make room"))
        return stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert re.search(r"\x1b\[[\d;]*31m", shown()), "red"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3\dm", shown())


def test_an_error_is_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--set", "no equals sign"]) != Exit.OK
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("Why: ") and lines[2].startswith("Do:  ")


@pytest.mark.parametrize(("typed", "wanted"), [("en", "endpoint"), ("lef", "leftovers"), ("rep", "report")])
def test_the_shell_completes(
    typed: str, wanted: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_BINVENTORY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"binventory {typed}")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setattr(sys, "argv", ["binventory"])
    with pytest.raises(SystemExit) as ended:
        app(prog_name="binventory")
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == [wanted]


def test_no_line_of_a_piped_table_ends_in_spaces(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # processes of parallel tests have it
    shown = look.table("short", "last column")
    shown.add_row("a", "b")
    shown.add_row("a", "far longer than the other one " * 10)
    look.stdout.print(shown)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 3 and max(map(len, lines)) > 200
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_flag_of_one_command_line_is_not_one_of_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (taken := tmp_path / "file").touch()
    assert run(["render", str(taken), "--quiet", "--verbose"]) != Exit.OK
    capsys.readouterr()
    assert (volume.quiet, volume.verbose) == (False, False)
