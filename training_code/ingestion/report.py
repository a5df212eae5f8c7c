"""The books and the exploration as a report: of one machine, or of all of them together.

Every machine balances its own rows and leaves its books as a part, `books-MM-of-NN.json`. The whole report is made of
all rows: the same bytes, whichever machine makes it and however many did the work.

Several machines need no coordinator. Each first puts its part where the others can see it and then looks for theirs, so
the last one finds all parts and writes the whole report. Where several find them all, they write the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from digests import DamagedFile, read_sealed, seal
from ingestion.books import KEPT, Accounts, RowTally, check, summary
from ingestion.destination import Destination
from ingestion.exploration import Exploration, to_document
from ingestion.page import write_page
from ingestion.plan import IngestPlan
from ingestion.rows import QUARANTINED, SKIPPED, Kept, to_line
from ingestion.run import Expected, IngestError, JobMachine, RunFacts
from ingestion.unit_files import (
    PLAN,
    REPORT,
    Finished,
    damaged_rows,
    make_folders,
    mark_path,
    to_json,
    write_rows,
    write_whole,
)
from shards import read_at
from shards.lists import LIST, ShardError, write_shard_list
from stacks.vocabulary import SPLITS

_SCHEMA: Final = 1
WHOLE: Final = (
    *(f"{REPORT}/{name}" for name in ("books.json", "exploration.json", "exploration.html")),
    *(f"{split}/{LIST}" for split in SPLITS),
)
"""Files made from the rows of all machines, under the output folder."""

_REASONS: Final = 3
_EXAMPLE: Final = 200

PhotosOf = Callable[[Sequence[Kept]], Awaitable[Mapping[str, bytes]]]
"""Returns the photos of some rows from the shards, by id, without those that are missing."""

log = logging.getLogger(__name__)


class EmptySplitError(IngestError):
    """A split has no photo, so nothing can be trained; the message has the reasons. The report is written."""


@dataclass(frozen=True, slots=True)
class MachineBooks:
    """The books of one of several machines, as far as the others need them."""

    machine: JobMachine
    facts: RunFacts
    plan_files: Mapping[str, str]
    """SHA-256 of each file with rows decided before any photo was read; empty unless this machine wrote them."""

    @classmethod
    def read(cls, path: Path) -> MachineBooks | None:
        """Read a machine's books; None where they are missing or damaged."""
        try:
            books = read_sealed(path)
            facts = {field.name: books[field.name] for field in fields(RunFacts)}
            facts |= {"plan": Expected(**facts["plan"]), "units": tuple(facts["units"])}
            return cls(JobMachine(**books["machine"]), RunFacts(**facts), books["plan_files"])
        except (OSError, DamagedFile, KeyError, TypeError):
            return None


def sweep_reports(output: Path, machine: JobMachine) -> None:
    """Remove reports of an earlier run: the whole, this machine's books, and books of another number of machines."""
    others = {name for index, name in enumerate(machine.parts()) if index != machine.index and machine.count > 1}
    for path in (output / REPORT).glob("books-*-of-*.json"):
        if path.name not in others:
            path.unlink(missing_ok=True)
    for name in WHOLE:
        (output / name).unlink(missing_ok=True)


def write_plan_rows(report: Path, plan: IngestPlan) -> dict[str, str]:
    """Write the rows of ids that were set aside before any photo was read. Returns each file's SHA-256 by its name."""
    files: dict[str, str] = {}
    for fate, kind in ((QUARANTINED, "quarantine"), (SKIPPED, "skipped")):
        content = b"".join(to_line(row) for row in plan.set_aside if row.fate == fate)
        name = f"{kind}-{PLAN}.jsonl"
        write_rows(report / name, content)
        if content:
            files[name] = hashlib.sha256(content).hexdigest()
    return files


def write_part(
    output: Path, part: MachineBooks, expected: Expected, tally: RowTally, marks: Sequence[Finished]
) -> None:
    """Balance one machine's rows and write its books. Raises BooksError."""
    check(tally, expected, marks)
    own = {"machine": asdict(part.machine), "plan_files": part.plan_files}
    books = {"schema": _SCHEMA, **own, **asdict(part.facts), **summary(tally, marks)}
    write_whole(output / REPORT / part.machine.parts()[part.machine.index], seal(books))
    log.info("machine %s of %s: %s", part.machine.index + 1, part.machine.count, _in_words(books))


