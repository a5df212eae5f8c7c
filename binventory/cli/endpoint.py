"""`binventory endpoint status|on|off`: by updating the serving stack, never behind its back."""

from __future__ import annotations

import os
import time
from typing import Annotated

import typer

from binventory import serving
from binventory.aws import Aws, connect
from binventory.cli.launching import YesFlag, confirm, show_next
from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stderr, stdout
from binventory.cli.screen import show
from binventory.cost.launch import of_endpoint
from binventory.errors import Exit, Problem
from binventory.journal import Journal
from binventory.names import Names

group = typer.Typer(help="The endpoint: on, off, and what it serves.", no_args_is_help=True)
Timeout = Annotated[float, typer.Option(min=1, help="Seconds to wait for the stack.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(group, name="endpoint", rich_help_panel="Train and serve")


@group.command("status", epilog="Example: binventory endpoint status --json")
def status(env: EnvironmentOption = "dev", json: JsonFlag = False) -> None:
    """Says whether the endpoint is on, which model it serves, and on how many instances."""
    state = serving.endpoint_state(connect(os.environ), Names(env))
    if json:
        print_json(state)
        return
    stdout.print(f"Endpoint  {state.name}: {state.status}" + (f", {state.instances} instances" * (state.instances > 0)))
    stdout.print(f"Switch    {'on' if state.switched_on else 'off'} (stack {state.stack_status})")
    stdout.print(f"Model     {state.package or 'none approved yet'}", soft_wrap=True)


@group.command("on", epilog="Example: binventory endpoint on --env dev --yes")
def turn_on(
    yes: YesFlag = False, timeout: Timeout = 1800, env: EnvironmentOption = "dev", json: JsonFlag = False
) -> None:
    """Brings the endpoint back with the model package it served last. From then on it bills by the hour."""
    aws, names = connect(os.environ), Names(env)
    state = serving.endpoint_state(aws, names)
    if not state.package:
        raise Problem(
            f"The endpoint {names.prefix} cannot be turned on",
            "no model has been approved yet, so there is nothing to serve",
            "approve one: binventory approve",
            code=Exit.NOT_READY,
        )
    launched = None
    if not state.switched_on:
        launched = of_endpoint(
            serving.template(aws, names.serving_stack), f"The endpoint {names.prefix}, on", names=names, aws=aws
        )
        confirm(launched, yes=yes, json=json)
    _switch(aws, names, "on", timeout, json)
    if launched and not json:
        show_next(launched, stdout)


@group.command("off", epilog="Example: binventory endpoint off")
def turn_off(timeout: Timeout = 1800, env: EnvironmentOption = "dev", json: JsonFlag = False) -> None:
    """Removes the endpoint, so that nothing bills; the approved model package stays."""
    _switch(connect(os.environ), Names(env), "off", timeout, json)


def _switch(aws: Aws, names: Names, wanted: str, timeout: float, json: bool) -> None:
    serving.describe_stack(aws, names.serving_stack)
    journal = Journal()
    with show(journal, stderr if json else stdout), journal.step(f"Turn {wanted}") as entry:
        seen: set[str] = set()
        list(serving.stack_events(aws, names.serving_stack, seen))
        changed = serving.switch(aws, names, wanted)
        journal.note(entry, "" if changed else f"it was {wanted} already")
        deadline = time.monotonic() + timeout
        while (state := serving.endpoint_state(aws, names)).stack_status.endswith("_IN_PROGRESS"):
            for event in serving.stack_events(aws, names.serving_stack, seen):
                journal.note(entry, f"{event.resource} {event.status.replace('_', ' ').lower()}")
            if time.monotonic() > deadline:
                raise _not_switched(names, wanted, f"the stack is still {state.stack_status} after {timeout:.0f} s")
            time.sleep(0.5 if aws.is_local else 5)
        reached = state.status == ("InService" if wanted == "on" else "absent")
        if not reached or "ROLLBACK" in state.stack_status:
            raise _not_switched(names, wanted, f"the stack is {state.stack_status}, the endpoint {state.status}")
    if json:
        print_json(state)


def _not_switched(names: Names, wanted: str, why: str) -> Problem:
    return Problem(
        f"The endpoint {names.prefix} was not turned {wanted}",
        why,
        f"see why: aws cloudformation describe-stack-events --stack-name {names.serving_stack}",
    )
