"""`binventory leftovers`: lists resources of an environment that are in the account although no stack holds them."""

from __future__ import annotations

import os

import typer

from binventory.account import strays
from binventory.account.strays import Strays
from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stdout, table
from binventory.cli.settings import settings_of
from binventory.core.aws import connect
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.cost.amounts import money


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("leftovers", epilog="Example: binventory leftovers --env dev --json")(leftovers)


def leftovers(env: EnvironmentOption = "dev", json: JsonFlag = False) -> None:
    """Finds what is left of an environment: resources with its tag or name that none of its stacks holds.

    It only reads. It shows what each resource costs and which command removes it. It exits with 1 when there is any,
    and with 3 when it found none but may not list every kind of resource.
    """
    settings, aws = settings_of(env), connect(os.environ)
    if aws.region != settings.region:
        raise Problem(
            f"Nothing was looked for in {aws.place}",
            f"--env {env} is deployed to {settings.region}, and its buckets, roles and budgets, which an account lists "
            "for all regions, would be shown as leftovers with commands that remove them",
            f"export AWS_REGION={settings.region}",
            code=Exit.NOT_READY,
        )
    found = strays.find(aws, Names(env, settings.project))
    if json:
        print_json(
            {
                "environment": found.environment,
                "place": aws.place,
                "strays": [vars(resource) for resource in found.found],
                "dollars_a_month": round(found.dollars_a_month, 4),
                "unpriced": found.unpriced,
                "looked_at": found.kinds,
                "not_looked_at": [vars(each) for each in found.unseen],
            }
        )
    else:
        _show(found, aws.place)
    if found.found:
        raise typer.Exit(Exit.FAILED)
    if found.unseen:
        raise Problem(
            "Not everything was looked at",
            f"these credentials may not list {', '.join(each.kind for each in found.unseen)}",
            "run it again with credentials that may, such as those of AWS's policy ReadOnlyAccess",
            code=Exit.NOT_READY,
        )


def _show(found: Strays, place: str) -> None:
    for each in found.unseen:
        stdout.print(f"Not looked at: {each.kind} ({each.why})", style="yellow", soft_wrap=True, markup=False)
    if not found.found:
        among = "Of what may be looked at, nothing" if found.unseen else "Nothing"
        stdout.print(f"{among} of {found.environment} is left outside its stacks in {place}.", soft_wrap=True)
        stdout.print(f"Looked at: {', '.join(found.kinds)}", style="dim")
        return
    shown = table("what", "name", "a month", right=("a month",))
    for resource in found.found:
        cost = "unknown" if resource.dollars_a_month is None else money(resource.dollars_a_month)
        shown.add_row(resource.kind, resource.name, cost)
    unknown = f", and {found.unpriced} of unknown cost" if found.unpriced else ""
    shown.add_row("In all", f"{len(found.found)}{unknown}", money(found.dollars_a_month), style="bold")
    stdout.print(shown)
    stdout.print("\nRemove them with", style="bold")
    for resource in found.found:
        for line in resource.remove or (f"# no command is known for {resource.arn}",):
            # Whole lines, so that they can be copied from a narrow terminal.
            stdout.print(line, soft_wrap=True)