async def write_whole_report(output: Path, parts: Sequence[MachineBooks], photos: PhotosOf) -> Accounts:
    """As `write_report`, from the rows of all machines, which are in the output folder. Returns their accounts.

    Raises:
        IngestError: a file of rows is damaged; and as `write_report`.
    """
    facts = parts[0].facts
    marks = marks_of(output, facts.units)
    damaged = [name for name in damaged_rows(output, row_files(marks, parts)) if (output / REPORT / name).exists()]
    if damaged:
        raise IngestError(f"{output / REPORT / damaged[0]} is damaged: run the machine that wrote it again")
    accounts = Accounts(output, (PLAN, *facts.units), seed=int(str(facts.settings["seed"])))
    accounts.take_finished()
    await write_report(output, marks, facts, accounts, photos)
    return accounts


async def write_report(
    output: Path, marks: Sequence[Finished], facts: RunFacts, accounts: Accounts, photos: PhotosOf
) -> None:
    """Balance the books of all rows; write books and exploration, and the list of shards into each split.

    Raises:
        BooksError: the books do not balance.
        IngestError: a photo is damaged.
    """
    report, tally, exploration = output / REPORT, accounts.tally, accounts.exploration
    check(tally, facts.plan, marks)
    books = {"schema": _SCHEMA, **asdict(facts), **summary(tally, marks)}
    samples = exploration.samples()
    shown = [row for rows in samples.values() for row in rows]
    found = await photos(shown)
    _check_photos(found, shown)
    write_whole(report / "books.json", to_json(books))
    document = {"schema": _SCHEMA, **to_document(exploration)}
    write_whole(report / "exploration.json", to_json(document))
    write_page(report / "exploration.html", document, books, samples, found)
    split_by = f"seed {facts.settings['seed']} and blocks of {facts.settings['block_size']} ids"
    for split in SPLITS:
        shards = [mark.shard for mark in marks if mark.split == split and mark.shard]
        write_shard_list(output / split, shards, split_by=split_by)
    log.info("%s", _in_words(books))


def check_splits(accounts: Accounts) -> None:
    """Raise EmptySplitError unless every split has a photo, with the reasons why photos were set aside."""
    per_split = accounts.tally.per_split
    if empty := [split for split in SPLITS if per_split[split][KEPT] == 0]:
        cure = ". Take more photos or a smaller --block-size" if accounts.tally.of(KEPT) else ""
        raise EmptySplitError(f"no photo was kept for {' and '.join(empty)}{why(accounts.exploration)}{cure}")


def why(exploration: Exploration) -> str:
    """The most frequent reasons why ids were set aside, each with an example; empty without any."""
    reasons = Counter(exploration.reasons[QUARANTINED]) + Counter(exploration.reasons[SKIPPED])
    if not reasons:
        return ""
    shown: list[str] = []
    for reason, number in reasons.most_common(_REASONS):
        example = exploration.examples.get(reason, [""])[0][:_EXAMPLE]
        shown.append(f"{number:,} {reason}" + (f" ({example})" if example else ""))
    return f"; set aside: {'; '.join(shown)}; all are in the report's quarantine and skipped files"


def _check_photos(found: Mapping[str, bytes], rows: Sequence[Kept]) -> None:
    for row in rows:
        if row.id in found and hashlib.sha256(found[row.id]).hexdigest() != row.sha256:
            raise IngestError(f"photo {row.id} in {row.shard} is damaged; run again: the shard is written anew")


def row_files(marks: Iterable[Finished], parts: Iterable[MachineBooks]) -> dict[str, str]:
    """SHA-256 of every file of rows that these machines have written, by name."""
    files = {name: digest for mark in marks for name, digest in mark.files.items()}
    for part in parts:
        files.update(part.plan_files)
    return files


def read_parts(output: Path, names: Iterable[str]) -> list[MachineBooks] | None:
    """The books with these names; None unless all exist and belong to one run."""
    parts = [MachineBooks.read(output / REPORT / name) for name in names]
    whole = [part for part in parts if part is not None]
    one_run = len(whole) == len(parts) and all(part.facts == whole[0].facts for part in whole)
    return whole if one_run else None


