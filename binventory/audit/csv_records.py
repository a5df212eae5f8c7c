"""Records from a table of the inventory system: one row a bin, or one row a SKU of a bin.

Rows of one bin may be anywhere in the file, so they are gathered in a database file, not in memory.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from binventory.audit.sources import Bin, Store, photo_folder, second_bin
from binventory.core.errors import Exit, Problem
from binventory.records import ids
from binventory.records.errors import RecordError, TableError
from binventory.records.ids import read_id
from binventory.records.metadata import MAX_LINES, Line, Record, one_a_sku, read_count, shortened
from binventory.records.tables import Row, Table, open_table

_TABLE: Final = """
DROP TABLE IF EXISTS rows;
CREATE TABLE rows (
    image_id TEXT, row INTEGER, photo TEXT, sku TEXT, name TEXT, quantity INTEGER, reason TEXT, detail TEXT
);
DROP TABLE IF EXISTS photos;
CREATE TABLE photos (image_id TEXT, other INTEGER, name TEXT, PRIMARY KEY (image_id, other, name)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Columns:
    """Which column of the table holds what; None: it has no such column."""

    image_id: str = "image_id"
    count: str = "count"
    photo: str | None = None
    """Path of the photo below the folder or prefix; without it `<image_id>` with the ending of a photo."""
    sku: str | None = None
    name: str | None = None

    @classmethod
    def parse(cls, mapping: str) -> Columns:
        """From `image_id=bin,count=qty,sku=asin`. Raises ValueError naming what is unknown or there twice."""
        known = {field.name for field in fields(cls)}
        chosen: dict[str, str] = {}
        for pair in filter(None, (part.strip() for part in mapping.split(","))):
            key, equals, column = (part.strip() for part in pair.partition("="))
            if not equals or not column or key not in known:
                raise ValueError(f"column mapping {pair!r} is not one of {', '.join(sorted(known))} = a column's name")
            if key in chosen:
                raise ValueError(f"{key} is mapped twice, to {chosen[key]} and {column}")
            chosen[key] = column
        return cls(**chosen)


@dataclass(frozen=True, slots=True)
class _Positions:
    """The columns that are mapped, as indices in a row; None: not mapped."""

    image_id: int
    count: int
    photo: int | None
    sku: int | None
    name: int | None

    @classmethod
    def find(cls, file: Path, table: Table, columns: Columns) -> _Positions:
        """Raises Problem naming the mapped columns that the table lacks, TableError for one that it has twice."""
        mapped = {each.name: getattr(columns, each.name) for each in fields(columns)}
        found = {key: None if column is None else table.position(column) for key, column in mapped.items()}
        missing = [column for key, column in mapped.items() if column is not None and found[key] is None]
        if missing:
            raise Problem(
                f"{file} has no column {', '.join(missing)}",
                f"its columns are {', '.join(table.header) or 'none at all'}"[:500],
                "map them, for example: --columns image_id=bin,count=quantity",
                code=Exit.USAGE,
            )
        return cls(**found)  # type: ignore[arg-type]  # image_id and count are always mapped


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
        """Reads the file into `spill`. Raises Problem when it is no table with the mapped columns."""
        self._columns = columns
        self._database = sqlite3.connect(spill)
        self._database.executescript(_TABLE)
        try:
            with table.open("rb") as stream, self._database:
                opened = open_table(stream)
                at = _Positions.find(table, opened, columns)
                self._database.executemany(
                    "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (_values(row, at, columns) for row in opened.rows()),
                )
                self._database.execute("CREATE INDEX rows_by_bin ON rows (image_id, row)")
        except (OSError, TableError) as error:
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
        self._list_photos(store, folder)
        rows = (_Row(*values) for values in self._database.execute("SELECT * FROM rows ORDER BY image_id, row"))
        for image_id, group in itertools.groupby(rows, key=lambda row: row.image_id):
            gathered = list(itertools.islice(group, MAX_LINES + 1))
            named = next((row.photo for row in gathered if row.photo), "")
            first, *others = [named] if named else self._photos_of(image_id)
            yield Bin(image_id, named or f"{folder}{first}", _reader(gathered, self._columns))
            for name in others:
                yield second_bin(f"{folder}{name}", name, first)

    def _list_photos(self, store: Store, folder: str) -> None:
        """Note the photos that there are, so that those of bins without a path are found whatever they end with."""
        unnamed = self._database.execute("SELECT 1 FROM rows WHERE photo = '' AND reason IS NULL LIMIT 1").fetchone()
        if unnamed is None:
            return
        listed = ((ids.id_of_photo(name), name) for name in store.names(folder.rstrip("/")))
        with self._database:
            self._database.execute("DELETE FROM photos")
            self._database.executemany(
                "INSERT INTO photos VALUES (?, ?, ?)",
                ((image_id, ids.preference(name)[0], name) for image_id, name in listed if image_id is not None),
            )

    def _photos_of(self, image_id: str) -> list[str]:
        found = self._database.execute("SELECT name FROM photos WHERE image_id = ? ORDER BY other, name", (image_id,))
        return [name for (name,) in found] or [f"{image_id}.jpg"]


def _reader(rows: list[_Row], columns: Columns) -> Callable[[], Record]:
    def read() -> Record:
        for row in rows:
            if row.reason is not None:
                raise RecordError(row.reason, f"line {row.row}: {row.detail}")
        if len(rows) > 1 and columns.sku is None:
            numbers = ", ".join(str(row.row) for row in rows[:5])
            raise RecordError(
                "several_rows", f"lines {numbers} name this bin; map sku=COLUMN to add their quantities up"
            )
        if len(rows) > MAX_LINES:
            raise RecordError("several_rows", f"more than {MAX_LINES} rows name this bin")
        named = {row.photo: row.row for row in rows if row.photo}
        if len(named) > 1:
            said = ", ".join(f"{photo[:80]} (line {row})" for photo, row in itertools.islice(named.items(), 5))
            raise RecordError("several_photos", f"the rows of this bin name different photos: {said}")
        lines = one_a_sku(Line(row.sku, row.name, row.quantity) for row in rows if row.sku)
        return Record(rows[0].image_id, sum(row.quantity for row in rows), lines)

    return read


def _values(row: Row, at: _Positions, columns: Columns) -> tuple[Any, ...]:
    """The row as it is stored: with the id, or with the line as its name where the id cannot be used."""
    photo = row.cell(at.photo)
    image_id = f"line {row.line}"
    try:
        image_id = read_id(row.key(at.image_id))
        quantity = read_count(row.key(at.count), columns.count)
    except RecordError as error:
        return (image_id, row.line, photo, "", "", 0, error.reason, str(error))
    sku, name = shortened(row.cell(at.sku)), shortened(row.cell(at.name))
    return (image_id, row.line, photo, sku or name, name, quantity, None, None)
