"""`binventory count`: photos in, counts out."""

from __future__ import annotations

import json as json_format
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from binventory import serving
from binventory.batch.counting import CountedPhoto, count_prefix
from binventory.batch.estimate import launch
from binventory.batch.site import find_site
from binventory.cli.idle_flags import refuse_idle
from binventory.cli.interrupted import JobHalted
from binventory.cli.launching import DryRunFlag, YesFlag, confirm
from binventory.cli.look import EnvironmentOption, JsonFlag, bars, print_json, stderr, stdout, table
from binventory.cli.progress import progress_bar
from binventory.cli.settings import names_of
from binventory.client import DATASET_HOSTS, FetchPolicy, Queue
from binventory.core.aws import Aws, connect
from binventory.core.errors import Exit, Problem
from binventory.core.names import Names
from binventory.core.outputs import check_file, write_text, writing
from binventory.core.words import counted
from binventory.cost.launch import of_endpoint

_SHOWN_PHOTOS = 20
_AT_ONCE = 16


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("count", epilog="Example: binventory count bins/bin-images/00102.jpg --json")(count)


def count(
    context: typer.Context,
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO...",
            help="JPEG or PNG files, https addresses, or one s3:// address: a folder with all below it, or one photo.",
        ),
    ],
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Fetch addresses of this host too (.example.com: of its domain)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the answers here, JSON Lines, one photo a line; an audit reads them.")
    ] = None,
    dry_run: DryRunFlag = False,
    yes: YesFlag = False,
    env: EnvironmentOption = "dev",
    json: JsonFlag = False,
) -> None:
    """Counts photos through the endpoint, or a whole folder of S3 in a transform job, which needs no endpoint.

    Addresses are fetched here, never by the endpoint. Exits 1 if a photo has no count; the others have theirs.
    """
    if output is not None:
        check_file(output, "--output")
    photos = list(dict.fromkeys(photos))  # answers are by name, and each request is paid for
    prefixes = [photo for photo in photos if photo.startswith("s3://")]
    if prefixes:
        if len(photos) > 1:
            raise Problem(
                "An address of S3 is counted alone",
                f"{len(photos)} photos and addresses were given",
                "give one s3://bucket/folder/",
                code=Exit.USAGE,
            )
        refuse_idle(context, "allow_host", why="a transform job reads the photos of S3, and fetches no address")
    aws, names = connect(os.environ), names_of(env)
    if prefixes:
        _count_prefix(aws, names, prefixes[0], output, dry_run=dry_run, yes=yes, json=json)
        return
    if dry_run:
        _require_files(photos)
        _show_what_the_endpoint_bills(aws, names, len(photos), json=json)
        return
    answers: dict[str, serving.EndpointAnswer | Problem] = {}
    try:
        _ask_all(aws, names, photos, (*DATASET_HOSTS, *(allow_host or ())), answers)
    except BaseException:
        # A file has all answers or is not written, and so has JSON; a person need not lose what was counted.
        if answers and output is None and not json:
            _show_answers(answers)
            stdout.print(f"{len(answers):,} of {counted(len(photos), 'photo')} were asked for.")
        raise
    if output is not None:
        lines = (json_format.dumps(vars(_as_counted(name, answer))) + "\n" for name, answer in answers.items())
        write_text(output, "".join(lines))
    if json:
        print_json({n: {"error": str(a)} if isinstance(a, Problem) else a for n, a in answers.items()})
    else:
        _show_answers(answers)
    if any(isinstance(answer, Problem) for answer in answers.values()):
        raise typer.Exit(Exit.FAILED)


def _show_answers(answers: Mapping[str, serving.EndpointAnswer | Problem]) -> None:
    shown = table("photo", "count", "probabilities", "ms", right=("count", "ms"))
    for name, answer in answers.items():
        if isinstance(answer, Problem):
            shown.add_row(name, "", str(answer), "")
        else:
            shown.add_row(name, str(answer.count), bars(answer), f"{answer.milliseconds:.0f}")
    stdout.print(shown)


def _require_files(photos: list[str]) -> None:
    """Refuse photos of this computer that are no files; a count continues without them and says so for each."""
    lacking = [photo for photo in photos if "://" not in photo and not Path(photo).is_file()]
    if lacking:
        more = f", and {len(lacking) - _SHOWN_PHOTOS} more" if len(lacking) > _SHOWN_PHOTOS else ""
        raise Problem(
            f"{counted(len(lacking), 'photo')} of {len(photos)} would have no count",
            f"there is no such file: {', '.join(lacking[:_SHOWN_PHOTOS])}{more}",
            "correct the paths",
        )


