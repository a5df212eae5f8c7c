"""One ingest run: plan, work, books, report."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import PIL
from PIL import features

from ingestion.books import KEPT, BooksError, Expected, Tally, check, summary
from ingestion.candidates import select
from ingestion.destination import Destination
from ingestion.exploration import Exploration, to_document
from ingestion.labels import Labels, LabelsError, parse_labels
from ingestion.ledger import QUARANTINED, SKIPPED, Row, read_kept, read_set_aside, to_line
from ingestion.page import write_page
from ingestion.plan import Plan, Unit, make_plan
from ingestion.source import BinSource, SourceError, read_file
from ingestion.split import SPLITS, SplitError
from ingestion.unit_files import (
    PLAN,
    REPORT,
    Finished,
    make_folders,
    read_marks,
    sweep,
    to_json,
    write_rows,
    write_whole,
)
from ingestion.work import Limits, WorkError, run_units

NO_LABELS: Final = "none"
_SCHEMA: Final = 1

log = logging.getLogger(__name__)


class IngestError(RuntimeError):
    """The run failed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """What decides the result. How many machines and threads do the work does not."""

    photos_uri: str
    labels_uri: str = NO_LABELS
    limit_per_class: int = 0
    seed: int = 0
    block_size: int = 100
    shard_photos: int = 0
    ignore_etags: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """Which machine of how many this is."""

    index: int = 0
    count: int = 1

    @classmethod
    def read(cls, resource_config: Path) -> Machine:
        """From a job's resourceconfig.json; without the file there is one machine."""
        if not resource_config.is_file():
            return cls()
        try:
            config = json.loads(resource_config.read_bytes())
            hosts = sorted(config["hosts"])
            return cls(hosts.index(config["current_host"]), len(hosts))
        except (ValueError, KeyError, TypeError) as error:
            raise IngestError(f"{resource_config} must name current_host and hosts: {error}") from error

    def name(self, kind: str) -> str:
        """A report file's name without suffix; with several machines each has its own."""
        return kind if self.count == 1 else f"{kind}-{self.index:02}-of-{self.count:02}"


async def ingest(
    settings: IngestSettings, machine: Machine, output: Path, *, limits: Limits, destination: Destination | None = None
) -> dict[str, Any]:
    """Do this machine's share and return its books. Raises IngestError.

    `destination`: where the job's output will be uploaded to; a retried job goes on from what it finds there.
    """
    try:
        return await _ingest(settings, machine, output, limits=limits, destination=destination)
    except (SourceError, LabelsError, SplitError, WorkError, BooksError) as error:
        raise IngestError(str(error)) from error


async def _ingest(
    settings: IngestSettings, machine: Machine, output: Path, *, limits: Limits, destination: Destination | None
) -> dict[str, Any]:
    make_folders(output)
    source = BinSource(settings.photos_uri, concurrency=limits.concurrency)
    labels = await _read_labels(settings.labels_uri)
    selection = await select(
        source,
        labels,
        seed=settings.seed,
        block_size=settings.block_size,
        limit=settings.limit_per_class,
        ignore_etags=settings.ignore_etags,
    )
    plan = await make_plan(
        source,
        selection.candidates,
        selection.set_aside,
        seed=settings.seed,
        block_size=settings.block_size,
        shard_photos=settings.shard_photos,
        code=code_fingerprint(),
    )
    units = plan.share(machine.index, machine.count)
    log.info(
        "%s listed, %s to ingest in %s shards, %s set aside; machine %s of %s takes %s shards",
        *(f"{plan.listed:,}", f"{len(selection.candidates):,}", len(plan.units), f"{len(plan.set_aside):,}"),
        *(machine.index + 1, machine.count, len(units)),
    )
    sweep(output, [unit.name for unit in plan.units])
    if machine.index == 0:
        _write_plan_rows(output / REPORT, plan)
    marks = await run_units(source, units, output, rule=plan.rule, limits=limits, destination=destination)
    expected = _expected(units, plan if machine.index == 0 else None)
    facts = {
        "settings": asdict(settings),
        "machine": asdict(machine),
        "rule": plan.rule,
        "blocks": dict(Counter(plan.split_by_block.values())),
        "fingerprint": {"data": plan.fingerprint, "code": code_fingerprint()},
        "plan": asdict(_expected(plan.units, plan)),
    }
    return _report(output, machine, expected, marks, facts)


