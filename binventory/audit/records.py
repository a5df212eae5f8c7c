"""The inventory system's record of a bin, read from untrusted metadata JSON or CSV rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

MAX_METADATA_BYTES: Final = 1024 * 1024
MAX_TEXT: Final = 300
MAX_LINES: Final = 100
MAX_QUANTITY: Final = 1_000_000
# Ingest takes the same ids, so that labels from an audit can be trained on.
_IMAGE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class RecordError(ValueError):
    """The record of a bin cannot be used. `reason` is a stable code, the message says it in words.

    Reasons: bad_id, no_record, metadata_too_large, not_json, no_quantity, bad_quantity, bad_items, sum_differs,
    several_rows.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Line:
    """One SKU in a bin's record."""

    sku: str
    name: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Record:
    """The recorded contents of one bin."""

    image_id: str
    recorded: int
    lines: tuple[Line, ...] = ()
    """At most `MAX_LINES`; empty where only the quantity is known."""


@dataclass(frozen=True)
class Columns:
    """Which CSV column holds what; None: the file has no such column."""

    image_id: str = "image_id"
    count: str = "count"
    photo: str | None = None
    """Path of the photo below the folder or prefix; without it `<image_id>.jpg`."""
    sku: str | None = None
    name: str | None = None

    @classmethod
    def parse(cls, mapping: str) -> Columns:
        """From `image_id=bin,count=qty,sku=asin`. Raises ValueError naming what is unknown."""
        known = {field.name for field in fields(cls)}
        chosen: dict[str, str] = {}
        for pair in filter(None, (part.strip() for part in mapping.split(","))):
            key, equals, column = (part.strip() for part in pair.partition("="))
            if not equals or not column or key not in known:
                raise ValueError(f"column mapping {pair!r} is not one of {', '.join(sorted(known))} = a column's name")
            chosen[key] = column
        return cls(**chosen)

    def missing_from(self, header: list[str]) -> list[str]:
        """The mapped columns that the header lacks."""
        mapped = (getattr(self, field.name) for field in fields(self))
        return [column for column in mapped if column is not None and column not in header]


def checked_image_id(text: str) -> str:
    """The id when it can safely be part of a path and a key. Raises RecordError (bad_id)."""
    if not _IMAGE_ID.fullmatch(text):
        raise RecordError(
            "bad_id", f"image id {text[:80]!r} is not letters, digits, dashes and underscores, 64 at most"
        )
    return text


def record_from_metadata(image_id: str, data: bytes) -> Record:
    """A record from the Amazon Bin Image Dataset's metadata JSON. Raises RecordError."""
    if len(data) > MAX_METADATA_BYTES:
        raise RecordError("metadata_too_large", f"metadata has {len(data)} bytes, more than {MAX_METADATA_BYTES}")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordError("not_json", f"metadata is not JSON: {error}") from error
    if not isinstance(document, dict) or "EXPECTED_QUANTITY" not in document:
        raise RecordError("no_quantity", "metadata has no EXPECTED_QUANTITY")
    recorded = _quantity(document["EXPECTED_QUANTITY"], "EXPECTED_QUANTITY")
    items = document.get("BIN_FCSKU_DATA", {})
    if not isinstance(items, dict):
        raise RecordError("bad_items", "BIN_FCSKU_DATA is not an object of SKUs")
    lines = tuple(_line(sku, item) for sku, item in items.items())
    total = sum(line.quantity for line in lines)
    if lines and total != recorded:
        raise RecordError(
            "sum_differs", f"the record contradicts itself: {recorded} in all, but its SKUs add up to {total}"
        )
    return Record(image_id, recorded, lines[:MAX_LINES])


def line_from_row(row: Mapping[str, str | None], columns: Columns) -> tuple[str, Line]:
    """Image id and what one CSV row says about it; the SKU is "" where the file names none. Raises RecordError."""
    image_id = checked_image_id((row.get(columns.image_id) or "").strip())
    text = (row.get(columns.count) or "").strip()
    if not text:
        raise RecordError("no_quantity", f"column {columns.count} is empty")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise RecordError("bad_quantity", f"column {columns.count} holds {text[:40]!r}, not a whole number")
    sku = shortened(row.get(columns.sku) or "") if columns.sku else ""
    name = shortened(row.get(columns.name) or "") if columns.name else ""
    return image_id, Line(sku or name, name, _quantity(int(text), columns.count))


def shortened(text: str) -> str:
    """Text of bounded length on one line, without control characters."""
    visible = "".join(character if character.isprintable() else " " for character in text[: 4 * MAX_TEXT]).strip()
    return visible if len(visible) <= MAX_TEXT else visible[: MAX_TEXT - 1] + "…"


def _line(sku: str, item: Any) -> Line:
    if not isinstance(item, dict):
        raise RecordError("bad_items", f"SKU {sku[:40]!r} is not an object")
    name = item.get("name")
    return Line(
        shortened(sku), shortened(name) if isinstance(name, str) else "", _quantity(item.get("quantity"), "quantity")
    )


def _quantity(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_QUANTITY:
        raise RecordError("bad_quantity", f"{field} is {str(value)[:40]!r}, not a whole number of items")
    return value
