"""`binventory audit`: ranks the bins whose record is most likely wrong."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID
from rich.text import Text

from binventory.batch.estimate import launch
from binventory.batch.site import Site
from binventory.cli.idle_flags import is_typed, refuse_both, refuse_idle
from binventory.cli.interrupted import JobHalted
from binventory.cli.launching import DryRunFlag, confirm
from binventory.cli.look import EnvironmentOption, JsonFlag, duration, print_json, stderr, stdout, table
from binventory.cli.progress import progress_bar
from binventory.cli.settings import names_of
from binventory.core.aws import connect
from binventory.core.errors import Exit, Problem
from binventory.core.outputs import check_folder
from binventory.core.words import counted
from binventory.cost import prices
from binventory.cost.amounts import money

if TYPE_CHECKING:  # with numpy and Arrow, which help and completion do not wait for
    from binventory.audit import job
    from binventory.audit.csv_records import Columns
    from binventory.audit.database import SkuError
    from binventory.audit.plan import Plan
    from binventory.audit.run import Scope
    from binventory.audit.summary import Summary

_OF_THE_ENDPOINT = ("endpoint", "rate", "instance", "price_per_hour")
_CLASSES = "1,2,3,4,5"
_SHOWN_REASONS = 6
_SHOWN_NAME = 60
"""Characters of a product's name."""
_SHOWN_SKUS = 5


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("audit", epilog="Example: binventory audit s3://bucket/bins/ --budget 200")(audit)


