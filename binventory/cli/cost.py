"""`binventory cost`: prices an environment before it is deployed."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from binventory.cli.idle_flags import refuse_idle, refuse_two_forms
from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stderr, stdout, table, working
from binventory.cli.settings import settings_of
from binventory.core.tools import REPOSITORY
from binventory.core.words import counted
from binventory.cost import prices, quantities, text
from binventory.cost.alternatives import ENDPOINT_MONTH
from binventory.cost.amounts import money
from binventory.cost.estimate import Estimate, estimate
from binventory.cost.lines import SPOT_SHARE, StepLine
from binventory.cost.refresh import refresh as refresh_prices
from binventory.cost.workload import Workload
from binventory.deployment.synthesis import synthesize

_EPILOG = """
Examples:

  binventory cost --env prod --photos 535234

  binventory cost cdk.out --diff before/cdk.out --markdown
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("cost", epilog=_EPILOG)(cost)


def cost(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="CDK_OUT", help="Cloud assembly. Default: synthesized now.")
    ] = None,
    photos: Annotated[
        int | None, typer.Option(help="Photos an execution works on. Default: from the settings.")
    ] = None,
    traffic: Annotated[float, typer.Option(min=1, help="Counts a day that the endpoint answers.")] = 10_000,
    diff: Annotated[Path | None, typer.Option(metavar="CDK_OUT", help="Compare with this earlier assembly.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="For pull requests.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Read prices from the AWS Price List first.")] = False,
    region: Annotated[str | None, typer.Option(help="Price as if in this region. Default: the assembly's.")] = None,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Prices an environment before it exists: a month, one pipeline execution, a thousand counts."""
    refuse_two_forms(context)
    if folder is not None:
        refuse_idle(context, "env", why=f"{folder} is the environment that it was synthesized for")
    read = quantities.read(folder) if folder is not None else _synthesized(env)
    earlier = quantities.read(diff) if diff is not None else None
    if refresh:
        for wanted in sorted({_region_of(each, region) for each in (read, earlier) if each is not None}):
            _refresh(wanted)
    found = _estimate(read, photos, traffic, region)
    before = _estimate(earlier, photos, traffic, region) if earlier is not None else None
    if json:
        print_json({"after": text.to_json(found), "before": text.to_json(before)} if before else text.to_json(found))
    elif markdown:
        print(text.markdown(found, before), end="")
    else:
        _print(found, before)
    known = prices.load(found.region)
    if warning := known.warning(date.today()):
        stderr.print(warning, style="yellow")


def _refresh(region: str) -> None:
    import boto3

    # The Price List answers in a few regions only; us-east-1 knows the prices of all of them.
    found = refresh_prices(boto3.client("pricing", region_name="us-east-1"), region, date.today())
    stderr.print(f"Read {found.instances} instance prices of {region}, and {', '.join(found.units) or 'no others'}.")
    if found.kept:
        stderr.print(f"Not found, kept with their old date: {', '.join(found.kept)}.", style="yellow")
    if found.estimated:
        stderr.print(f"Not found, estimated from EC2 prices: {', '.join(found.estimated)}.", style="yellow")
    if found.unknown:
        stderr.print(f"Not found, so unknown in {region}: {', '.join(found.unknown)}.", style="yellow")


def _region_of(read: quantities.Quantities, region: str | None) -> str:
    """Whose prices count: those of the region that was asked for, of the assembly's, or of us-east-1."""
    return region or ("us-east-1" if read.region == "unknown-region" else read.region)


def _estimate(read: quantities.Quantities, photos: int | None, traffic: float, region: str | None) -> Estimate:
    known = prices.load(_region_of(read, region))
    return estimate(read, known, Workload.of(read.parameters, photos, read.input_size), traffic)


def _synthesized(env: str) -> quantities.Quantities:
    settings_of(env)  # a wrong one is named here, not in the output of the CDK CLI
    with tempfile.TemporaryDirectory() as scratch:
        with working("Synthesizing the stacks"):
            synthesize(REPOSITORY, env, Path(scratch))
        return quantities.read(Path(scratch))


def _print(found: Estimate, before: Estimate | None) -> None:
    known = prices.load(found.region)
    stdout.print(Text(found.environment, style="bold"), f"in {found.region}, prices of {known.read} ({known.source})\n")
    totals = table("", *text.heads(before), right=tuple(text.heads(before)))
    for name, values in text.rows(found, before):
        totals.add_row(name, *values)
    stdout.print(totals)
    if before is not None:
        _print_changes(found, before)
    else:
        _print_alone(found)
    for note in text.notes(found, before):
        stdout.print(note, style="dim")


def _print_alone(found: Estimate) -> None:
    month = table("by the month", "", "dollars", right=("dollars",))
    for line in (*found.idle, *found.serving_on):
        month.add_row(line.name, line.quantity, money(line.dollars))
    _print_below(month)
    _print_below(_steps("execution", found.execution))
    stdout.print(f"{counted(found.workload.photos, 'photo')}; spot taken at {SPOT_SHARE:.0%} of on demand", style="dim")
    _print_serving(found)
    _print_alternatives(found)


def _print_changes(found: Estimate, before: Estimate) -> None:
    changed = text.changes(found, before)
    if changed:
        shown = table("what changes", *text.heads(before), right=tuple(text.heads(before)))
        for name, values in changed:
            shown.add_row(name, *values)
        _print_below(shown)


def _print_serving(found: Estimate) -> None:
    serving = table(f"{found.traffic:,.0f} counts a day", "a thousand", "a month", "", right=("a thousand", "a month"))
    for way in found.serving:
        serving.add_row(*text.mode_cells(way))
    _print_below(serving)
    evens = table(*text.EVEN_HEADS)
    for even in found.break_evens:
        evens.add_row(*text.even_cells(even))
    _print_below(evens)


def _print_alternatives(found: Estimate) -> None:
    """The same training in other ways, a month by size, and what the notebooks spent."""
    if found.alternatives:
        shown = table("embed and train once", "machines", "min", "dollars", right=("min", "dollars"))
        for other in found.alternatives:
            shown.add_row(other.way, other.machines, f"{other.minutes:,.0f}", money(other.dollars))
        _print_below(shown)
    grown = table("photos; executions", *text.GROWTH_HEADS[1:], right=tuple(text.GROWTH_HEADS[1:]))
    for photos in found.growth:
        grown.add_row(*text.growth_cells(photos))
    _print_below(grown)
    if not found.seed:
        return
    seed = table("the notebook way", "machines", "runs", "min", "dollars", right=("min", "dollars"))
    for line in found.seed:
        step, machines, runs, minutes, _, dollars, *_ = text.step_cells(line)
        seed.add_row(step, machines, runs, minutes, dollars)
    _print_below(seed)
    trained = sum(line.expected for line in found.seed if line.step != ENDPOINT_MONTH)
    stdout.print(
        f"Its tuning and trainings: {money(trained)}. One execution here: {money(found.execution_expected)}.",
        style="dim",
    )


def _print_below(shown: Table) -> None:
    stdout.print()
    stdout.print(shown)


def _steps(title: str, lines: tuple[StepLine, ...]) -> Table:
    shown = table(*text.STEP_HEADS, right=tuple(text.STEP_HEADS[3:]))
    shown.columns[0].header = title
    for line in lines:
        shown.add_row(*text.step_cells(line))
    return shown
