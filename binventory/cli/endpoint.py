"""`binventory endpoint status|on|off`: asks the reconcile function, which alone changes the serving stack."""

from __future__ import annotations

import os

import typer
from botocore.exceptions import ClientError

from binventory import serving
from binventory.cli.launching import DryRunFlag, TimeoutOption, YesFlag, confirm, show_next
from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stderr, stdout
from binventory.cli.screen import show
from binventory.cli.settings import names_of
from binventory.core.aws import DENIED, Aws, connect, error_code
from binventory.core.errors import Exit, Problem
from binventory.core.interruption import GoesOn, interruptible
from binventory.core.journal import Journal
from binventory.core.names import Names
from binventory.core.words import counted
from binventory.cost.launch import of_endpoint

group = typer.Typer(help="The endpoint: on, off, and what it serves.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="endpoint")


@group.command("status", epilog="Example: binventory endpoint status --json")
def status(env: EnvironmentOption = "dev", json: JsonFlag = False) -> None:
    """Shows whether the endpoint is on, which model it serves, and on how many instances."""
    aws, names = connect(os.environ), names_of(env)
    state = serving.endpoint_state(aws, names)
    newer = _newer(aws, names, state.package)
    if json:
        print_json({**vars(state), "newer": newer})
        return
    instances = f", {counted(state.instances, 'instance')}" if state.instances else ""
    stdout.print(f"Endpoint  {state.name}: {state.status}{instances}")
    stdout.print(f"Switch    {'on' if state.switched_on else 'off'} (stack {state.stack_status})")
    for sentence in serving.explained(names, state):
        stdout.print(f"          {sentence}", soft_wrap=True)
    stdout.print(f"Model     {state.package or 'none approved yet'}", soft_wrap=True)
    for judged in newer or ():
        said = "waits for its rollout" if judged.status == "Approved" else judged.description or "no reason was given"
        stdout.print(f"Version {judged.version} is {judged.status}: {said}", soft_wrap=True)
    if newer is None:
        stdout.print("These credentials may not read newer versions", style="dim")


def _newer(aws: Aws, names: Names, package: str) -> tuple[serving.JudgedPackage, ...] | None:
    """The versions above the one that serves; None where they may not be read."""
    try:
        return serving.newer_than(aws, names, package)
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        return None


@group.command("on", epilog="Example: binventory endpoint on --env dev --yes")
def turn_on(
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    timeout: TimeoutOption = None,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Turns the endpoint on with the newest approved model package. From then on it bills by the hour."""
    aws, names = connect(os.environ), names_of(env)
    state = serving.endpoint_state(aws, names)
    if not state.package and not serving.newer_than(aws, names, ""):
        raise Problem(
            f"The endpoint {names.prefix} cannot be turned on",
            "no model has been approved yet, so there is nothing to serve",
            f"approve one: {names.command('approve')}",
            code=Exit.NOT_READY,
        )
    launched = None
    if not state.switched_on:
        launched = of_endpoint(serving.template(aws, names), f"The endpoint {names.prefix}, on", names=names, aws=aws)
        confirm(launched, yes=yes, json=json, dry_run=dry_run)
    elif dry_run:
        if json:
            print_json({"launch": None, "started": False})
        else:
            stdout.print(f"The endpoint {names.prefix} is on already; nothing would change.")
        return
    _switch(aws, names, "on", timeout, json)
    if launched and not json:
        show_next(launched, stdout)


@group.command("off", epilog="Example: binventory endpoint off")
def turn_off(timeout: TimeoutOption = None, env: EnvironmentOption = "dev", json: JsonFlag = False) -> None:
    """Removes the endpoint, so that nothing bills; the approved model packages stay."""
    _switch(connect(os.environ), names_of(env), "off", timeout, json)


def _goes_on(names: Names, wanted: str) -> GoesOn:
    off = "it bills until it is off" if wanted == "off" else "it bills from when it is on"
    return GoesOn(
        f"Interrupted; the endpoint {names.prefix} is still being turned {wanted}",
        f"the request was made, and the stack's update does it without this command; {off}",
        f"look at it: {names.command('endpoint status')}",
    )


def _switch(aws: Aws, names: Names, wanted: str, timeout: float | None, json: bool) -> None:
    journal = Journal()
    console = stderr if json else stdout
    # Before the request: it waits until this has ended.
    for sentence in serving.explained(names, serving.endpoint_state(aws, names)):
        console.print(sentence, soft_wrap=True)
    waits = interruptible(lambda: _goes_on(names, wanted))
    with show(journal, console), waits, journal.step(f"Turn {wanted}") as entry:
        for event in serving.follow_switch(aws, names, wanted, timeout):
            journal.note(entry, event)
    if json:
        print_json(serving.endpoint_state(aws, names))
