"""`binventory spent`: what an execution cost, what spot saved, and which instance sizes would have been enough."""

from __future__ import annotations

import os
from datetime import date
from typing import Annotated

import typer
from botocore.exceptions import ClientError
from rich.text import Text

from binventory import executions
from binventory.cli.idle_flags import refuse_two_forms
from binventory.cli.look import EnvironmentOption, JsonFlag, duration, print_json, stdout, table
from binventory.cli.settings import names_of
from binventory.cli.watch import ExecutionArgument
from binventory.core.aws import DENIED, Aws, connect, error_code
from binventory.core.names import Names
from binventory.cost import prices, report, traffic, usage
from binventory.cost.amounts import money_or_unknown
from binventory.cost.report import SpendingReport
from binventory.cost.spent import Meter, Spent
from binventory.cost.usage import Usage

_LOCAL_NOTE = (
    "In the local AWS nothing is billed, and this computer replaces every instance: "
    "a size reflects what was used here, not what AWS's machines would have used."
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("spent", epilog="Example: binventory spent --markdown")(spent)


def spent(
    context: typer.Context,
    execution: ExecutionArgument = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="For a workflow's summary.")] = False,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Shows what an execution cost, what spot saved, and whether a smaller instance would be enough."""
    refuse_two_forms(context)
    aws, names = connect(os.environ), names_of(env)
    found = _report(aws, names, executions.find(aws, names, execution))
    if json:
        print_json(found.to_json())
    elif markdown:
        print(report.markdown(found), end="")
    else:
        _print(found, names)


def _report(aws: Aws, names: Names, arn: str) -> SpendingReport:
    known = prices.load(aws.region)
    execution = executions.look(aws, arn)
    money = Meter(aws).read(execution)
    used, notes = _used(aws, money)
    notes += tuple(f"{step.name} was {step.reused}, which has paid for it." for step in execution.steps if step.reused)
    notes += tuple(
        f"{step.name} was tried {step.attempts} times: SageMaker shows the last job only. "
        "The earlier ones have billed, too, and are in no figure here."
        for step in execution.steps
        if step.attempts > 1
    )
    notes += ("Some jobs still run; their figures are upper bounds.",) if money.running else ()
    notes += (_LOCAL_NOTE,) if aws.is_local else ()
    notes += _serving(aws, names, known)
    warning = known.warning(date.today())
    return report.make(
        money, used, executions.definition(aws, names), known, (*notes, *((warning,) if warning else ()))
    )


def _serving(aws: Aws, names: Names, known: prices.Prices) -> tuple[str, ...]:
    """Whether another mode of serving is much cheaper at the traffic seen; empty where that cannot be read."""
    try:
        found = traffic.advice(aws, names, known, usage.utc_now())
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        return ()
    if found is None or not found.change:
        return ()
    return (f"The endpoint: {found.compared}. To take it: {found.cure(names.environment)}.",)


def _used(aws: Aws, money: Spent) -> tuple[dict[str, Usage] | None, tuple[str, ...]]:
    """The metrics; without permission to read them the bill is printed without sizes."""
    try:
        return usage.read(aws, money.jobs, usage.utc_now()), ()
    except ClientError as error:
        if error_code(error) not in DENIED:
            raise
        return None, ("These credentials may not read metrics (cloudwatch:GetMetricData), so no size is advised.",)
    except usage.IncompleteMetricsError as incomplete:
        return None, (f"CloudWatch did not give all metrics ({incomplete}), so no size is advised: ask again.",)


def _print(found: SpendingReport, names: Names) -> None:
    stdout.print(Text(found.execution.rsplit("/", 1)[-1], style="bold"), f"in {found.region}\n")
    bill = table(
        "step",
        "machines",
        "jobs",
        "ran",
        "billed",
        "cost",
        "spot saved",
        right=("jobs", "ran", "billed", "cost", "spot saved"),
    )
    for step in found.steps:
        took = (duration(step.seconds), duration(step.billable))
        bill.add_row(step.step, step.machines, str(step.jobs), *took, *report.cost_cells(step))
    bill.add_row("In all", "", "", "", "", money_or_unknown(found.dollars), money_or_unknown(found.saved), style="bold")
    stdout.print(bill)
    stdout.print()
    sizes = table("step", "CPU", "memory", "disk", "GPU", "size", right=("CPU", "memory", "disk", "GPU"))
    for step in found.steps:
        if step.advice is not None:
            sizes.add_row(step.step, *report.usage_cells(step), step.advice.text)
    if sizes.row_count:
        stdout.print(sizes)
        stdout.print("CPU is per cent of one vCPU.", style="dim")
        if found.take:
            sets = " ".join(f"--set {knob}={name}" for knob, name in found.take.items())
            stdout.print(f"To take these sizes: {names.command(f'train {sets}')}", soft_wrap=True)
        stdout.print()
    for note in (f"Prices of {found.prices_read}.", *found.notes):
        stdout.print(note, style="dim")
