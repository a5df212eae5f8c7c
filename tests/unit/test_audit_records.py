"""Records from tables, and bins from folders: every bin is used, or refused with its reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from binventory.audit.csv_records import Columns, CsvRecords
from binventory.audit.predictions import read_predictions
from binventory.audit.sources import Folder, PhotoUnreadableError, bins_with_metadata
from binventory.cli import run
from binventory.core.errors import Exit, Problem
from binventory.records.errors import RecordError
from binventory.records.metadata import MAX_LINES, Line, Record
from binventory.render import render_bucket


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
        "00002": "count_invalid",
        "line 4": "unsafe_id",
        "00003": "count_invalid",
        "00004": Record("00004", 0),
    }


def test_a_table_is_read_as_pandas_and_spreadsheets_write_it(tmp_path: Path) -> None:
    found = csv_bins(tmp_path, "Bin; Qty\r00001.jpg;3.0\r00002;4,0\r00003;5;6\r", "image_id=bin,count=qty")
    assert found == {"00001": Record("00001", 3), "00002": Record("00002", 4), "line 4": "row_malformed"}


def test_csv_with_one_row_a_sku_adds_up_wherever_the_rows_stand(tmp_path: Path) -> None:
    text = "bin,qty,asin,title\n7,2,A,Cup\n8,1,B,Ball\n7,3,C,Book\n"
    found = csv_bins(tmp_path, text, "image_id=bin,count=qty,sku=asin,name=title")
    seven = found["7"]
    assert isinstance(seven, Record) and seven.recorded == 5
    assert [(line.sku, line.name, line.quantity) for line in seven.lines] == [("A", "Cup", 2), ("C", "Book", 3)]


def test_one_sku_in_several_rows_of_a_bin_is_one_line(tmp_path: Path) -> None:
    text = "image_id,count,sku,name\n7,2,A,\n7,1,B,Ball\n7,1,A,Cup\n"
    seven = csv_bins(tmp_path, text, "sku=sku,name=name")["7"]
    assert seven == Record("7", 4, (Line("A", "Cup", 3), Line("B", "Ball", 1)))


def test_rows_of_a_bin_that_name_two_photos_are_not_guessed(tmp_path: Path) -> None:
    text = "image_id,count,sku,photo\n7,2,A,\n7,1,B,x.jpg\n8,1,A,y.jpg\n8,1,B,z.jpg\n9,1,A,z.jpg\n9,1,B,z.jpg\n"
    columns = "sku=sku,photo=photo"
    assert csv_bins(tmp_path, text, columns)["8"] == "several_photos"
    records = CsvRecords(tmp_path / "records.csv", Columns.parse(columns), tmp_path / "spill.sqlite")
    photos = {each.image_id: each.photo for each in records.bins(Folder(tmp_path))}
    records.close()
    assert (photos["7"], photos["9"]) == ("x.jpg", "z.jpg"), "the row that names one counts"


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


def test_a_file_name_of_another_encoding_is_set_aside_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `caf\xe9.jpg` of a Latin-1 archive: the ledger takes UTF-8 only, and one such photo ended the audit."""
    render_bucket(tmp_path / "bins", photos=3)
    photos = tmp_path / "bins" / "bin-images"
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    answers = tmp_path / "answers.jsonl"
    answer = {"probabilities": {str(count): 0.2 for count in range(1, 6)}}
    answers.write_text(
        "".join(json.dumps({"photo": f"{path.name}", **answer}) + "\n" for path in photos.glob("0*.jpg"))
    )
    arguments = ["audit", str(tmp_path / "bins"), "--predictions", str(answers), "--output", str(tmp_path / "audit")]
    assert run(arguments) == Exit.OK, capsys.readouterr().err
    assert r"caf\xe9,,not_audited,unsafe_id" in (tmp_path / "audit" / "set_aside.csv").read_text()


def test_answers_for_a_photo_whose_name_is_no_id_name_it(tmp_path: Path) -> None:
    """`binventory count --output` writes the names of photos as they are."""
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"photo": "a b/my bin.jpg", "probabilities": {"1": 0.5, "2": 0.5}}))
    with pytest.raises(ValueError, match=r"line 1: 'my bin.jpg' is no id"):
        list(read_predictions(answers))


def test_every_ending_of_a_photo_is_audited_and_a_second_photo_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "bin-images"
    folder.mkdir()
    (tmp_path / "metadata").mkdir()
    for name in ("1.jpg", "1.JPG", "1.png", "2.JPEG", "3.png", "3.x.jpg", "4.gif"):
        (folder / name).write_bytes(b"x")
        (tmp_path / "metadata" / f"{name[0]}.json").write_bytes(b'{"EXPECTED_QUANTITY": 2}')
    found: dict[str, Record | str] = {}
    for each in bins_with_metadata(Folder(tmp_path)):
        try:
            found[each.image_id] = each.record()
        except RecordError as error:
            found[each.image_id] = error.reason
    assert found == {
        "1": Record("1", 2),
        "bin-images/1.JPG": "second_photo",
        "bin-images/1.png": "second_photo",
        "2": Record("2", 2),
        "3": Record("3", 2),
        "3.x": "unsafe_id",
    }
