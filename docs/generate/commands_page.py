"""The command reference, generated from the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from binventory.cli import app
from binventory.core.errors import Exit

HEAD = """# Commands

Written from the code by `make docs`; edit the commands in `binventory/cli/`, not this page.

Every command works the same against the local AWS of a kept rehearsal and against a real account; `AWS_*` variables
say which. `--json` prints plain data on standard output; everything else goes to standard error then. `NO_COLOR=1`
takes the colours away.
`--quiet` prints results and errors only, `--verbose` adds each call of AWS and the tracebacks of errors; both may stand
before or after the command. `binventory --version` prints the version. `binventory --install-completion` teaches the
shell the commands, flags and values.

| exit code | meaning |
|---|---|
"""
_MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "the work failed",
    Exit.USAGE: "wrong usage",
    Exit.NOT_READY: "something is not ready: not deployed, not signed in, not installed",
    Exit.INTERRUPTED: "interrupted, or a price was declined",
}


def commands_page() -> str:
    """The page: exit codes, then every command with its flags."""
    parts = [HEAD + "".join(f"| {int(code)} | {_MEANINGS[code]} |\n" for code in Exit)]
    root: Any = typer.main.get_command(app)
    for panel in dict.fromkeys(command.rich_help_panel for command in root.commands.values()):
        parts.append(f"## {panel}\n")
        for name, command in root.commands.items():
            if command.rich_help_panel == panel:
                parts += _command(f"binventory {name}", command)
    return "\n".join(parts)


def _command(name: str, command: Any) -> Iterator[str]:
    subcommands = getattr(command, "commands", None)
    if subcommands:
        for sub, inner in subcommands.items():
            yield from _command(f"{name} {sub}", inner)
        return
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    shown = "".join(f" {_metavar(argument)}" for argument in arguments)
    yield f"### `{name}{shown}`\n\n{_plain(command.help)}\n"
    rows = [(_metavar(p), p.help or "") for p in arguments] + [(_flag(p), _help(p)) for p in options]
    yield "| | |\n|---|---|\n" + "".join(f"| `{flag}` | {_cell(text)} |\n" for flag, text in rows)
    examples = [line.strip() for line in (command.epilog or "").splitlines() if "binventory" in line]
    if examples:
        plain = "\n".join(re.sub(r"^Example: ", "", example) for example in examples)
        yield f"```\n{plain}\n```\n"


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    optional = not argument.required and not name.startswith("[")
    return f"[{name}]" if optional else str(name)


def _flag(option: Any) -> str:
    names = "/".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.metavar or option.name.upper()}"


def _help(option: Any) -> str:
    text = option.help or ""
    default = option.default
    if not option.is_flag and default not in (None, "", ()) and not callable(default):
        text += f" Default: `{default}`."
    if option.envvar:
        text += f" Variable: `{option.envvar}`."
    return text


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
