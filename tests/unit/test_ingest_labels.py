"""What a record and a label say together about a bin."""

from __future__ import annotations

import pytest

from binventory.records.errors import RecordError
from binventory.records.labels import Label
from binventory.records.metadata import Line, Record
from ingestion.labels import Labelled, settle


def record(count: int, *skus: str) -> Record:
    return Record("1", count, tuple(Line(sku, "", 1) for sku in skus))


def test_label_and_record_must_agree() -> None:
    assert settle(Label(None, "list"), record(3, "B", "A")) == Labelled(3, "metadata", ("A", "B"))
    assert settle(Label(3, "audit"), None).count == 3
    assert settle(Label(3, "audit"), record(3, "A")).items == ("A",)
    assert settle(Label(4, "audit"), record(3, "A")) == Labelled(4, "audit", ()), "a person looked"
    for label, known, reason in (
        (Label(4, "list"), record(3), "label_disagrees"),
        (Label(None, "list"), None, "metadata_missing"),
    ):
        with pytest.raises(RecordError) as caught:
            settle(label, known)
        assert caught.value.reason == reason
