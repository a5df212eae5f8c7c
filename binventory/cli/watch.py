"""`binventory watch` and `report`: show a pipeline execution while it runs and afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import ClientError
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from binventory import executions, serving
from binventory.cli import completing
from binventory.cli.idle_flags import refuse_two_forms
from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stderr, stdout, table
from binventory.cli.screen import Below, show
from binventory.cli.settings import names_of
from binventory.core.aws import Aws, connect
from binventory.core.interruption import GoesOn, interruptible
from binventory.core.journal import Journal
from binventory.core.names import Names
from binventory.core.outputs import check_file, write_text
from binventory.cost.spent import Meter, so_far
from binventory.executions.watching import StepWatcher
from binventory.report.markdown import markdown as as_markdown
from binventory.report.page import render
from binventory.report.record import read
from stacks.names import REGISTER

_MONEY = "Money"
_WIDE = 140
"""Columns from which trials and log stand side by side."""
_TAIL = 8
_BUSY = frozenset({"InProgress", "Stopping"})

ExecutionArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="EXECUTION", help="ARN or its last part. Default: the newest.", autocompletion=completing.executions
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("watch", epilog="Example: binventory watch")(watch)
    app.command("report", epilog="Example: binventory report -o run.html")(report)


def watch(execution: ExecutionArgument = None, env: EnvironmentOption = "dev", json: JsonFlag = False) -> None:
    """Shows a pipeline execution until it has ended; after Ctrl-C it continues."""
    aws, names = connect(os.environ), names_of(env)
    arn = executions.find(aws, names, execution)
    with interruptible(lambda: goes_on(aws, names, arn)):
        follow(aws, names, arn, json)


def report(
    context: typer.Context,
    execution: ExecutionArgument = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the page is written.")] = Path(
        "run.html"
    ),
    markdown: Annotated[bool, typer.Option("--markdown", help="For a workflow's summary.")] = False,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Writes an execution as one HTML page: timeline, trials, learning curves, evaluation and cost."""
    refuse_two_forms(context)
    check_file(output, "--output")
    aws = connect(os.environ)
    record = read(aws, executions.find(aws, names_of(env), execution))
    write_text(output, render(record))
    status = record.execution.status
    if json:
        found = {"execution": record.execution.arn, "status": status, "page": output.resolve()}
        print_json({**found, "reason": record.reason})
        return
    if markdown:
        print(as_markdown(record))
        return
    stdout.print(f"{record.execution.id}, {status}: {output}", soft_wrap=True)
    if record.reason:
        stdout.print(f"Why: {record.reason}", soft_wrap=True)


def follow(aws: Aws, names: Names, arn: str, json: bool) -> None:
    """Shows an execution until it has ended, then its result. Raises Problem when it failed."""
    console = stderr if json else stdout
    journal = Journal()
    journal.plan(*executions.STEPS, _MONEY)
    watcher, meter, bill = StepWatcher(aws, journal), Meter(aws), journal.entry(_MONEY)
    watcher.tail_lines = _TAIL if console.is_terminal else 0
    with show(journal, console, below(watcher)), interruptible(lambda: goes_on(aws, names, arn, bill.note)):
        journal.begin(bill)
        for execution in executions.follow(aws, arn, every=1 if aws.is_local else 10):
            watcher.update(execution)
            spent = meter.read(execution)
            journal.note(bill, so_far(spent))
        watcher.tail = ()
        journal.end(bill, "done")
        journal.skip_waiting()
    if execution.status == "Stopped" and (further := executions.continued(aws, arn)):
        console.print(f"\nSpot capacity was reclaimed too often; it continues on demand: {further}", soft_wrap=True)
        follow(aws, names, further, json)
        return
    if execution.status != "Succeeded":
        raise executions.explain(aws, execution)
    package = execution.step(REGISTER)
    registered = package.detail if package else ""
    if json:
        reused = {step.name: step.reused.execution for step in execution.steps if step.reused}
        document = {"execution": arn, "model_package": registered, "reused": reused, "trials": watcher.trials}
        print_json({**document, "spent": spent.to_json()})
        return
    if watcher.trials and not console.is_terminal:
        stdout.print()
        stdout.print(trials_table(watcher.trials))
    said = [f"\nRegistered {registered}", *refusal(aws, registered)]
    said += [f"Serve it:     {names.command(f'approve {registered}')}"]
    said += [f"Look back:    {names.command(f'report {execution.id}')}"]
    stdout.print("\n".join(said), soft_wrap=True)


def goes_on(aws: Aws, names: Names, arn: str, spent: str = "") -> GoesOn:
    """What an interruption leaves running. An empty `arn`: the start was interrupted."""
    if not arn:
        return GoesOn(
            "Interrupted at the start; an execution may have started",
            "the request was on its way, and an execution that started runs in SageMaker and bills until it ends",
            f"see whether it has: {names.command('watch')}; stop it: {names.command('stop')}",
        )
    short = arn.rsplit("/", 1)[-1]
    bills = "bills until it ends" + (f": {spent}" if spent else "")
    bills = "nothing bills in the local AWS" if aws.is_local else bills
    return GoesOn(
        f"Interrupted; the execution {short} continues",
        f"it runs in SageMaker, not in this command, and {bills}",
        f"stop it: {names.command(f'stop {arn}')}; follow it again: {names.command(f'watch {arn}')}",
    )


def refusal(aws: Aws, package: str) -> list[str]:
    """Why a package does not serve, where a rollout or a person has rejected it since; nothing otherwise."""
    if not package:
        return []
    try:
        judged = serving.describe_package(aws, package)
    except ClientError:
        return []  # it is deleted, or these credentials follow executions only
    return [f"Rejected:     {judged.description or 'no reason was given'}"] if judged.status == "Rejected" else []


def below(watcher: StepWatcher) -> Below:
    """Trials and log under the steps; side by side where there is room."""

    def draw(console: Console) -> RenderableType | None:
        parts: list[RenderableType] = []
        if watcher.trials:
            parts.append(_panel(trials_table(watcher.trials), "Trials"))
        if watcher.tail:
            log = Text("\n".join(watcher.tail), style="dim", no_wrap=True, overflow="ellipsis")
            parts.append(_panel(log, "Log"))
        if len(parts) == 2 and console.width >= _WIDE:
            side_by_side = Table.grid(expand=True, padding=(0, 1, 0, 0))
            side_by_side.add_column()
            side_by_side.add_column(ratio=1)
            side_by_side.add_row(*parts)
            return side_by_side
        return Group(*parts) if parts else None

    return draw


def _panel(inside: RenderableType, title: str) -> Panel:
    return Panel(inside, title=title, title_align="left", border_style="dim", expand=False)


def trials_table(trials: tuple[executions.Trial, ...]) -> Table:
    """The trials so far, the best one in bold."""
    made = table("trial", "learning rate", "batch size", "objective", "", right=("batch size", "objective"))
    best = executions.best_of(trials)
    for number, trial in enumerate(trials, start=1):
        status = "running" if trial.status in _BUSY else "best" if trial is best else trial.status.lower()
        cells = (str(number), trial.tried("lr"), trial.tried("batch-size"), trial.loss, status)
        made.add_row(*cells, style="bold" if trial is best else "")
    return made
