"""Records from untrusted metadata and CSV: usable, or refused with a reason; no crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binventory.audit.csv_records import CsvRecords
from binventory.audit.records import (
    MAX_LINES,
    MAX_TEXT,
    Columns,
    Record,
    RecordError,
    checked_image_id,
    record_from_metadata,
    shortened,
)
from binventory.audit.sources import Folder, PhotoUnreadableError, bins_with_metadata
from binventory.core.errors import Problem


def metadata(quantity: object, **items: object) -> bytes:
    return json.dumps({"BIN_FCSKU_DATA": items, "EXPECTED_QUANTITY": quantity}).encode()


def reason(data: bytes) -> str:
    with pytest.raises(RecordError) as caught:
        record_from_metadata("1", data)
    return caught.value.reason


def test_reads_the_public_metadata(abid: Path) -> None:
    record = record_from_metadata("00200", (abid / "metadata" / "00200.json").read_bytes())
    assert (record.recorded, record.lines[0].sku, record.lines[0].quantity) == (3, "B018RSDQ20", 3)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not_json"),
        (b"[1, 2]", "no_quantity"),
        (b"{}", "no_quantity"),
        (b"[" * 100_000, "not_json"),
        (b'{"EXPECTED_QUANTITY": 1' + b" " * 2_000_000 + b"}", "metadata_too_large"),
        (metadata("3"), "bad_quantity"),
        (metadata(True), "bad_quantity"),
        (metadata(-1), "bad_quantity"),
        (metadata(2.5), "bad_quantity"),
        (metadata(10**30), "bad_quantity"),
        (metadata(1, A={"quantity": None}), "bad_quantity"),
        (metadata(1, A=7), "bad_items"),
        (metadata(2, A={"quantity": 1}), "sum_differs"),
        (json.dumps({"EXPECTED_QUANTITY": 1, "BIN_FCSKU_DATA": []}).encode(), "bad_items"),
    ],
)
def test_what_cannot_be_used_has_a_reason(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["EXPECTED_QUANTITY", "BIN_FCSKU_DATA", "quantity", "name", "A"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_record_or_a_reason(document: object) -> None:
    try:
        record = record_from_metadata("1", json.dumps(document).encode())
    except RecordError as error:
        assert error.reason
    else:
        assert record.recorded >= 0
        assert all(len(line.sku) <= MAX_TEXT and len(line.name) <= MAX_TEXT for line in record.lines)


@given(st.text(max_size=3000))
def test_shortened_text_is_short_and_printable(text: str) -> None:
    found = shortened(text)
    assert len(found) <= MAX_TEXT and found.isprintable()


@pytest.mark.parametrize("text", ["", "../x", "a/b", "a..b", ".hidden", "a\n", "x" * 200, "a b", "a,b", "=1"])
def test_ids_that_could_be_paths_or_formulas_are_refused(text: str) -> None:
    with pytest.raises(RecordError, match="image id"):
        checked_image_id(text)


def csv_bins(tmp_path: Path, text: str, columns: str = "") -> dict[str, Record | str]:
    """Record, or reason, of each bin of a CSV."""
    (tmp_path / "records.csv").write_text(text, encoding="utf-8")
    records = CsvRecords(tmp_path / "records.csv", Columns.parse(columns), tmp_path / "spill.sqlite")
    found: dict[str, Record | str] = {}
    for each in records.bins(Folder(tmp_path)):
        try:
            found[each.image_id] = each.record()
        except RecordError as error:
            found[each.image_id] = error.reason
    assert len(records) == len(found)
    records.close()
    return found


def test_csv_with_one_row_a_bin(tmp_path: Path) -> None:
    found = csv_bins(tmp_path, "bin,qty\n00001,3\n00002,x\n../etc,1\n00003,\n00004,0\n", "image_id=bin,count=qty")
    assert found == {
        "00001": Record("00001", 3),
        "00002": "bad_quantity",
        "row 4": "bad_id",
        "00003": "no_quantity",
        "00004": Record("00004", 0),
    }


def test_csv_with_one_row_a_sku_adds_up_wherever_the_rows_stand(tmp_path: Path) -> None:
    text = "bin,qty,asin,title\n7,2,A,Cup\n8,1,B,Ball\n7,3,C,Book\n"
    found = csv_bins(tmp_path, text, "image_id=bin,count=qty,sku=asin,name=title")
    seven = found["7"]
    assert isinstance(seven, Record) and seven.recorded == 5
    assert [(line.sku, line.name, line.quantity) for line in seven.lines] == [("A", "Cup", 2), ("C", "Book", 3)]


def test_a_bin_named_twice_without_skus_is_not_guessed(tmp_path: Path) -> None:
    assert csv_bins(tmp_path, "image_id,count\n7,2\n7,3\n") == {"7": "several_rows"}
    many = "image_id,count,sku\n" + "7,1,A\n" * (MAX_LINES + 5)
    assert csv_bins(tmp_path, many, "sku=sku") == {"7": "several_rows"}


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a,b\n1,2\n", "", "has no column image_id, count"),
        ("", "", "has no column"),
        ('image_id,count\n1,"' + "x" * 200_000 + '"\n', "", "was not read"),
    ],
)
def test_a_csv_that_is_none_says_so(tmp_path: Path, text: str, columns: str, message: str) -> None:
    with pytest.raises(Problem) as caught:
        csv_bins(tmp_path, text, columns)
    assert message in caught.value.what


def test_an_absent_or_binary_csv_says_so(tmp_path: Path) -> None:
    (tmp_path / "photo.csv").write_bytes(b"\xff\xd8\xff\xe0" * 10)
    for name in ("absent.csv", "photo.csv"):
        with pytest.raises(Problem) as caught:
            CsvRecords(tmp_path / name, Columns(), tmp_path / "spill.sqlite")
        assert "was not read" in caught.value.what or "has no column" in caught.value.what


@pytest.mark.parametrize("mapping", ["bin", "image_id=", "colour=red", "image_id=a,=b"])
def test_a_wrong_mapping_is_named(mapping: str) -> None:
    with pytest.raises(ValueError, match="column mapping"):
        Columns.parse(mapping)


def test_a_folder_lets_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    inside = tmp_path / "photos"
    (inside / "bin-images").mkdir(parents=True)
    (inside / "bin-images" / "link.jpg").symlink_to(tmp_path / "secret.txt")
    store = Folder(inside)
    for path in ("../secret.txt", "/etc/passwd", "bin-images/link.jpg"):
        with pytest.raises(PhotoUnreadableError) as caught:
            store.read(path, 10)
        assert caught.value.reason == "outside"
    assert store.read("bin-images/absent.jpg", 10) is None
    assert [found.image_id for found in bins_with_metadata(store)] == ["link"]