def audit(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Folder or s3://bucket/prefix with photos.")],
    output: Annotated[Path, typer.Option(help="Folder for the results; a second run continues there.")] = Path("audit"),
    records: Annotated[Path | None, typer.Option(help="CSV of records; default: metadata JSON beside photos.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Columns of the CSV: image_id=A,count=B; also photo, sku and name."),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Answers given before (CSV, JSON Lines, Parquet, Batch Transform folder).")
    ] = None,
    evaluation: Annotated[
        str | None,
        typer.Option(help="The model's evaluation.json, path or s3://; default: its model package's.", metavar="FILE"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="List only records with at most this probability.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="List only so many bins.")] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Inspections you can afford: lists as many, says what they will find.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Some of csv,jsonl,parquet,html; default: all. Older files of the others are removed.",
        ),
    ] = None,
    page_bins: Annotated[int, typer.Option(min=1, max=20_000, help="Most bins on the HTML page.")] = 2000,
    classes: Annotated[list[str] | None, typer.Option(help="Counts that the model knows; default: 1,2,3,4,5.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Most requests a second.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests under way at once.")] = 8,
    instance: Annotated[str, typer.Option(help="The endpoint's instance type, for the estimate.")] = "ml.m5.large",
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Of the endpoint, dollars; default: the price table's.")
    ] = None,
    events: Annotated[
        str | None, typer.Option(metavar="BUS", help="Send one event a listed bin to this EventBridge bus.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of continuing.")] = False,
    dry_run: DryRunFlag = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    batch: Annotated[
        bool | None,
        typer.Option(
            "--batch/--no-batch",
            help="Transform jobs instead of the endpoint; default: from 20,000 bins on, without flags of the endpoint.",
        ),
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Endpoint; default: the environment's.")] = None,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Ranks bins by how improbable their recorded quantity is, given their photo.

    Exits 1 if a transform job failed with some answers; the same command asks for the others again.
    """
    from binventory.audit import job
    from binventory.audit.database import Filters
    from binventory.audit.files import FORMATS

    refuse_both(context, "top", "budget", why="both say how many bins to list")
    refuse_both(context, "instance", "price_per_hour", why="both say what the endpoint costs")
    # Of a list that is given in several flags every part counts: the last alone would drop the others without a word.
    chosen, mapping = _formats(",".join(formats) if formats else None, FORMATS), _columns(",".join(columns or ()))
    _refuse_idle(context, chosen, predictions=predictions, records=records, batch=batch)
    if any(is_typed(context, name) for name in _OF_THE_ENDPOINT):
        batch = False
    check_folder(output, "--output")
    names = names_of(env)
    with ExitStack() as stack:
        # What a dry run writes must not be what a real one continues.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if dry_run else output
        request = job.Request(
            source=source,
            output=folder,
            records=records,
            columns=mapping,
            predictions=predictions,
            evaluation=evaluation,
            endpoint=endpoint or names.prefix,
            batch=batch,
            names=names,
            filters=Filters(threshold=threshold, top=budget or top),
            formats=chosen,
            page_bins=page_bins,
            scope=_scope(",".join(classes) if classes else _CLASSES),
            rate=rate,
            concurrency=concurrency,
            price_per_hour=_hourly(instance) if price_per_hour is None and predictions is None else price_per_hour,
            bus=events,
            restart=restart,
        )
        shown = stack.enter_context(progress_bar())
        halted = JobHalted(names, shown.stop)
        asked = _Asked(dry_run=dry_run, yes=yes, json=json)
        kept = f"what was compared is kept in {output}"
        kept += (
            "" if predictions else f", and the endpoint, where it is on, bills until: {names.command('endpoint off')}"
        )
        with halted.explained(_again(source, output), kept):
            result = job.run_audit(request, lambda: connect(os.environ), _listener(shown, asked, halted))
    if json:
        print_json(
            {
                **result.summary.to_json(),
                "files": [*map(str, result.files)],
                "removed": [*map(str, result.removed)],
                "events": result.events,
            }
        )
    else:
        _print_result(result, events)
    if result.summary.unanswered:
        raise typer.Exit(Exit.FAILED)


def _print_result(result: job.Result, events: str | None) -> None:
    _print_summary(result.summary)
    for path in result.files:
        stdout.print(f"  {path}", soft_wrap=True)
    for path in result.removed:
        stdout.print(f"Removed {path}: it was of an earlier audit, and --format leaves it out.", soft_wrap=True)
    if result.events:
        stdout.print(f"{result.events} events went to {events}.")


def _refuse_idle(
    context: typer.Context,
    formats: tuple[str, ...],
    *,
    predictions: Path | None,
    records: Path | None,
    batch: bool | None,
) -> None:
    """Refuses flags that this audit would not use."""
    if predictions is not None:
        refuse_idle(context, *_OF_THE_ENDPOINT, why="--predictions has the answers, so no endpoint is asked")
    if batch:
        refuse_idle(context, *_OF_THE_ENDPOINT, why="--batch asks transform jobs, and no endpoint")
    if records is None:
        refuse_idle(context, "columns", why="they are those of --records, and none are given")
    if "html" not in formats:
        refuse_idle(context, "page_bins", why="--format leaves the page out")


def _formats(asked: str | None, every: tuple[str, ...]) -> tuple[str, ...]:
    if asked is None:
        return every
    found = tuple(dict.fromkeys(part.strip() for part in asked.split(",") if part.strip()))
    if not found:
        raise Problem(
            "--format names no format",
            f"it is {asked!r}",
            f"give some of {','.join(every)}, or leave it out for all",
            code=Exit.USAGE,
        )
    return found


def _columns(mapping: str) -> Columns:
    from binventory.audit.csv_records import Columns

    try:
        return Columns.parse(mapping)
    except ValueError as error:
        raise Problem(
            "--columns is not a mapping", str(error), "write image_id=BIN,count=QUANTITY", code=Exit.USAGE
        ) from error


def _scope(classes: str) -> Scope:
    from binventory.audit.run import Scope

    try:
        counts = tuple(sorted({int(part) for part in classes.split(",")}))
    except ValueError:
        counts = ()
    if len(counts) < 2 or counts[0] < 0:
        raise Problem("--classes is not a list of counts", f"it is {classes!r}", "write 1,2,3,4,5", code=Exit.USAGE)
    return Scope(counts)


def _hourly(instance: str) -> float | None:
    """The table's price; None in a region that it does not hold. Raises Problem for an unknown instance type."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or connect(os.environ).region
    table_of_region = prices.known(region)
    return None if table_of_region is None else table_of_region.instance_hour(instance)


@dataclass(frozen=True)
class _Asked:
    """The flags about spending."""

    dry_run: bool
    yes: bool
    json: bool


def _again(source: str, output: Path) -> str:
    command = shlex.join(["binventory", "audit", source, "--output", str(output)])
    return f"continue with the same command: {command} ..."


def _listener(shown: Progress, asked: _Asked, halted: JobHalted) -> job.Progress:
    """Shows the plan, asks where money is spent, then moves the bars.

    The endpoint bills anyway, so without a terminal there is no question; transform jobs are started for this audit
    alone, so there is one.
    """
    from binventory.audit import job

    transformed = shown.add_task("Transform job", total=None, visible=False)
    audited = shown.add_task("Comparing", total=None)
    drawn = shown.add_task("Drawing the page", total=None, visible=False)
    sent = shown.add_task("Sending events", total=None, visible=False)

    def planned(plan: Plan) -> None:
        shown.update(audited, total=plan.bins)
        if not plan.asks_endpoint and not plan.events and not asked.dry_run:
            return
        shown.stop()
        price = "the table has no price for this endpoint here, see --price-per-hour"
        if plan.dollars is not None:
            hour = f"endpoint at ${plan.price_per_hour:.3f} an hour, " if plan.asks_endpoint else ""
            price = f"about {money(plan.dollars)} ({hour}S3 requests, events)"
        if asked.dry_run and asked.json:
            print_json({"plan": {**vars(plan), "seconds": plan.seconds, "dollars": plan.dollars}, "started": False})
        else:
            stderr.print(f"{counted(plan.bins, 'bin')} at most: about {duration(plan.seconds)}, {price}.")
        if asked.dry_run:
            stderr.print("Nothing was started: --dry-run.")
            raise typer.Exit(Exit.OK)
        if not asked.yes and sys.stdin.isatty() and not typer.confirm("Continue?", err=True):
            stderr.print("Nothing was started.")
            raise typer.Exit(Exit.INTERRUPTED)
        shown.start()

    def launched(bins: int, site: Site) -> None:
        shown.update(audited, total=bins)
        shown.stop()
        aws = connect(os.environ)
        screen = launch(bins, site, region=aws.region, local=aws.is_local)
        confirm(screen, yes=asked.yes, json=asked.json, dry_run=asked.dry_run)
        shown.start()

    return job.Progress(
        planned=planned,
        launched=launched,
        halted=halted,
        left=halted.left,
        failed=halted.failed,
        unknown=lambda sentence: stderr.print(sentence, soft_wrap=True),
        transformed=lambda name, done: shown.update(transformed, description=name, completed=done, visible=True),
        audited=lambda count: shown.advance(audited, count),
        drawn=lambda count: _advance(shown, drawn, count),
        sent=lambda count: _advance(shown, sent, count),
    )


def _advance(shown: Progress, task: TaskID, count: int) -> None:
    shown.update(task, advance=count, visible=True)


def _print_summary(summary: Summary) -> None:
    model = summary.model
    sure = model.trust is not None and model.trust.beats_majority
    stdout.print(model.verdict, style="bold" if sure else "bold yellow")
    if model.trust is not None:
        for sentence in model.trust.sentences:
            stdout.print(sentence)
    stdout.print(
        f"{counted(summary.counted, 'record')} compared with the photo, {summary.out_of_scope:,} out of scope, "
        f"{summary.not_audited:,} not audited."
    )
    for state, reason, bins in summary.reasons[:_SHOWN_REASONS]:
        stdout.print(f"  {bins:,} {state.replace('_', ' ')}: {reason.replace('_', ' ')}")
    if further := summary.reasons[_SHOWN_REASONS:]:
        bins = sum(bins for _, _, bins in further)
        stdout.print(f"  {bins:,} for {counted(len(further), 'more reason')}: see summary.json")
    if not summary.counted:
        stdout.print("Nothing could be ranked.")
        return
    if summary.wrong is None or summary.finds is None or summary.unit_error is None:
        stdout.print(f"{counted(summary.listed, 'bin')} listed, the least probable record first.")
        return
    wrong, finds = summary.wrong, summary.finds
    stdout.print(
        Text(f"{wrong.share:.1%} of the records are estimated wrong ", style="bold"),
        f"(95% interval {wrong.low:.1%} to {wrong.high:.1%}); expected unit error {summary.unit_error:,.0f}.",
    )
    stdout.print(
        f"Checking {counted(finds.inspections, 'listed bin')} is expected to find {finds.expected:.0f} wrong records "
        f"({finds.low:.0f} to {finds.high:.0f}); as many at random, {finds.by_chance:.0f}."
    )
    _print_skus("fewer than recorded", summary.fewer)
    _print_skus("more than recorded", summary.more)


def _print_skus(title: str, skus: tuple[SkuError, ...]) -> None:
    if not skus:
        return
    shown = table(title, "bins", "recorded", "expected", right=("bins", "recorded", "expected"))
    for sku in skus[:_SHOWN_SKUS]:
        expected = sku.units + sku.expected_difference
        name = sku.name or sku.sku
        shown.add_row(
            name if len(name) <= _SHOWN_NAME else f"{name[: _SHOWN_NAME - 1]}…",
            f"{sku.bins:,}",
            f"{sku.units:,}",
            f"{expected:,.1f}",
        )
    stdout.print(shown)
    if len(skus) > _SHOWN_SKUS:
        stdout.print(f"The largest {_SHOWN_SKUS} of these differences; summary.json has the largest {len(skus)}.")
