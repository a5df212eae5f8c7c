"""Labels: the record is compared with itself and with the labels file; nothing is guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingestion.labels import BinRecord, Label, Labelled, LabelsError, RecordError, parse_labels, parse_record, settle

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def record(quantities: dict[str, Any], expected: Any) -> bytes:
    return json.dumps(
        {"BIN_FCSKU_DATA": {sku: {"quantity": q} for sku, q in quantities.items()}, "EXPECTED_QUANTITY": expected}
    ).encode()


@given(st.dictionaries(st.text(min_size=1, max_size=10), st.integers(0, 50), max_size=6), st.integers(-5, 5))
def test_a_record_is_read_exactly_when_its_items_add_up(quantities: dict[str, int], off: int) -> None:
    total = sum(quantities.values())
    if off == 0:
        assert parse_record(record(quantities, total)) == BinRecord(total, tuple(sorted(quantities)))
    else:
        with pytest.raises(RecordError) as caught:
            parse_record(record(quantities, total + off))
        assert caught.value.reason in ("quantity_mismatch", "metadata_invalid")


@given(JSON, JSON)
@example(True, {})
@example(10**400, {})
def test_any_other_json_is_a_record_error(expected: Any, contents: Any) -> None:
    data = json.dumps({"EXPECTED_QUANTITY": expected, "BIN_FCSKU_DATA": contents}).encode()
    if expected == 0 and contents == {} and not isinstance(expected, bool | float):
        return
    with pytest.raises(RecordError):
        parse_record(data)


@given(st.binary(max_size=60))
@example(b"[" * 100_000)
@example(b"\xff{}")
@example(b"null")
def test_bytes_that_are_no_record_are_malformed(data: bytes) -> None:
    with pytest.raises(RecordError):
        parse_record(data)


def test_labels_are_read_as_written() -> None:
    labels = parse_labels(
        b"\xef\xbb\xbfimage_id,count,label_source\n00200,3,metadata\n1234,2,\n01234,4,audit\n00200,3,metadata\n",
        "x.csv",
    )
    assert labels.by_id == {"00200": Label(3, "metadata"), "1234": Label(2, "list"), "01234": Label(4, "audit")}
    assert labels.refused == ()


def test_a_list_of_ids_has_no_counts() -> None:
    assert parse_labels(b"image_id\n7\n00008\n", "x.csv").by_id == {
        "7": Label(None, "list"),
        "00008": Label(None, "list"),
    }


def test_the_published_list_is_read_by_its_paths() -> None:
    labels = parse_labels(b'{"1": ["data/metadata/100313.json"], "3": ["data/metadata/1234.json"]}', "file_list.json")
    assert labels.by_id == {"100313": Label(1, "list"), "1234": Label(3, "list")}


def test_rows_that_cannot_be_used_are_refused_once_with_their_reason() -> None:
    text = "image_id,count\n../../etc/passwd,3\n../../etc/passwd,3\n1,x\n2,-1\n3,2\n3,4\n4,\n5,1\n"
    labels = parse_labels(text.encode(), "x.csv")
    assert {bin_id: reason for bin_id, reason, _ in labels.refused} == {
        "../../etc/passwd": "unsafe_id",
        "1": "label_invalid",
        "2": "label_invalid",
        "3": "label_conflict",
        "4": "label_invalid",
    }
    assert len(labels.refused) == 5 and set(labels.by_id) == {"5"}


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"id,n\n1,2\n", "labels.csv", "image_id"),
        (b"", "labels.csv", "image_id"),
        (b"\xff\xfe\x00", "labels.csv", "UTF-8"),
        (b"{", "list.json", "no JSON"),
        (b"[1]", "list.json", "must look like"),
    ],
)
def test_a_file_that_is_no_labels_file_says_what_is_expected(data: bytes, name: str, message: str) -> None:
    with pytest.raises(LabelsError, match=message):
        parse_labels(data, name)


def test_label_and_record_must_agree() -> None:
    assert settle(Label(None, "list"), BinRecord(3, ("A",))).source == "metadata"
    assert settle(Label(3, "audit"), None).count == 3
    assert settle(Label(3, "audit"), BinRecord(3, ("A",))).items == ("A",)
    assert settle(Label(4, "audit"), BinRecord(3, ("A",))) == Labelled(4, "audit", ()), "a person looked"
    for label, known, reason in (
        (Label(4, "list"), BinRecord(3, ()), "label_disagrees"),
        (Label(None, "list"), None, "metadata_missing"),
    ):
        with pytest.raises(RecordError) as caught:
            settle(label, known)
        assert caught.value.reason == reason
