"""One ingest run: plan, work, books, report."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import PIL
from PIL import features

from binventory.records.errors import TableError
from binventory.records.labels import Labels, read_labels
from ingestion.books import Accounts
from ingestion.candidates import select
from ingestion.destination import Destination
from ingestion.exploration import Exploration
from ingestion.labels import LabelsError
from ingestion.listing import ExecutionListing, read_listing
from ingestion.lock import alone
from ingestion.plan import IngestPlan, Unit, make_plan
from ingestion.report import (
    EmptySplitError,
    MachineBooks,
    check_splits,
    join,
    photos_in,
    sweep_reports,
    why,
    write_part,
    write_plan_rows,
    write_report,
)
from ingestion.run import NO_LABELS, NO_LISTING, Expected, IngestError, IngestSettings, JobMachine, RunFacts
from ingestion.source import BinSource, Changed, read_file
from ingestion.unit_files import PLAN, REPORT, make_folders, sweep
from ingestion.work import Intake, WorkLimits
from ingestion.workers import Workers, finished_before, run_units
from shards.lists import ShardError
from stacks.vocabulary import SPLITS

log = logging.getLogger(__name__)


async def ingest(
    settings: IngestSettings,
    machine: JobMachine,
    output: Path,
    *,
    limits: WorkLimits,
    destination: Destination | None = None,
    intake: type[Intake] = Intake,
) -> None:
    """Ingest this machine's share, and write the report of all machines where it is the last of them.

    Args:
        destination: the job's output in S3, from which a retried job continues; None when run by hand.
        intake: what turns a candidate into an outcome.

    Raises:
        IngestError: the run failed; the message names the cure.
    """
    try:
        with alone(output, machine), Workers(limits.cores) as workers:
            await _ingest(settings, machine, output, limits, workers, destination, intake)
    except ShardError as error:
        raise IngestError(str(error)) from error
    except EmptySplitError:
        if destination is not None:
            await destination.publish_report(output)
        raise


async def _ingest(
    settings: IngestSettings,
    machine: JobMachine,
    output: Path,
    limits: WorkLimits,
    workers: Workers,
    destination: Destination | None,
    intake: type[Intake],
) -> None:
    make_folders(output)
    source = BinSource(settings.photos_uri, concurrency=limits.concurrency)
    task = await _task(settings, machine, output, source, workers)
    rows = ([PLAN] if task.plan_files else []) + [unit.name for unit in task.units]
    accounts = Accounts(output, rows, seed=settings.seed)
    done = await finished_before(output, task.units, destination)
    async with accounts.following():
        done += await run_units(
            source,
            task.units,
            output,
            rule=task.facts.rule,
            limits=limits,
            workers=workers,
            destination=destination,
            intake=intake,
        )
    if machine.count == 1:
        await write_report(output, done, task.facts, accounts, photos_in(output))
        check_splits(accounts)
    else:
        part = MachineBooks(machine, task.facts, task.plan_files)
        write_part(output, part, task.expected, accounts.tally, done)
        await join(output, part, destination)


@dataclass(frozen=True, slots=True)
class _Task:
    """What one machine has to do."""

    facts: RunFacts
    units: list[Unit]
    expected: Expected
    """The rows of its units, and the plan's rows where it writes them."""
    plan_files: Mapping[str, str]
    """As in `report.MachineBooks`."""


async def _task(
    settings: IngestSettings, machine: JobMachine, output: Path, source: BinSource, workers: Workers
) -> _Task:
    """Make the plan, in which every photo takes memory, and keep only what this machine needs."""
    plan = await _make_plan(settings, source, workers)
    units = list(plan.share(machine.index, machine.count))
    log.info(
        "%s listed, %s to ingest in %s shards, %s set aside; machine %s of %s takes %s shards",
        *(f"{plan.listed:,}", f"{plan.candidates:,}", len(plan.units), f"{len(plan.set_aside):,}"),
        *(machine.index + 1, machine.count, len(units)),
    )
    sweep(output, [unit.name for unit in plan.units])
    sweep_reports(output, machine)
    first = machine.index == 0
    plan_files = write_plan_rows(output / REPORT, plan) if first else {}
    _require_splits(plan)
    facts = RunFacts(
        settings=asdict(settings),
        rule=plan.rule,
        blocks=dict(Counter(plan.split_by_block.values())),
        fingerprint={"data": plan.fingerprint, "code": code_fingerprint()},
        plan=_expected(plan.units, plan),
        units=tuple(unit.name for unit in plan.units),
    )
    return _Task(
        facts=facts,
        units=units,
        expected=_expected(units, plan if first else None),
        plan_files=plan_files,
    )


