"""`binventory stop`: stops what bills by the job: executions of the pipeline, runs on EC2, transform jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError

from binventory import executions, serving
from binventory.batch import transform
from binventory.cli import completing
from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stderr, stdout
from binventory.cli.screen import show
from binventory.cli.settings import names_of
from binventory.core.aws import DENIED, Aws, connect, error_code
from binventory.core.errors import Exit, Problem
from binventory.core.interruption import GoesOn, interruptible
from binventory.core.journal import Journal
from binventory.core.names import Names
from binventory.cost.spent import Meter, so_far
from binventory.ec2 import runs
from binventory.executions import stopping

_EPILOG = """
Examples:

  binventory stop                   the only execution that runs

  binventory stop 2m8k1p0qyz3a      this one; also a run on EC2, or a transform job
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("stop", epilog=_EPILOG)(stop)


def stop(
    execution: Annotated[
        str | None,
        typer.Argument(
            metavar="EXECUTION",
            help="Execution (ARN or its last part), run on EC2, or transform job. Default: the only one that runs.",
            autocompletion=completing.executions,
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every execution of the environment that runs.")] = False,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Stops an execution and its jobs, waits until nothing of it bills, and says what the endpoint does.

    Finished steps are kept: `binventory train --like EXECUTION` reuses them.
    """
    aws, names = connect(os.environ), names_of(env)
    chosen = _chosen(aws, names, execution, every=all_)
    journal = Journal()
    stopped: list[dict[str, Any]] = []
    with show(journal, stderr if json else stdout):
        if len(chosen) > 1:
            with interruptible(lambda: _asked_some(names)):
                stopping.ask_all(aws, chosen)
        for name in chosen:
            short = name.rsplit("/", 1)[-1]
            with journal.step(f"Stop {short}") as entry, interruptible(lambda short=short: _goes_on(short, names)):  # type: ignore[misc]
                for event in _stop(aws, names, name):
                    journal.note(entry, event)
            stopped.append({"name": name, "ended": entry.note, **_money(aws, name)})
    said = _advice(aws, names)
    if json:
        print_json({"stopped": stopped, "advice": said})
        return
    if not chosen:
        stdout.print(f"No execution of {names.prefix} runs in {aws.place}.", soft_wrap=True)
    for one in stopped:
        money = f", {one['spent']}" if one.get("spent") else ""
        stdout.print(f"{one['name'].rsplit('/', 1)[-1]} has ended ({one['ended']}){money}.", soft_wrap=True)
    for sentence in said:
        stdout.print(sentence, soft_wrap=True)


def _goes_on(name: str, names: Names) -> GoesOn:
    return GoesOn(
        f"Interrupted while {name} was stopping",
        "it was asked to stop and bills until its jobs have ended",
        f"see that it has: {names.command(f'stop {name}')}",
    )


def _asked_some(names: Names) -> GoesOn:
    return GoesOn(
        "Interrupted while the executions were asked to stop",
        "those that were not asked yet run on and bill",
        f"stop them all: {names.command('stop --all')}",
    )


def _chosen(aws: Aws, names: Names, execution: str | None, *, every: bool) -> tuple[str, ...]:
    """What to stop. Raises Problem where that is not clear."""
    if execution is not None and every:
        raise Problem(
            "--all and a name exclude each other", "both say what to stop", "leave one of them out", code=Exit.USAGE
        )
    if execution is not None:
        if _is_run(execution):
            runs.require(aws, names, execution)
            return (execution,)
        if names.is_transform_job(execution):
            return (execution,)
        return (executions.find(aws, names, execution),)
    running = stopping.running(aws, names)
    if len(running) > 1 and not every:
        short = ", ".join(arn.rsplit("/", 1)[-1] for arn in running)
        raise Problem(
            f"{len(running)} executions of {names.prefix} run",
            f"which one to stop was not said: {short}",
            f"name one of them, or stop them all: {names.command('stop --all')}",
            code=Exit.USAGE,
        )
    return running


def _is_run(name: str) -> bool:
    return name.startswith("ec2-")


def _stop(aws: Aws, names: Names, name: str) -> Iterator[str]:
    if _is_run(name):
        return runs.stop(aws, names, name)
    if names.is_transform_job(name):
        return transform.stop(aws, names, name)
    return stopping.stop(aws, name)


def _money(aws: Aws, name: str) -> dict[str, str]:
    """What an execution has cost; nothing about other jobs."""
    if not name.startswith("arn:"):
        return {}
    return {"spent": so_far(Meter(aws).read(executions.look(aws, name)))}


def _advice(aws: Aws, names: Names) -> tuple[str, ...]:
    """What the endpoint does meanwhile; empty where it may not be read, or there is none."""
    try:
        return serving.advice(names, serving.endpoint_state(aws, names))
    except Problem as problem:
        if problem.code is not Exit.NOT_READY:
            raise
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
    return ()