def merge(output: Path) -> dict[str, Any]:
    """Join the reports of several machines, found in one output folder: `books.json`, `exploration.json`, `.html`.

    Raises IngestError when a machine's books are missing or the whole does not balance.
    """
    books = [json.loads(path.read_bytes()) for path in sorted((output / REPORT).glob("books-*-of-*.json"))]
    if not books:
        raise IngestError(f"{output / REPORT} holds no books-MM-of-NN.json; give the folder that the machines wrote to")
    facts = {key: books[0][key] for key in ("settings", "rule", "blocks", "fingerprint", "plan")}
    if len(books) != books[0]["machine"]["count"] or any({k: b[k] for k in facts} != facts for b in books):
        found = ", ".join(str(b["machine"]["index"]) for b in books)
        raise IngestError(f"the books of machines {found} are not one run of {books[0]['machine']['count']} machines")
    try:
        return _report(output, Machine(), Expected(**facts["plan"]), read_marks(output), facts)
    except BooksError as error:
        raise IngestError(str(error)) from error


@cache
def code_fingerprint() -> str:
    """SHA-256 of the code and the libraries that decide which bytes come out."""
    import photo

    here = Path(__file__).parent
    libraries = (PIL.__version__, features.version("libjpeg_turbo"), version("cykooz-resizer"))
    digest = hashlib.sha256(repr(libraries).encode())
    for path in (*sorted(here.glob("*.py")), here.parent / "shards.py", Path(photo.__file__)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


async def _read_labels(uri: str) -> Labels | None:
    if uri in ("", NO_LABELS):
        return None
    data = await read_file(uri)
    if data is None:
        raise LabelsError(f"{uri} does not exist; give a labels file, or {NO_LABELS}")
    return parse_labels(data, uri)


def _expected(units: Iterable[Unit], plan: Plan | None) -> Expected:
    """What must be found for these units, and for the rows of the plan when it is given."""
    per_split: Counter[str] = Counter()
    for unit in units:
        per_split[unit.split] += len(unit.candidates)
    per_split.update(row.split for row in (plan.set_aside if plan else ()))
    return Expected(per_split.total(), dict(per_split))


def _write_plan_rows(report: Path, plan: Plan) -> None:
    """The rows of ids that were set aside before any photo was read; one machine writes them for all."""
    for fate, kind in ((QUARANTINED, "quarantine"), (SKIPPED, "skipped")):
        rows = (to_line(row) for row in plan.set_aside if row.fate == fate)
        write_rows(report / f"{kind}-{PLAN}.jsonl", b"".join(rows))


def _rows(report: Path, units: Sequence[str]) -> Iterator[Row]:
    """Every row of the units named, those of the plan among them."""
    yield from read_kept(_existing(report, "manifest", units))
    yield from read_set_aside(_existing(report, "quarantine", units))
    yield from read_set_aside(_existing(report, "skipped", units))


def _existing(report: Path, kind: str, units: Sequence[str]) -> Iterator[Path]:
    return (path for unit in units if (path := report / f"{kind}-{unit}.jsonl").exists())


def _report(
    output: Path, machine: Machine, expected: Expected, marks: Sequence[Finished], facts: dict[str, Any]
) -> dict[str, Any]:
    """Read every row once, balance the books, and write them beside the exploration."""
    tally, exploration = Tally(), Exploration(facts["settings"]["seed"])
    units = [*([PLAN] if machine.index == 0 else []), *(mark.unit for mark in marks)]
    for row in _rows(output / REPORT, units):
        tally.add(row)
        exploration.add(row)
    check(tally, expected, marks)
    books = {"schema": _SCHEMA, **facts, **summary(tally, marks)}
    document = {"schema": _SCHEMA, **to_document(exploration)}
    write_whole(output / REPORT / f"{machine.name('books')}.json", to_json(books))
    write_whole(output / REPORT / f"{machine.name('exploration')}.json", to_json(document))
    write_page(output / REPORT / f"{machine.name('exploration')}.html", document, books, exploration.samples(), output)
    log.info("%s", _in_words(books))
    if machine.count == 1 and (empty := [split for split in SPLITS if tally.per_split[split][KEPT] == 0]):
        raise IngestError(
            f"no photo was kept for {' and '.join(empty)}; see the quarantine files in {output / REPORT}, "
            "or take more photos or a smaller --block-size"
        )
    return books


def _in_words(books: dict[str, Any]) -> str:
    skipped, quarantined = sum(books["skipped"].values()), sum(books["quarantined"].values())
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(books["quarantined"].items()))
    return (
        f"books balance: {books['listed']:,} listed = {books['kept']:,} kept + {skipped:,} skipped + "
        f"{quarantined:,} quarantined" + (f" ({reasons})" if reasons else "")
    )