def _require_splits(plan: IngestPlan) -> None:
    """Raise EmptySplitError where there are too few blocks for the splits, before any photo is read.

    Without any photo nothing would be read, so the run continues and writes the report.
    """
    blocks = len(plan.split_by_block)
    if 0 < blocks < len(SPLITS):
        exploration = Exploration(seed=0)
        for row in plan.set_aside:
            exploration.add(row)
        raise EmptySplitError(
            f"{plan.candidates} photos in {blocks} block(s) of ids cannot fill train, validation and test: "
            f"take a smaller --block-size or more photos{why(exploration)}"
        )


async def _make_plan(settings: IngestSettings, source: BinSource, workers: Workers) -> IngestPlan:
    """A separate function, so that the memory of the listing is free before the work begins."""
    listing = None if settings.listing == NO_LISTING else await read_listing(settings.listing)
    if listing is not None:
        source.listed = dict(listing.folders)
    labels = await _read_labels(settings.labels_uri, listing)
    selection = await select(
        source,
        labels,
        seed=settings.seed,
        block_size=settings.block_size,
        limit=settings.limit_per_class,
        ignore_etags=settings.ignore_etags,
        expect=workers.start,
    )
    if selection.unnamed:
        log.info("%s photos are not in %s, so they are left out", f"{selection.unnamed:,}", settings.labels_uri)
    return await make_plan(
        source,
        selection.candidates,
        selection.set_aside,
        seed=settings.seed,
        block_size=settings.block_size,
        shard_photos=settings.shard_photos,
        code=code_fingerprint(),
    )


@cache
def code_fingerprint() -> str:
    """SHA-256 of the code and the libraries that decide which bytes come out."""
    libraries = (PIL.__version__, features.version("libjpeg_turbo"), version("cykooz-resizer"), version("simplejpeg"))
    digest = hashlib.sha256(repr(libraries).encode())
    for path in code_files():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def code_files() -> list[Path]:
    """The files of `code_fingerprint`: ingest's own, and those elsewhere that say what a photo or a record is."""
    import digests
    import photo
    import photo_parts
    import photo_upright
    from binventory import records
    from binventory.core import contents
    from stacks import vocabulary

    here = Path(__file__).parent
    folders = (here, here.parent / "shards", Path(str(records.__file__)).parent)
    modules = (digests, photo, photo_parts, photo_upright, contents, vocabulary)
    own = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    return [*own, *(Path(str(module.__file__)) for module in modules)]


async def _read_labels(uri: str, listing: ExecutionListing | None) -> Labels | None:
    without = uri in ("", NO_LABELS)
    if listing is not None and without != (listing.labels is None):
        named, given = ("a", "none") if without else ("no", uri)
        raise LabelsError(
            f"the listing names {named} labels file, --labels-uri is {given}: give the listing made with it"
        )
    if without:
        return None
    etag = listing.labels.etag if listing and listing.labels else ""
    try:
        data = await read_file(uri, etag=etag)
    except Changed as error:
        raise LabelsError(f"{error}; start the execution again: it lists the labels anew") from error
    if data is None:
        raise LabelsError(f"{uri} does not exist; give a labels file, or {NO_LABELS}")
    try:
        labels = read_labels(data, uri)
    except TableError as error:
        raise LabelsError(f"{uri} was not read: {error}") from error
    if labels.ignored:
        log.info("%s: not read: column %s", uri, ", ".join(labels.ignored)[:200])
    return labels


def _expected(units: Iterable[Unit], plan: IngestPlan | None) -> Expected:
    """The rows that these units must have, and those of the plan when it is given."""
    per_split: Counter[str] = Counter()
    for unit in units:
        per_split[unit.split] += len(unit.candidates)
    per_split.update(row.split for row in (plan.set_aside if plan else ()))
    return Expected(per_split.total(), dict(per_split))
