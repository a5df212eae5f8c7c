"""The count of a bin that Ingest uses: what its record and its label say together."""

from __future__ import annotations

from dataclasses import dataclass

from binventory.records.errors import RecordError
from binventory.records.labels import AUDITED, Label
from binventory.records.metadata import Record
from ingestion.run import IngestError, Packed


class LabelsError(IngestError):
    """A labels file that cannot be used at all; the message names the expected format."""


@dataclass(frozen=True, slots=True)
class Labelled(Packed):
    """The count of a bin, its items as far as they are known, and the source of both."""

    count: int
    source: str
    """`metadata`, or the label_source of the labels file."""
    items: tuple[str, ...]
    """SKUs, sorted; empty where only the count is known."""


def settle(label: Label, record: Record | None) -> Labelled:
    """The count to train on and its source. The user's label and the record must agree.

    A label from an audit (source `audit`) overrides the record, because a person counted the photo. Where the counts
    differ, the record's SKUs are dropped, since they no longer add up.

    Raises RecordError: metadata_missing (neither gives a count), label_disagrees.
    """
    items = () if record is None else tuple(sorted(line.sku for line in record.lines))
    if label.count is None:
        if record is None:
            raise RecordError("metadata_missing", "there is no metadata file and no label")
        return Labelled(record.recorded, "metadata", items)
    if record is not None and record.recorded != label.count:
        if label.source == AUDITED:
            return Labelled(label.count, label.source, ())
        raise RecordError("label_disagrees", f"the label says {label.count}, EXPECTED_QUANTITY {record.recorded}")
    return Labelled(label.count, label.source, items)
