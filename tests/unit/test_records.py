"""Records and labels that other people wrote: read as they were meant, or refused with a reason; nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from binventory.records.errors import RecordError, TableError
from binventory.records.ids import checked_id, id_of_photo, is_bin_id, read_id
from binventory.records.labels import Label, Labels, read_labels
from binventory.records.metadata import (
    MAX_LINES,
    MAX_QUANTITY,
    MAX_TEXT,
    Line,
    Record,
    read_count,
    read_metadata,
    shortened,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["EXPECTED_QUANTITY", "BIN_FCSKU_DATA", "quantity", "name", "A"]), inner)
    ),
    max_leaves=12,
)
NAMED = {"metadata_too_large", "metadata_malformed", "metadata_invalid", "quantity_mismatch"}


def metadata(quantity: object, **items: object) -> bytes:
    return json.dumps({"BIN_FCSKU_DATA": items, "EXPECTED_QUANTITY": quantity}).encode()


def reason(data: bytes) -> str:
    with pytest.raises(RecordError) as caught:
        read_metadata("1", data)
    return caught.value.reason


def test_reads_the_public_metadata(abid: Path) -> None:
    record = read_metadata("00200", (abid / "metadata" / "00200.json").read_bytes())
    assert (record.recorded, record.lines[0].sku, record.lines[0].quantity) == (3, "B018RSDQ20", 3)


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 50), min_size=1, max_size=6), st.integers(-5, 5))
def test_a_record_is_read_exactly_when_its_items_add_up(quantities: dict[str, int], off: int) -> None:
    total = sum(quantities.values()) + off
    data = json.dumps(
        {"BIN_FCSKU_DATA": {sku: {"quantity": q} for sku, q in quantities.items()}, "EXPECTED_QUANTITY": total}
    ).encode()
    if off == 0:
        assert read_metadata("1", data) == Record("1", total, tuple(Line(s, "", q) for s, q in quantities.items()))
    else:
        assert reason(data) in ("quantity_mismatch", "metadata_invalid")


@pytest.mark.parametrize(
    "data", [b'{"EXPECTED_QUANTITY": 3}', b'{"EXPECTED_QUANTITY": 3.0}', metadata(3), b"\xef\xbb\xbf" + metadata(3)]
)
def test_the_quantity_alone_is_enough(data: bytes) -> None:
    assert read_metadata("1", data) == Record("1", 3)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "metadata_malformed"),
        (b"[1, 2]", "metadata_malformed"),
        (b"[" * 100_000, "metadata_malformed"),
        (b"\xff{}", "metadata_malformed"),
        (b"{}", "metadata_invalid"),
        (b'{"EXPECTED_QUANTITY": 1' + b" " * 2_000_000 + b"}", "metadata_too_large"),
        (b'{"EXPECTED_QUANTITY": 1e400}', "metadata_invalid"),
        (b'{"EXPECTED_QUANTITY": NaN}', "metadata_invalid"),
        (b'{"EXPECTED_QUANTITY": ' + b"[" * 900 + b"]" * 900 + b"}", "metadata_invalid"),
        (metadata("3"), "metadata_invalid"),
        (metadata(True), "metadata_invalid"),
        (metadata(-1), "metadata_invalid"),
        (metadata(2.5), "metadata_invalid"),
        (metadata(MAX_QUANTITY + 1), "metadata_invalid"),
        (metadata(1, A={"quantity": None}), "metadata_invalid"),
        (metadata(1, A=7), "metadata_invalid"),
        (metadata(0, **{f"B{number}": {"quantity": 0} for number in range(MAX_LINES + 1)}), "metadata_too_large"),
        (metadata(2, A={"quantity": 1}), "quantity_mismatch"),
        (metadata(1, A={"quantity": 10**4299}, B={"quantity": 10**4299}), "metadata_invalid"),
        (b'{"EXPECTED_QUANTITY": 1, "BIN_FCSKU_DATA": []}', "metadata_invalid"),
    ],
)
def test_what_cannot_be_used_has_a_reason(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@given(JSON)
def test_any_json_is_a_record_that_every_page_can_show_or_a_reason(document: object) -> None:
    try:
        record = read_metadata("1", json.dumps(document).encode())
    except RecordError as error:
        assert error.reason in NAMED
        str(error).encode()
    else:
        assert 0 <= record.recorded <= MAX_QUANTITY and len(record.lines) <= MAX_LINES
        assert all(text.isprintable() for line in record.lines for text in (line.sku, line.name))


@given(st.binary(max_size=60))
def test_bytes_that_are_no_record_are_named(data: bytes) -> None:
    try:
        read_metadata("1", data)
    except RecordError as error:
        assert error.reason in NAMED


def test_skus_that_cannot_be_written_are_cleaned_and_no_quantity_is_lost() -> None:
    lone, long = "\ud800B1", "x" * 400
    record = read_metadata(
        "1", metadata(6, **{lone: {"quantity": 1}, long + "a": {"quantity": 2}, long: {"quantity": 3}})
    )
    assert [(line.sku, line.quantity) for line in record.lines] == [("B1", 1), ("x" * (MAX_TEXT - 1) + "…", 5)]


@given(st.text(max_size=3000))
def test_shortened_text_is_short_and_printable(text: str) -> None:
    found = shortened(text)
    assert len(found) <= MAX_TEXT and found.isprintable()


@pytest.mark.parametrize("text", ["", "../x", "a/b", "a..b", ".hidden", "a\n", "x" * 200, "a b", "a,b", "=1"])
def test_ids_that_could_be_paths_or_formulas_are_refused(text: str) -> None:
    assert not is_bin_id(text)
    with pytest.raises(RecordError, match="is no id"):
        checked_id(text)


@pytest.mark.parametrize(
    "text", ["00101", " 00101 ", "00101.jpg", "00101.JPG", "00101.jpeg", "00101.png", "00101.json"]
)
def test_an_id_is_read_as_people_write_it(text: str) -> None:
    assert read_id(text) == "00101"


@pytest.mark.parametrize(("text", "said"), [("101.0", "saved as a number"), ("", "empty"), ("../1.jpg", "is no id")])
def test_an_id_that_is_none_says_why(text: str, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        read_id(text)


@pytest.mark.parametrize("name", ["1.gif", "1", "a.b.jpg", "deep/1.jpg", "bin-images", ".jpg"])
def test_a_name_that_is_no_photo_of_a_bin_has_no_id(name: str) -> None:
    assert id_of_photo(name) is None


@given(st.integers(0, MAX_QUANTITY), st.sampled_from(["{}", "{}.0", "{}.00", " {} ", "{},0", "0{}", "{}."]))
def test_a_count_is_read_as_tables_write_it(count: int, form: str) -> None:
    if form == "{}.":
        assert refused_count(form.format(count))
    else:
        assert read_count(form.format(count), "count") == count


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "3.5", "1,000", "1.000", "3e0", "nan", "٣", "+3", "9" * 5000, "1000001"]
)
def test_a_count_that_could_be_another_number_is_refused(text: str) -> None:
    assert refused_count(text)


def refused_count(text: str) -> bool:
    with pytest.raises(RecordError) as caught:
        read_count(text, "count")
    return caught.value.reason == "count_invalid"


WANTED = {"00100": Label(3, "list"), "00200": Label(5, "list")}
ROWS = [("00100", "3"), ("00200", "5")]


def written(header: str, delimiter: str = ",", end: str = "\n", rows: list[tuple[str, str]] = ROWS) -> str:
    return end.join([header.replace(",", delimiter), *(delimiter.join(row) for row in rows), ""])


@pytest.mark.parametrize(
    "data",
    [
        written("image_id,count").encode(),
        written("image_id,count").encode("utf-8-sig"),
        written("image_id,count", "\t").encode("utf-16"),
        written("image_id,count", end="\r").encode(),
        written("image_id,count", end="\r\n").encode(),
        written("image_id,count", ";").encode(),
        written("image_id,count", ";", rows=[("00100", "3,0"), ("00200", "5,0")]).encode(),
        written("image_id, count", rows=[("00100", " 3"), (" 00200", " 5")]).encode(),
        written("Image_ID,COUNT").encode(),
        written("Image ID,Count").encode(),
        written('"image_id","count"').encode(),
        written("image_id,count", rows=[("00100", "3.0"), ("00200", "5.0")]).encode(),
        written("image_id,count", rows=[("00100.jpg", "3"), ("00200.JPG", "5")]).encode(),
        written("count,image_id", rows=[("3", "00100"), ("5", "00200")]).encode(),
        b",image_id,count\n0,00100,3\n1,00200,5\n",
        b"image_id,count,remark\n00100,3,big\n00200,5,\n",
        b"image_id,count,\n00100,3,\n,,\n\n00200,5,\n",
    ],
)
def test_the_usual_ways_of_pandas_and_spreadsheets_are_understood(data: bytes) -> None:
    found = read_labels(data, "labels.csv")
    assert (found.by_id, found.refused) == (WANTED, ())


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (written("id,n").encode(), "x.csv", "id, n"),
        (written("image_id,counts").encode(), "x.csv", "image_id, counts"),
        (written("image_id,quantity").encode(), "x.csv", "image_id, quantity"),
        (written("image_id,label_source").encode(), "x.csv", "image_id, label_source"),
        (written("image_id|count").encode(), "x.csv", "image_id|count"),
        (written("image_id:count").encode(), "x.csv", "image_id:count"),
        (written("00100,3").encode(), "x.csv", "00100, 3"),
        (b"image_id,count,Count\n1,2,3\n", "x.csv", "two columns are called count"),
        (b"image_id,count\n", "x.csv", "it has no row"),
        (b"", "x.csv", "image_id"),
        (b"\xff\xfe\x00", "x.csv", "UTF-8"),
        (b"image_id,count\n00100,\xff\n", "x.csv", "neither UTF-8 nor UTF-16"),
        (b'image_id,count\n00100,"3\n00200,5\n', "x.csv", "line"),
        (b'image_id,count\n00100,"3\n00200,"\n', "x.csv", "a quote is opened and not closed"),
        (b"image_id,count\n00100," + b"3" * 200_000, "x.csv", "line 2"),
        (b"image_id," + b"c" * 200_000 + b"\n00100,3\n", "x.csv", "its first line is no header"),
        (b"image_id,count\n" + b"00100,3\n" * 2000 + b"00200,\xff\n", "x.csv", "neither UTF-8 nor UTF-16"),
        (b"{", "x.JSON", "no JSON"),
        (b"[" * 100_000, "x.json", "no JSON"),
        (b"[1]", "x.json", "must look like"),
        (b'{"3": {"1": []}}', "x.json", "must look like"),
    ],
)
def test_a_file_that_is_no_labels_file_is_refused_with_what_it_says(data: bytes, name: str, said: str) -> None:
    with pytest.raises(TableError) as caught:
        read_labels(data, name)
    assert said in str(caught.value)


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12), min_size=1, max_size=4)
)
@example(["image_id", "count "])
@example(["image_id", "Count"])
def test_no_header_makes_a_list_of_ids_but_image_id_alone(columns: list[str]) -> None:
    """Whatever stands in the header: where the photos' counts come from their records, nothing else was there."""
    data = (",".join(columns) + "\n" + ",".join(["7"] * len(columns)) + "\n").encode()
    try:
        labels = read_labels(data, "labels.csv")
    except TableError:
        return
    if any(label.count is None for label in labels.by_id.values()):
        assert {column.strip().casefold() for column in columns} <= {"image_id", "image id", "image-id", ""}


