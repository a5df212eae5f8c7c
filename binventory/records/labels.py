"""Labels files: the counts that a person brings for photos, or a list of the photos to take.

    image_id,count,label_source          a count for each id; label_source may be left out
    image_id                             a list of ids, whose counts are in their metadata
    {"3": ["data/metadata/01234.json"]}  the published list of the Amazon Bin Image Dataset

A header that is neither is refused. A file that was meant to give counts must never pass as a list of ids.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from binventory.records.errors import RecordError, TableError
from binventory.records.ids import read_id
from binventory.records.metadata import read_count, shortened
from binventory.records.tables import Row, Table, comparable, open_table

AUDITED: Final = "audit"
"""The label_source of labels that the audit page writes: a person looked at the photo."""
_LISTED: Final = "list"
_WANTED: Final = "a labels file has the columns image_id and count (and label_source), a list of ids only image_id"


@dataclass(frozen=True, slots=True)
class Label:
    """One row of a labels file."""

    count: int | None
    """None in a list of ids."""
    source: str

    def __reduce__(self) -> tuple[type[Label], tuple[int | None, str]]:
        # Half the time of the default; there are half a million labels.
        return Label, (self.count, self.source)


@dataclass(frozen=True, slots=True)
class Labels:
    """A labels file: one label an id, and the rows that cannot be used."""

    by_id: Mapping[str, Label]
    refused: tuple[tuple[str, str, str], ...]
    """Id, reason and detail, sorted. A row without an id is called by its line."""
    ignored: tuple[str, ...] = ()
    """Columns that were not read."""


def read_labels(data: bytes, name: str) -> Labels:
    """Read a labels file; a name that ends in `.json` is the published list.

    Ids are taken as written, never padded. Rows that give an id different counts are refused, all of them.

    Raises TableError: the file is no labels file; the message quotes its header and names the wanted one.
    """
    if name.lower().endswith(".json"):
        return _collected(_json_rows(data))
    table = open_table(io.BytesIO(data))
    image_id, count, source = (table.position(column) for column in ("image_id", "count", "label_source"))
    known = {at for at in (image_id, count, source) if at is not None}
    others = [column for at, column in enumerate(table.header) if at not in known]
    unnamed = {"", "unnamed:_0"}  # the index that pandas writes
    if image_id is None or (count is None and (source is not None or {comparable(c) for c in others} - unnamed)):
        raise TableError(f"its header is {table.quoted}; {_WANTED}")
    labels = _collected(_table_rows(table, image_id, count, source))
    return Labels(labels.by_id, labels.refused, tuple(column for column in others if column))


@dataclass(frozen=True, slots=True)
class _Written:
    """One label before it is checked."""

    place: str
    image_id: str
    count: str | None
    source: str
    malformed: RecordError | None = None


def _table_rows(table: Table, image_id: int, count: int | None, source: int | None) -> Iterator[_Written]:
    for row in table.rows():
        text = shortened(row.cell(source))
        text = AUDITED if text.casefold() == AUDITED else text or _LISTED
        malformed = _malformed(row, image_id) or (None if count is None else _malformed(row, count))
        yield _Written(
            f"line {row.line}", row.cell(image_id), None if count is None else row.cell(count), text, malformed
        )


def _malformed(row: Row, position: int) -> RecordError | None:
    try:
        row.key(position)
    except RecordError as error:
        return error
    return None


def _json_rows(data: bytes) -> Iterator[_Written]:
    try:
        # As pairs, so that no list is lost where a count is there twice.
        document = json.loads(data, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise TableError(f"it is no JSON: {error}") from error
    if not isinstance(document, _Pairs) or not all(isinstance(paths, list) for _, paths in document.pairs):
        raise TableError('it must look like {"3": ["data/metadata/01234.json", ...]}')
    for count, paths in document.pairs:
        for number, path in enumerate(paths):
            place = f"entry {number} of {shortened(count)[:20]!r}"
            yield _Written(place, PurePosixPath(str(path)).name, count, _LISTED)


@dataclass(frozen=True)
class _Pairs:
    pairs: list[tuple[str, Any]] = field(default_factory=list)


def _collected(rows: Iterable[_Written]) -> Labels:
    by_id: dict[str, Label] = {}
    # Half a million labels are of a few kinds.
    kinds: dict[tuple[int | None, str], Label] = {}
    place_of: dict[str, str] = {}
    refused: dict[str, tuple[str, str]] = {}
    for row in rows:
        called = shortened(row.image_id) or row.place
        try:
            bin_id = read_id(row.image_id)
            called = bin_id
            if row.malformed is not None:
                raise row.malformed
            count = None if row.count is None else read_count(row.count, "count")
            label = kinds.setdefault((count, row.source), Label(count, row.source))
        except RecordError as error:
            refused.setdefault(called, (error.reason, f"{row.place}: {error}"))
            continue
        first = by_id.setdefault(bin_id, label)
        place_of.setdefault(bin_id, row.place)
        if first.count != label.count:
            detail = f"{place_of[bin_id]} says {first.count}, {row.place} says {label.count}"
            refused.setdefault(bin_id, ("label_conflict", detail))
        elif label.source == AUDITED:
            # A person looked, wherever the row stands: an audit is often added to the labels that it confirms.
            by_id[bin_id] = label
    if not by_id and not refused:
        raise TableError(f"it has no row; {_WANTED}")
    return Labels(
        {bin_id: label for bin_id, label in by_id.items() if bin_id not in refused},
        tuple((called, *why) for called, why in sorted(refused.items())),
    )
