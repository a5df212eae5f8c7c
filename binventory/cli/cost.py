"""`binventory cost`: the price before the deploy."""

from __future__ import annotations

import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Annotated

import boto3
import typer

from binventory.cli.look import EnvironmentOption, JsonFlag, print_json, stderr, stdout, table
from binventory.cost import assembly, prices, text
from binventory.cost.estimate import SPOT_SHARE, Estimate, StepLine, estimate
from binventory.cost.refresh import refresh as refresh_prices
from binventory.cost.text import money
from binventory.cost.workload import Workload
from binventory.rehearsal.cdk import Cdk

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_EPILOG = """
Examples:

  binventory cost --env prod --photos 535234

  binventory cost cdk.out --diff before/cdk.out --markdown
"""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("cost", epilog=_EPILOG, rich_help_panel="Money")(cost)


def cost(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[CDK_OUT]", help="Cloud assembly. Default: synthesized now.")
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
    if refresh:
        wanted = region or "us-east-1"
        number = refresh_prices(boto3.client("pricing", region_name="us-east-1"), wanted, date.today())
        stderr.print(f"Read {number} instance prices of {wanted}.")
    found = _estimate(folder, env, photos, traffic, region)
    before = _estimate(diff, env, photos, traffic, region) if diff is not None else None
    if json:
        print_json({"after": text.to_json(found), "before": text.to_json(before)} if before else text.to_json(found))
    elif markdown:
        print(text.markdown(found, before), end="")
    else:
        _print(found, before)
    known = prices.load(found.region)
    if warning := known.warning(date.today()):
        stderr.print(warning, style="yellow")


def _estimate(folder: Path | None, env: str, photos: int | None, traffic: float, region: str | None) -> Estimate:
    read = assembly.read(folder) if folder is not None else _synthesized(env)
    known = prices.load(region or ("us-east-1" if read.region == "unknown-region" else read.region))
    return estimate(read, known, Workload.of(read.parameters, photos), traffic)


def _synthesized(env: str) -> assembly.Assembly:
    with tempfile.TemporaryDirectory() as scratch:
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        cdk = Cdk(_REPOSITORY, Path(scratch) / "cdk.out", Path(scratch) / "cdk.log", environment)
        with stderr.status("Synthesizing the stacks"):
            cdk.synth(f"env={env}", lambda line: None)
        return assembly.read(cdk.assembly)


def _print(found: Estimate, before: Estimate | None) -> None:
    known = prices.load(found.region)
    stdout.print(f"[bold]{found.environment}[/bold] in {found.region}, prices of {known.read} ({known.source})\n")
    totals = table("", *(["cost"] if before is None else ["before", "after", "difference"]), right=("cost",))
    for name, values in text.rows(found, before):
        totals.add_row(name, *values)
    stdout.print(totals)
    if before is not None:
        return
    month = table("by the month", "", "dollars", right=("dollars",))
    for line in (*found.idle, *found.serving_on):
        month.add_row(line.name, line.quantity, money(line.dollars))
    stdout.print()
    stdout.print(month)
    stdout.print()
    stdout.print(_steps("one execution", found.execution, worst=True))
    stdout.print(f"{found.workload.photos:,} photos; spot taken at {SPOT_SHARE:.0%} of on demand", style="dim")
    serving = table(f"{found.traffic:,.0f} counts a day", "a thousand", "a month", "", right=("a thousand", "a month"))
    for way in found.serving:
        serving.add_row(way.mode, money(way.per_thousand), money(way.month), way.note)
    stdout.print()
    stdout.print(serving)
    stdout.print(f"The endpoint is cheaper than serverless above {found.break_even:,.0f} counts a day.", style="dim")
    stdout.print()
    stdout.print(_steps("the notebook way", found.seed, worst=False))


def _steps(title: str, lines: tuple[StepLine, ...], *, worst: bool) -> object:
    numbers = ("minutes", "on demand", "expected", *(("at worst",) if worst else ()))
    shown = table(title, "machines", "runs", *numbers, right=numbers)
    for line in lines:
        minutes = f"{line.minutes:,.1f}" if line.minutes < 10 else f"{line.minutes:,.0f}"
        cells = [line.step, line.machines, line.runs, minutes, money(line.on_demand), money(line.expected)]
        shown.add_row(*cells, *([money(line.worst)] if worst else []))
    return shown
