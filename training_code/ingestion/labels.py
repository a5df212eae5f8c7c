"""The count of a bin: from metadata files of the data set, and from labels files that people bring."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from ingestion.run import IngestError, Packed
from ingestion.split import is_bin_id

AUDITED: Final = "audit"
_MAX_SKU: Final = 64
_REFUSED: Final = {
    "unsafe_id": "an id has letters, digits, - and _ only, 64 at most",
    "label_invalid": "its count is no whole number",
    "label_conflict": "it is listed more than once, with different counts",
}


class RecordError(ValueError):
    """A label that cannot be trusted. `reason` is a stable code; the message explains it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class LabelsError(IngestError):
    """A labels file that cannot be read at all; the message names the expected format."""


@dataclass(frozen=True, slots=True)
class BinRecord:
    """One metadata file: the recorded quantity and its items."""

    count: int
    items: tuple[str, ...]
    """SKUs, sorted."""


@dataclass(frozen=True, slots=True)
class Label(Packed):
    """One row of a labels file; `count` is None in a plain list of ids."""

    count: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Labelled(Packed):
    """The count of a bin, its items as far as they are known, and the source of both."""

    count: int
    source: str
    """`metadata`, or the label_source of the labels file."""
    items: tuple[str, ...]
    """SKUs, sorted; empty where only the count is known."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A labels file: one label an id, and the ids that cannot be used, as (id, reason, detail)."""

    by_id: Mapping[str, Label]
    refused: tuple[tuple[str, str, str], ...]


def parse_record(data: bytes) -> BinRecord:
    """Read one metadata file and compare EXPECTED_QUANTITY with the sum of the items' quantities.

    Raises RecordError: metadata_malformed (no JSON object), metadata_invalid (a field is missing or of the wrong type),
    quantity_mismatch (the two disagree).
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordError("metadata_malformed", f"the metadata is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise RecordError("metadata_malformed", "the metadata is no JSON object")
    expected = _quantity(document.get("EXPECTED_QUANTITY"), "EXPECTED_QUANTITY")
    contents = document.get("BIN_FCSKU_DATA")
    if not isinstance(contents, dict):
        raise RecordError("metadata_invalid", "BIN_FCSKU_DATA must be an object of SKUs")
    total = sum(_item_quantity(sku, item) for sku, item in contents.items())
    if total != expected:
        raise RecordError("quantity_mismatch", f"EXPECTED_QUANTITY is {expected}, its items add up to {total}")
    return BinRecord(expected, tuple(sorted(sku[:_MAX_SKU] for sku in contents)))


def _item_quantity(sku: str, item: Any) -> int:
    if not isinstance(item, dict):
        raise RecordError("metadata_invalid", f"item {sku[:_MAX_SKU]!r} must be an object")
    return _quantity(item.get("quantity"), f"quantity of item {sku[:_MAX_SKU]!r}")


def _quantity(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise RecordError("metadata_invalid", f"{name} must be a whole number of at least 0, not {str(value)[:40]!r}")
    return value


def parse_labels(data: bytes, name: str) -> Labels:
    """Read a labels file: CSV `image_id[,count[,label_source]]`, or the published list, `{"3": ["…/01234.jpg"]}`.

    Ids are taken as written, never padded. Rows that repeat an id with another count are refused, all of them.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelsError(f"{name} is not UTF-8 text") from error
    rows = _json_rows(text, name) if name.endswith(".json") else _csv_rows(text, name)
    return _collect(rows)


def _csv_rows(text: str, name: str) -> Iterator[tuple[str, str | None, str]]:
    reader = csv.DictReader(io.StringIO(text))
    if "image_id" not in (reader.fieldnames or ()):
        raise LabelsError(
            f"{name} needs a header line with image_id (and count, label_source); it has {reader.fieldnames}"
        )
    counted = "count" in (reader.fieldnames or ())
    for row in reader:
        count = (row.get("count") or "").strip() if counted else None
        yield (row["image_id"] or "").strip(), count, (row.get("label_source") or "").strip() or "list"


def _json_rows(text: str, name: str) -> Iterator[tuple[str, str | None, str]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise LabelsError(f"{name} is no JSON: {error}") from error
    if not isinstance(document, dict) or not all(isinstance(paths, list) for paths in document.values()):
        raise LabelsError(f'{name} must look like {{"3": ["data/metadata/01234.json", …]}}')
    for count, paths in document.items():
        for path in paths:
            yield PurePosixPath(str(path)).stem, str(count), "list"


def _collect(rows: Iterable[tuple[str, str | None, str]]) -> Labels:
    by_id: dict[str, Label] = {}
    refused: dict[str, str] = {}
    for bin_id, text, source in rows:
        if not is_bin_id(bin_id):
            refused[bin_id] = "unsafe_id"
        elif text is not None and not (text.isascii() and text.isdigit() and len(text) <= 6):
            refused[bin_id] = "label_invalid"
        else:
            label = Label(None if text is None else int(text), source)
            if by_id.setdefault(bin_id, label).count != label.count:
                refused[bin_id] = "label_conflict"
    return Labels(
        {bin_id: label for bin_id, label in by_id.items() if bin_id not in refused},
        tuple((bin_id, reason, _REFUSED[reason]) for bin_id, reason in sorted(refused.items())),
    )


def settle(label: Label, record: BinRecord | None) -> Labelled:
    """The count to train on and its source. The user's label and the record must agree.

    A label from an audit (source `audit`) overrides the record, because a person counted the photo. Where the counts
    differ, the record's SKUs are dropped, since they no longer add up.

    Raises RecordError: metadata_missing (neither gives a count), label_disagrees.
    """
    if label.count is None:
        if record is None:
            raise RecordError("metadata_missing", "there is no metadata file and no label")
        return Labelled(record.count, "metadata", record.items)
    if record is None:
        return Labelled(label.count, label.source, ())
    if record.count != label.count:
        if label.source == AUDITED:
            return Labelled(label.count, label.source, ())
        raise RecordError("label_disagrees", f"the label says {label.count}, EXPECTED_QUANTITY {record.count}")
    return Labelled(label.count, label.source, record.items)
