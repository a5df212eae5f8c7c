"""The record of one bin: the metadata file beside its photo, in the format of the Amazon Bin Image Dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from binventory.records.errors import RecordError

MAX_METADATA_BYTES: Final = 1024 * 1024
"""Real files have a few thousand."""
MAX_TEXT: Final = 300
MAX_LINES: Final = 1000
"""SKUs of one bin. A record that names more is refused by name, so that no page or event holds a part of it unsaid."""
MAX_QUANTITY: Final = 1_000_000
# One or two zeros after the point, as pandas and spreadsheets write them. Three may separate thousands.
_COUNT: Final = re.compile(r"([0-9]{1,9})(?:[.,]0{1,2})?")


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


def read_metadata(image_id: str, data: bytes) -> Record:
    """The record in one metadata file.

    `EXPECTED_QUANTITY` is enough. Where `BIN_FCSKU_DATA` names SKUs, their quantities must add up to it.

    Raises RecordError: metadata_too_large (bytes, or SKUs); metadata_malformed (no JSON object); metadata_invalid (a
    field is missing or of the wrong type); quantity_mismatch (the quantities do not add up).
    """
    if len(data) > MAX_METADATA_BYTES:
        raise too_large(len(data))
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordError("metadata_malformed", f"the metadata is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise RecordError("metadata_malformed", "the metadata is no JSON object")
    if "EXPECTED_QUANTITY" not in document:
        raise RecordError("metadata_invalid", "the metadata has no EXPECTED_QUANTITY")
    recorded = _quantity(document["EXPECTED_QUANTITY"], "EXPECTED_QUANTITY")
    contents = document.get("BIN_FCSKU_DATA", {})
    if not isinstance(contents, dict):
        raise RecordError("metadata_invalid", "BIN_FCSKU_DATA must be an object of SKUs")
    if len(contents) > MAX_LINES:
        said = f"the metadata names {len(contents)} SKUs, at most {MAX_LINES} are read"
        raise RecordError("metadata_too_large", said)
    # Two SKUs may be equal once their texts are cut.
    lines = one_a_sku(_line(sku, item) for sku, item in contents.items())
    total = sum(line.quantity for line in lines)
    if lines and total != recorded:
        raise RecordError("quantity_mismatch", f"EXPECTED_QUANTITY is {recorded}, its items add up to {total}")
    return Record(image_id, recorded, lines)


def one_a_sku(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines in which each SKU stands once: its quantities are added, and its first name that is not empty is kept."""
    found: dict[str, Line] = {}
    for line in lines:
        before = found.get(line.sku, Line(line.sku, "", 0))
        found[line.sku] = Line(line.sku, before.name or line.name, before.quantity + line.quantity)
    return tuple(found.values())


def too_large(size: int) -> RecordError:
    """Why a metadata file of this many bytes is not read."""
    return RecordError("metadata_too_large", f"the metadata has {size} bytes, at most {MAX_METADATA_BYTES} are read")


def read_count(text: str, column: str) -> int:
    """The count in a cell of a table, also where it was saved as `3.0`. Raises RecordError (count_invalid)."""
    written = text.strip()
    if not written:
        raise RecordError("count_invalid", f"column {column} is empty")
    found = _COUNT.fullmatch(written) if written.isascii() else None
    if found is None or int(found.group(1)) > MAX_QUANTITY:
        raise RecordError("count_invalid", f"column {column} holds {written[:40]!r}, which is no whole number of items")
    return int(found.group(1))


def shortened(text: str) -> str:
    """Text of at most `MAX_TEXT` characters on one line; control characters and lone surrogates become spaces."""
    visible = text[: 4 * MAX_TEXT]
    # Nearly every text: three records are read in the time that two take without it.
    if not visible.isprintable():
        visible = "".join(character if character.isprintable() else " " for character in visible)
    visible = visible.strip()
    return visible if len(visible) <= MAX_TEXT else visible[: MAX_TEXT - 1] + "…"


def _line(sku: str, item: Any) -> Line:
    shown = shortened(sku)
    if not isinstance(item, dict):
        raise RecordError("metadata_invalid", f"item {shown[:40]!r} must be an object")
    name = item.get("name")
    quantity = _quantity(item.get("quantity"), f"the quantity of item {shown[:40]!r}")
    return Line(shown, shortened(name) if isinstance(name, str) else "", quantity)


def _quantity(value: Any, field: str) -> int:
    """A whole number of items; `3.0` is one in JSON."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = is_number and (isinstance(value, int) or value.is_integer())
    if not whole or not 0 <= value <= MAX_QUANTITY:
        shown = "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)[:40]
        raise RecordError("metadata_invalid", f"{field} must be a whole number of items, not {shown}")
    return int(value)
