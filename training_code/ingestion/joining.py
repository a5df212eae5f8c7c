"""One report of several machines without a coordinator: whoever finds the parts of all machines writes the whole.

A machine first puts its own part where the others can see it and then looks for theirs. So the last one to do that
finds them all, and where several do, they write the same bytes.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ingestion.destination import Destination
from ingestion.report import WHOLE, Part, check_shards, marks_of, photos_in, read_parts, row_files, write_whole_report
from ingestion.unit_files import REPORT, damaged_rows, make_folders, write_whole

log = logging.getLogger(__name__)


async def join(output: Path, part: Part, destination: Destination | None) -> None:
    """Write the whole report into `output` if every machine's part is there by now.

    The machines meet at the job's destination; without one, in `output`, where a person may have started them all.
    Raises DestinationError when this machine's part cannot be put there or the others' rows cannot be read.
    """
    if destination is None:
        parts = read_parts(output, part.machine.parts())
        if parts is not None:
            check_shards(output, part.facts)
            await write_whole_report(output, parts, photos_in(output))
    else:
        names = [*part.plan_files, part.machine.parts()[part.machine.index]]
        # Its own books last: they promise that everything else is there.
        for name in names:
            await destination.put(output, output / REPORT / name)
        with tempfile.TemporaryDirectory() as folder:
            parts = await _gathered(Path(folder), part, destination)
            if parts is not None:
                await write_whole_report(Path(folder), parts, destination.photos)
                for name in WHOLE:
                    write_whole(output / name, (Path(folder) / name).read_bytes())
    if parts is None:
        log.info("other machines are still at work; the last of the %s writes the whole report", part.machine.count)


async def _gathered(folder: Path, part: Part, destination: Destination) -> list[Part] | None:
    """All machines' parts, with their rows and marks fetched into `folder`; None while something is missing."""
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