async def merge(output: Path) -> None:
    """Write the whole report from the books of several machines in one output folder.

    Raises:
        IngestError: the books of a machine are missing, or the whole does not balance.
    """
    found = sorted((output / REPORT).glob("books-*-of-*.json"))
    if not found:
        raise IngestError(f"{output / REPORT} holds no books-MM-of-NN.json; give the folder that the machines wrote to")
    first = MachineBooks.read(found[0])
    if first is None:
        raise IngestError(f"{found[0]} is damaged; run the machine that wrote it again")
    parts = read_parts(output, first.machine.parts())
    if parts is None:
        names = ", ".join(path.name for path in found)
        raise IngestError(f"{names} are not the books of one run of {first.machine.count} machines")
    try:
        check_shards(output, first.facts)
        check_splits(await write_whole_report(output, parts, photos_in(output)))
    except ShardError as error:
        raise IngestError(str(error)) from error


def check_shards(output: Path, facts: RunFacts) -> None:
    """Raise IngestError where a shard that a mark names is missing from the output folder, or was cut."""
    for mark in marks_of(output, facts.units):
        if mark.shard is not None:
            path = output / mark.split / mark.shard.name
            size = path.stat().st_size if path.is_file() else None
            if size != mark.shard.size:
                found = "is missing" if size is None else f"has {size} of {mark.shard.size} bytes"
                raise IngestError(f"{path} {found}; run the machine that wrote it again")


def marks_of(output: Path, units: Iterable[str]) -> list[Finished]:
    """The marks of those of these units that have one."""
    marks = (Finished.read(mark_path(output, unit)) for unit in units)
    return [mark for mark in marks if mark is not None]


def photos_in(output: Path) -> PhotosOf:
    """Photos from the shards of an output folder."""

    async def read(rows: Sequence[Kept]) -> Mapping[str, bytes]:
        shards = {row.id: output / row.shard for row in rows}
        return {row.id: read_at(shards[row.id], row.offset, row.size) for row in rows if shards[row.id].is_file()}

    return read


def _in_words(books: Mapping[str, Any]) -> str:
    skipped, quarantined = sum(books["skipped"].values()), sum(books["quarantined"].values())
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(books["quarantined"].items()))
    return (
        f"books balance: {books['listed']:,} listed = {books['kept']:,} kept + {skipped:,} skipped + "
        f"{quarantined:,} quarantined" + (f" ({reasons})" if reasons else "")
    )


async def join(output: Path, part: MachineBooks, destination: Destination | None) -> None:
    """Write the whole report into `output` if the books of all machines exist by now.

    The machines exchange files at the job's destination; without one, in `output`, where a person may have started all
    of them.

    Raises:
        DestinationError: this machine's books cannot be written there, or the rows of the others cannot be read.
        EmptySplitError: no photo was kept for a split; the report is written.
    """
    accounts: Accounts | None = None
    if destination is None:
        parts = read_parts(output, part.machine.parts())
        if parts is not None:
            check_shards(output, part.facts)
            accounts = await write_whole_report(output, parts, photos_in(output))
    else:
        names = [*part.plan_files, part.machine.parts()[part.machine.index]]
        # Its books last: they promise that all its other files exist.
        for name in names:
            await destination.put(output, output / REPORT / name)
        with tempfile.TemporaryDirectory() as folder:
            parts = await _gathered(Path(folder), part, destination)
            if parts is not None:
                accounts = await write_whole_report(Path(folder), parts, destination.photos)
                for name in WHOLE:
                    write_whole(output / name, (Path(folder) / name).read_bytes())
    if accounts is None:
        log.info("other machines are still at work; the last of the %s writes the whole report", part.machine.count)
    else:
        check_splits(accounts)


async def _gathered(folder: Path, part: MachineBooks, destination: Destination) -> list[MachineBooks] | None:
    """The books of all machines, with their rows and marks, downloaded into `folder`; None while one is missing."""
    make_folders(folder)
    if not await _fetched(folder, destination, (f"{REPORT}/{name}" for name in part.machine.parts())):
        return None
    parts = read_parts(folder, part.machine.parts())
    if parts is None or parts[part.machine.index] != part:
        return None
    if not await _fetched(folder, destination, (f"{REPORT}/units/{unit}.json" for unit in part.facts.units)):
        return None
    files = row_files(marks_of(folder, part.facts.units), parts)
    if not await _fetched(folder, destination, (f"{REPORT}/{name}" for name in files)):
        return None
    return None if damaged_rows(folder, files) else parts


async def _fetched(folder: Path, destination: Destination, names: Iterable[str]) -> bool:
    return await destination.fetch(folder, [folder / name for name in names])