def reasons(labels: Labels) -> dict[str, str]:
    return {bin_id: why for bin_id, why, _ in labels.refused}


def test_rows_that_cannot_be_used_are_refused_once_with_their_reason_and_line() -> None:
    text = "image_id,count\n../../etc/passwd,3\n../../etc/passwd,3\n1,x\n2,-1\n3,2\n3,4\n4,\n5,1\n6,1,2\n,7\n8.0,1\n"
    labels = read_labels(text.encode(), "x.csv")
    assert reasons(labels) == {
        "../../etc/passwd": "unsafe_id",
        "1": "count_invalid",
        "2": "count_invalid",
        "3": "label_conflict",
        "4": "count_invalid",
        "6": "row_malformed",
        "line 11": "unsafe_id",
        "8.0": "unsafe_id",
    }
    assert len(labels.refused) == 8 and labels.by_id == {"5": Label(1, "list")}
    details = {bin_id: detail for bin_id, _, detail in labels.refused}
    assert details["3"] == "line 6 says 2, line 7 says 4"
    assert details["1"].startswith("line 4: ") and "saved as a number" in details["8.0"]


def test_labels_are_read_as_written() -> None:
    text = "image_id,count,label_source\n00200,3,metadata\n1234,2,\n01234,4, Audit\n00200,3,metadata\n"
    assert read_labels(text.encode(), "x.csv").by_id == {
        "00200": Label(3, "metadata"),
        "1234": Label(2, "list"),
        "01234": Label(4, "audit"),
    }