def _ask_all(
    aws: Aws,
    names: Names,
    photos: list[str],
    hosts: tuple[str, ...],
    answers: dict[str, serving.EndpointAnswer | Problem],
) -> None:
    """Puts the endpoint's answer for each photo, or why there is none, into `answers` as soon as it is there.

    Raises Problem where there will be no more of them.
    """
    policy = FetchPolicy(allowed_hosts=hosts)
    queue = serving.find_queue(aws, names)
    try:
        _ask(aws, names, photos, policy, queue, answers)
    finally:
        if queue is not None and (remains := queue.remains()) is not None:
            stderr.print(str(remains), soft_wrap=True)


def _ask(
    aws: Aws,
    names: Names,
    photos: list[str],
    policy: FetchPolicy,
    queue: Queue | None,
    answers: dict[str, serving.EndpointAnswer | Problem],
) -> None:
    at_once = _AT_ONCE if queue else 1  # what waits in a queue can wait together
    with ThreadPoolExecutor(at_once, thread_name_prefix="count") as pool:

        def ask(photo: str) -> serving.EndpointAnswer | Problem:
            try:
                return serving.count(aws, names, photo if "://" in photo else Path(photo), policy, queue)
            except Problem as problem:
                if problem.code == Exit.NOT_READY or len(photos) == 1:  # there is no other answer
                    raise
                return problem

        try:
            with progress_bar() as bar:
                task = bar.add_task("Counting", total=len(photos))
                for photo, answer in zip(photos, pool.map(ask, photos), strict=True):
                    answers[photo] = answer
                    bar.advance(task)
        except BaseException:
            if queue is not None:
                queue.halted.set()  # the pool waits for its threads
            raise


def _as_counted(name: str, answer: serving.EndpointAnswer | Problem) -> CountedPhoto:
    if isinstance(answer, Problem):
        return CountedPhoto(name, None, error=str(answer))
    return CountedPhoto(name, answer.count, answer.probabilities)


def _show_what_the_endpoint_bills(aws: Aws, names: Names, photos: int, *, json: bool) -> None:
    """The screen of the endpoint, which photos are counted by: asking it starts nothing."""
    title = f"The endpoint {names.prefix}, which would count {counted(photos, 'photo')}"
    template = serving.template(aws, names)
    confirm(of_endpoint(template, title, names=names, aws=aws), yes=True, json=json, dry_run=True)


def _count_prefix(
    aws: Aws, names: Names, uri: str, output: Path | None, *, dry_run: bool, yes: bool, json: bool
) -> None:
    site = find_site(aws, names)
    progress = progress_bar()
    task = progress.add_task("Counting", total=None)
    finished = 0

    def agreed(total: int) -> None:
        confirm(launch(total, site, region=aws.region, local=aws.is_local), yes=yes, json=json, dry_run=dry_run)
        progress.update(task, total=total)
        progress.start()

    def heard(name: str, done: int) -> None:
        progress.update(task, description=name, completed=finished + done)

    def found() -> Iterator[CountedPhoto]:
        nonlocal finished
        for photo in count_prefix(
            aws, site, uri, agreed=agreed, heard=heard, halted=halted, left=halted.left, failed=halted.failed
        ):
            finished += 1
            yield photo

    halted = JobHalted(names, progress.stop)
    try:
        with halted.explained("count it again: the same command"):
            uncounted = _show_counted(found(), None if dry_run else output, json=json)
    finally:
        progress.stop()
    if uncounted:
        raise typer.Exit(Exit.FAILED)


def _show_counted(found: Iterator[CountedPhoto], output: Path | None, *, json: bool) -> int:
    """Writes every answer, keeps a few for the table; with --json and no file all of them go to standard output.

    Returns the number of photos without a count.
    """
    first: list[CountedPhoto] = []
    totals: Counter[str] = Counter()
    with writing(output) if output else nullcontext() as stream:
        for photo in found:
            totals["none" if photo.count is None else str(photo.count)] += 1
            if len(first) < _SHOWN_PHOTOS or (json and not output):
                first.append(photo)
            if stream:
                stream.write(json_format.dumps(vars(photo)) + "\n")
    if json:
        print_json({"photos": sum(totals.values()), "counts": dict(sorted(totals.items()))} if output else first)
        return totals["none"]
    shown = table("photo", "count", "probabilities", right=("count",))
    for photo in first:
        shown.add_row(photo.photo, "" if photo.count is None else str(photo.count), photo.error or bars(photo))
    stdout.print(shown)
    number = sum(totals.values())
    if number > len(first):
        stdout.print(f"... and {number - len(first):,} more{f', all in {output}' if output else ': see --output'}")
    stdout.print(", ".join(f"{amount:,} x {name}" for name, amount in sorted(totals.items())))
    return totals["none"]
