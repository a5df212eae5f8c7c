"""Records from a CSV export of the inventory system: one row a bin, or one row a SKU of a bin.

Rows of one bin may be anywhere in the file, so they are gathered in a database file, not in memory.
"""

from __future__ import annotations

import csv
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from binventory.audit.records import MAX_LINES, Columns, Line, Record, RecordError, line_from_row
from binventory.audit.sources import Bin, Store, photo_folder
from binventory.core.errors import Exit, Problem

_TABLE: Final = """
DROP TABLE IF EXISTS rows;
CREATE TABLE rows (
    image_id TEXT, row INTEGER, photo TEXT, sku TEXT, name TEXT, quantity INTEGER, reason TEXT, detail TEXT
);
"""


@dataclass(frozen=True, slots=True)
class _Row:
    image_id: str
    row: int
    photo: str
    sku: str
    name: str
    quantity: int
    reason: str | None
    detail: str | None


class CsvRecords:
    """The rows of a CSV file, gathered by bin."""

    def __init__(self, table: Path, columns: Columns, spill: Path) -> None:
        """Reads the file into `spill`. Raises Problem when it is no CSV with the mapped columns."""
        self._columns = columns
        self._database = sqlite3.connect(spill)
        self._database.executescript(_TABLE)
        try:
            with table.open(newline="", encoding="utf-8-sig") as stream, self._database:
                reader = csv.DictReader(stream)
                _require_columns(table, list(reader.fieldnames or []), columns)
                self._database.executemany(
                    "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (_values(row, columns, number) for number, row in enumerate(reader, start=2)),
                )
                self._database.execute("CREATE INDEX rows_by_bin ON rows (image_id, row)")
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            cure = "give a CSV file in UTF-8 with a header"
            raise Problem(f"{table} was not read", str(error), cure, code=Exit.USAGE) from error

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def __len__(self) -> int:
        """Bins, those with unusable rows included."""
        return int(self._database.execute("SELECT COUNT(DISTINCT image_id) FROM rows").fetchone()[0])

    def bins(self, store: Store) -> Iterator[Bin]:
        """The bins, with their photos below `store`."""
        folder = photo_folder(store)
        rows = (_Row(*values) for values in self._database.execute("SELECT * FROM rows ORDER BY image_id, row"))
        for image_id, group in itertools.groupby(rows, key=lambda row: row.image_id):
            gathered = list(itertools.islice(group, MAX_LINES + 1))
            photo = gathered[0].photo or f"{folder}{image_id}.jpg"
            yield Bin(image_id, photo, _reader(gathered, self._columns))


def _reader(rows: list[_Row], columns: Columns) -> Callable[[], Record]:
    def read() -> Record:
        for row in rows:
            if row.reason is not None:
                raise RecordError(row.reason, f"row {row.row}: {row.detail}")
        if len(rows) > 1 and columns.sku is None:
            numbers = ", ".join(str(row.row) for row in rows[:5])
            raise RecordError(
                "several_rows", f"rows {numbers} name this bin; map sku=COLUMN to add their quantities up"
            )
        if len(rows) > MAX_LINES:
            raise RecordError("several_rows", f"more than {MAX_LINES} rows name this bin")
        lines = tuple(Line(row.sku, row.name, row.quantity) for row in rows if row.sku)
        return Record(rows[0].image_id, sum(row.quantity for row in rows), lines)

    return read


def _values(row: dict[str, Any], columns: Columns, number: int) -> tuple[Any, ...]:
    photo = (row.get(columns.photo) or "").strip() if columns.photo else ""
    try:
        image_id, line = line_from_row(row, columns)
    except RecordError as error:
        given = (row.get(columns.image_id) or "").strip()
        image_id = f"row {number}" if error.reason == "bad_id" else given
        return (image_id, number, photo, "", "", 0, error.reason, str(error))
    return (image_id, number, photo, line.sku, line.name, line.quantity, None, None)


def _require_columns(table: Path, header: list[str], columns: Columns) -> None:
    missing = columns.missing_from(header)
    if missing:
        raise Problem(
            f"{table} has no column {', '.join(missing)}",
            f"its columns are {', '.join(header) or 'none at all'}"[:500],
            "map them, for example: --columns image_id=bin,count=quantity",
            code=Exit.USAGE,
        )