@pytest.mark.parametrize("rows", ["7,3,list\n7,3,audit\n", "7,3,audit\n7,3,list\n"])
def test_a_label_that_an_audit_confirms_is_audited(rows: str) -> None:
    """Ingest refused the photo where its record says otherwise, although a person had counted it."""
    labels = read_labels(f"image_id,count,label_source\n{rows}".encode(), "x.csv")
    assert labels.by_id == {"7": Label(3, "audit")} and not labels.refused


def test_a_list_of_ids_has_no_counts() -> None:
    expected = {"7": Label(None, "list"), "00008": Label(None, "list")}
    assert read_labels(b"image_id\n7\n00008\n", "x.csv").by_id == expected
    assert read_labels(b",image_id\n0,7\n1,00008\n", "x.csv").by_id == expected


def test_the_published_list_is_read_by_its_paths() -> None:
    data = b'{"1": ["data/metadata/100313.json"], "3": ["data/metadata/1234.json"], "3": ["5.jpg"], "x": ["6.jpg"]}'
    labels = read_labels(data, "file_list.json")
    assert labels.by_id == {"100313": Label(1, "list"), "1234": Label(3, "list"), "5": Label(3, "list")}
    assert reasons(labels) == {"6": "count_invalid"}


@given(st.binary(max_size=80), st.sampled_from(["x.csv", "x.json"]))
@example(b'{"\\ud800": ["\\ud800"]}', "x.json")
def test_any_bytes_are_labels_or_one_refusal(data: bytes, name: str) -> None:
    try:
        labels = read_labels(data, name)
    except TableError:
        return
    for texts in labels.refused:
        assert all(text.encode() for text in texts)


CASES = Path(__file__).parents[2] / "../shared/cases/labels"


def counts_of(name: str) -> dict[str, Any]:
    return {bin_id: label.count for bin_id, label in read_labels((CASES / name).read_bytes(), name).by_id.items()}


@pytest.mark.skipif(not CASES.is_dir(), reason="the inputs are not part of the repository")
def test_files_that_were_sent_in_are_understood() -> None:
    assert counts_of("space.csv") == counts_of("caps.csv") == counts_of("right.csv")
    assert counts_of("pandas-float.csv") == counts_of("with-jpg.csv")
