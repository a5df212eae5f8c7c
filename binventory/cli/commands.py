"""The table of commands: `--help` and completion show it, and a command's module is imported only when it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from binventory.cli.failures import problem_of
from binventory.cli.volume import QuietFlag, VerboseFlag

_WITHOUT_ACCOUNT: Final = "Without an account"
_DEPLOY: Final = "Deploy"
_SERVE: Final = "Train and serve"
_MONEY: Final = "Money"


@dataclass(frozen=True)
class Listed:
    """One line of `binventory --help`: the command, the module with its `register`, its panel, and what it does."""

    name: str
    module: str
    panel: str
    summary: str


COMMANDS: Final = {
    command.name: command
    for command in (
        Listed(
            "rehearse",
            "rehearse",
            _WITHOUT_ACCOUNT,
            "Deploys, trains, serves, counts and destroys in a local AWS: no account, no Docker, no bill.",
        ),
        Listed(
            "render",
            "render",
            _WITHOUT_ACCOUNT,
            "Renders bin photos and their records, laid out like the public bucket, with some defects on purpose.",
        ),
        Listed(
            "doctor",
            "doctor",
            _DEPLOY,
            "Looks at tools, sign-in, bootstrap, stacks, permissions, quotas and billing; exits with 3 when one is "
            "missing.",
        ),
        Listed(
            "review",
            "review",
            _DEPLOY,
            "Finds buckets, keys and registries that a deployment would replace or remove, and changes of the endpoint "
            "that SageMaker would refuse while it is on; exits 1 if there are any.",
        ),
        Listed(
            "train",
            "train",
            _SERVE,
            "Shows what an execution costs, asks, starts it and shows its steps; after Ctrl-C it continues.",
        ),
        Listed(
            "approve",
            "train",
            _SERVE,
            "Approves a model; the newest approved one serves, and from then on the endpoint bills.",
        ),
        Listed("reject", "train", _SERVE, "Rejects a model; the newest one that is still approved replaces it."),
        Listed(
            "watch",
            "watch",
            _SERVE,
            "Shows a pipeline execution until it has ended; after Ctrl-C it continues.",
        ),
        Listed(
            "report",
            "watch",
            _SERVE,
            "Writes an execution as one HTML page: timeline, trials, learning curves, evaluation and cost.",
        ),
        Listed(
            "stop",
            "stop",
            _SERVE,
            "Stops an execution and its jobs, waits until nothing of it bills, and says what the endpoint does.",
        ),
        Listed("endpoint", "endpoint", _SERVE, "The endpoint: on, off, and what it serves."),
        Listed(
            "count",
            "count",
            _SERVE,
            "Counts photos through the endpoint, or a whole folder of S3 in a transform job, which needs no endpoint.",
        ),
        Listed("audit", "audit", _SERVE, "Ranks bins by how improbable their recorded quantity is, given their photo."),
        Listed(
            "cost",
            "cost",
            _MONEY,
            "Prices an environment before it exists: a month, one pipeline execution, a thousand counts.",
        ),
        Listed(
            "spent",
            "spent",
            _MONEY,
            "Shows what an execution cost, what spot saved, and whether a smaller instance would be enough.",
        ),
        Listed(
            "leftovers",
            "leftovers",
            _MONEY,
            "Finds what is left of an environment: resources with its tag or name that none of its stacks holds.",
        ),
    )
}


class Commands(Mapping[str, Any]):
    """The commands by name; looking one up imports its module."""

    def __getitem__(self, name: str) -> Any:
        return _loaded(COMMANDS[name].module)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Interrupted(Exception):
    """Ctrl-C, where no command says what it leaves. Of KeyboardInterrupt typer makes an exit code without a word."""


class LazyGroup(TyperGroup):
    """The command `binventory`: it lists its commands without importing them."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands: Any = Commands()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does; the flags that it adds get a default, without which each run would import pydantic."""
        for parameter in self.get_params(ctx):
            parameter.default = False if parameter.default is None else parameter.default
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """As typer does. Raises Interrupted at Ctrl-C, and Problem where a profile asks for a code and nobody is there.

        Typer makes an interruption of both.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted from None
        except EOFError as error:
            raise problem_of(error) from error

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What help and completion need of a command; `resolve_command` gives the command itself."""
        listed = COMMANDS.get(cmd_name)
        if listed is None:
            return None
        return TyperCommand(name=listed.name, help=listed.summary, rich_help_panel=listed.panel)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was typed, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, self.commands[name] if command is not None and name is not None else None, rest


@cache
def _loaded(module: str) -> Mapping[str, Any]:
    """The commands of a module, in the table's panels. Each takes --quiet and --verbose as `binventory` itself does."""
    app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]}, rich_markup_mode="rich")
    import_module(f"binventory.cli.{module}").register(app)
    group: Any = typer.main.get_group(app)
    for name, command in group.commands.items():
        command.rich_help_panel = COMMANDS[name].panel
        for one in getattr(command, "commands", {"": command}).values():
            one.params += _switches()
    found: Mapping[str, Any] = group.commands
    return found


def _switches() -> list[Any]:
    """The two flags as the parameters of a command, out of its help: that of `binventory` names them."""
    app = typer.Typer()

    @app.command()
    def any_command(quiet: QuietFlag = False, verbose: VerboseFlag = False) -> None: ...

    command: Any = typer.main.get_command(app)
    for parameter in command.params:
        parameter.hidden, parameter.expose_value = True, False
    return [parameter for parameter in command.params if parameter.name in ("quiet", "verbose")]
