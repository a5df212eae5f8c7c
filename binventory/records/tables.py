"""Tables as people send them: CSV with commas, semicolons or tabs, in UTF-8 or UTF-16, with any line ends.

Spaces around cells do not count; in the names of columns, neither does the case. What cannot be read as a table is
refused as a whole.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from binventory.records.errors import RecordError, TableError

_DELIMITERS: Final = (",", ";", "\t")
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    line: int
    """Of the file, where the row ends; the first is 1."""
    cells: Sequence[str]
    columns: int
    """Of the header."""

    def cell(self, position: int | None) -> str:
        """The text of a cell without spaces around it; empty where the row is too short, or there is no column."""
        return self.cells[position].strip() if position is not None and position < len(self.cells) else ""

    def key(self, position: int) -> str:
        """As `cell`, for an id or a count.

        Raises:
            TableError: the cell has a line break: its quote is not closed, so it holds other rows.
            RecordError: (row_malformed) the row has more cells than the header has columns.
        """
        text = self.cell(position)
        if "\n" in text:
            raise TableError(f"line {self.line}: a quote is opened and not closed in its row; it begins {text[:40]!r}")
        if any(cell.strip() for cell in self.cells[self.columns :]):
            raise RecordError("row_malformed", f"the row has {len(self.cells)} cells, the header {self.columns}")
        return text


@dataclass(frozen=True)
class Table:
    """A table whose header is read; its rows are read once, one by one."""

    header: tuple[str, ...]
    """The names of the columns as written, without spaces around them."""
    _lines: Iterator[list[str]] = field(repr=False)

    @property
    def quoted(self) -> str:
        """The header, for messages."""
        return repr(", ".join(self.header))[:_SHOWN] if any(self.header) else "empty"

    def position(self, column: str) -> int | None:
        """The index of a column; None without one. Raises TableError where two columns have this name."""
        wanted = comparable(column)
        found = [at for at, name in enumerate(self.header) if comparable(name) == wanted]
        if len(found) > 1:
            raise TableError(f"two columns are called {column}; the header is {self.quoted}")
        return found[0] if found else None

    def rows(self) -> Iterator[Row]:
        """The rows that are not empty. Raises TableError where the file is no table."""
        line = 1
        try:
            for cells in self._lines:
                line = self._lines.line_num  # type: ignore[attr-defined]  # csv.reader has it, its type does not
                if any(cell.strip() for cell in cells):
                    yield Row(line, cells, len(self.header))
        except UnicodeError as error:
            raise _no_text(error) from error
        except csv.Error as error:
            raise TableError(f"line {line + 1}: {error}") from error


def comparable(column: str) -> str:
    """A column's name as it is compared: `Image ID` is `image_id`."""
    return re.sub(r"[\s_-]+", "_", column.strip().casefold())


def open_table(stream: BinaryIO) -> Table:
    """The table in a stream that can seek. Raises TableError where it has no text or no header."""
    head = stream.read(4)
    stream.seek(0)
    utf_16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = io.TextIOWrapper(stream, "utf-16" if utf_16 else "utf-8-sig", newline=None)
    try:
        first = text.readline()
        delimiter = max(_DELIMITERS, key=lambda mark: len(_cells(first, mark)))
        header = tuple(name.strip() for name in _cells(first, delimiter))
        lines = csv.reader(itertools.chain([first], text), delimiter=delimiter, strict=True)
        next(lines, None)
    except UnicodeError as error:
        raise _no_text(error) from error
    except csv.Error as error:
        raise TableError(f"its first line is no header: {error}") from error
    # Spreadsheets end lines with as many delimiters as their widest row needs.
    while header and not header[-1]:
        header = header[:-1]
    return Table(header, lines)


def _no_text(error: UnicodeError) -> TableError:
    return TableError(f"it is neither UTF-8 nor UTF-16 text: {error}")


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])
