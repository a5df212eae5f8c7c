"""The ledger ranks, filters, remembers and resumes; the files that are written from it have its content."""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as parquet  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binventory.audit.database import AuditDatabase, CountedBin, Filters, SetAside
from binventory.audit.estimate import WrongShare
from binventory.audit.outputs import Origin, cell, inert, write_csv, write_json_lines, write_parquet, write_set_aside
from binventory.core.errors import Problem
from binventory.records.metadata import Line, Record

IDENTITY = {"source": "here", "counter": "someone"}
HALF = WrongShare(share=0.5, low=0.4, high=0.6, photos=1, classes=5)
ORIGIN = Origin("s3://photos/here/", "arn:aws:sagemaker:us-east-1:123456789012:model-package/bins/7")
FORMULA = '=HYPERLINK("http://example.com","x")'


def counted(number: int, of_recorded: float, recorded: int = 2, lines: tuple[Line, ...] = ()) -> CountedBin:
    """A bin whose recorded quantity has probability `of_recorded`; the rest is on the next count."""
    table = dict.fromkeys(range(1, 6), 0.0)
    table[recorded] = of_recorded
    table[recorded % 5 + 1] = 1 - of_recorded
    return CountedBin(Record(f"{number:05d}", recorded, lines), f"bin-images/{number:05d}.jpg", table)


@given(st.lists(st.floats(0, 1), max_size=30), st.none() | st.floats(0, 1), st.none() | st.integers(1, 40))
@settings(max_examples=40)
def test_the_ranking_is_the_sorted_selection(values: list[float], threshold: float | None, top: int | None) -> None:
    ledger = AuditDatabase(Path(":memory:"), IDENTITY)
    ledger.add(counted(number, value) for number, value in enumerate(values))
    found = list(ledger.ranked(Filters(threshold, top)))
    expected = sorted((value, f"{number:05d}") for number, value in enumerate(values))
    expected = [pair for pair in expected if threshold is None or pair[0] <= threshold][:top]
    assert [(row.recorded_probability, row.image_id) for row in found] == expected
    assert [row.rank for row in found] == list(range(1, len(found) + 1))
    ledger.close()


def test_a_ledger_survives_and_refuses_another_audit(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = AuditDatabase(path, IDENTITY)
    ledger.add([counted(1, 0.3), SetAside("00002", "", "out_of_scope", "recorded_above_scope", "", 9)])
    ledger.close()
    again = AuditDatabase(path, IDENTITY)
    assert again.holds("00001") and again.holds("00002") and not again.holds("00003")
    assert again.counts() == {"counted": 1, "out_of_scope": 1, "not_audited": 0}
    again.close()
    with pytest.raises(Problem, match="source was 'here', now 'there'") as caught:
        AuditDatabase(path, {**IDENTITY, "source": "there"})
    assert "--restart" in caught.value.cure


def test_a_ledger_without_a_bin_is_nobodys(tmp_path: Path) -> None:
    path, there = tmp_path / "ledger.sqlite", {**IDENTITY, "source": "there"}
    AuditDatabase(path, IDENTITY).close()
    ledger = AuditDatabase(path, there)
    ledger.add([counted(1, 0.3)])
    ledger.close()
    with pytest.raises(Problem, match="source was 'there', now 'here'"):
        AuditDatabase(path, IDENTITY)


def test_a_ledger_of_an_earlier_version_keeps_the_name_that_its_events_have(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(AuditDatabase(path, IDENTITY)) as ledger:
        ledger.add([counted(1, 0.3)])
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DROP TABLE name")
    expected = hashlib.sha256(json.dumps(IDENTITY, sort_keys=True).encode()).hexdigest()[:16]
    with closing(AuditDatabase(path, IDENTITY)) as ledger:
        assert ledger.name == expected


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    ledger = AuditDatabase(tmp_path / "ledger.sqlite", IDENTITY)
    with pytest.raises(KeyError):
        ledger.add([counted(1, 0.3), CountedBin(Record("00002", 9), "", {1: 0.5, 2: 0.5})])
    assert not ledger.holds("00001")
    ledger.close()


def test_unit_errors_go_to_skus_by_quantity() -> None:
    """Record 4 = 3 of A and 1 of B, photo surely 5: one unit too few, wrong for certain; A bears three quarters."""
    ledger = AuditDatabase(Path(":memory:"), IDENTITY)
    ledger.add([counted(1, 0.0, recorded=4, lines=(Line("A", "Cup", 3), Line("B", "Ball", 1))), counted(2, 1.0)])
    ledger.judge(HALF)
    assert ledger.expected_unit_error() == pytest.approx(1)
    errors = {found.sku: found for found in ledger.sku_errors("more", 10)}
    assert errors["A"].expected_unit_error == pytest.approx(0.75) == errors["A"].expected_difference
    assert errors["B"].expected_unit_error == pytest.approx(0.25)
    assert [found.sku for found in ledger.sku_errors("more", 1)] == ["A"]
    assert list(ledger.sku_errors("fewer", 10)) == []
    ledger.close()


def test_sent_events_are_remembered() -> None:
    ledger = AuditDatabase(Path(":memory:"), IDENTITY)
    ledger.add(counted(number, number / 10) for number in range(5))
    ledger.mark_sent(["00000", "00002"])
    assert [found.image_id for found in ledger.unsent(Filters(top=4))] == ["00001", "00003"]
    ledger.close()


@pytest.fixture
def ledger() -> AuditDatabase:
    found = AuditDatabase(Path(":memory:"), IDENTITY)
    found.add(counted(number, number / 10, lines=(Line(f"S{number}", FORMULA, 2),)) for number in range(5))
    found.judge(HALF)
    return found


def test_all_formats_say_the_same(ledger: AuditDatabase, tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", ledger.ranked(), ORIGIN)
    write_json_lines(tmp_path / "x.jsonl", ledger.ranked(), ORIGIN)
    write_parquet(tmp_path / "x.parquet", ledger.ranked(), ORIGIN)
    with (tmp_path / "x.csv").open(newline="") as stream:
        from_csv = list(csv.DictReader(stream))
    from_lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    from_parquet = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert len(from_csv) == len(from_lines) == len(from_parquet) == 5
    for row, line, stored in zip(from_csv, from_lines, from_parquet, strict=True):
        assert row["image_id"] == line["image_id"] == stored["image_id"]
        assert float(row["recorded_probability"]) == line["recorded_probability"] == stored["recorded_probability"]
        assert line["skus"] == stored["skus"]
        assert row["quantities"] == "2" and line["skus"][0]["quantity"] == 2
        assert row["photo"] == line["photo"] == stored["photo"] == f"s3://photos/here/bin-images/{row['image_id']}.jpg"
        assert row["model_package"] == line["model_package"] == stored["model_package"] == ORIGIN.package
        assert line["probabilities"] == dict(stored["probabilities"])


def test_formulas_in_names_stay_text(ledger: AuditDatabase, tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", ledger.ranked(), ORIGIN)
    with (tmp_path / "x.csv").open(newline="") as stream:
        assert {row["names"] for row in csv.DictReader(stream)} == {"'" + FORMULA}
    write_set_aside(tmp_path / "y.csv", [SetAside("row 7", "@SUM(1)", "not_audited", "bad_id", "+1", None)])
    cells = next(csv.reader((tmp_path / "y.csv").read_text().splitlines()[1:]))
    assert "'@SUM(1)" in cells and "'+1" in cells


@given(st.text())
def test_no_text_cell_begins_a_formula(text: str) -> None:
    cell = inert(text)
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    assert cell.removeprefix("'") == text or cell == text


@pytest.mark.parametrize("character", ["x", "\N{PACKAGE}", "="])
def test_no_cell_is_longer_than_a_spreadsheet_takes(character: str) -> None:
    """A character beyond the first 65,536 counts as two there."""
    short, found = cell(character * 10), cell(character * 40_000)
    assert short.removeprefix("'") == character * 10
    assert 32_760 < len(found.encode("utf-16-le")) // 2 <= 32_767
    assert found.removeprefix("'").startswith(character) and found.endswith("... (cut)")


def test_an_empty_list_still_writes_readable_files(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", [], ORIGIN)
    write_parquet(tmp_path / "x.parquet", [], ORIGIN)
    assert (tmp_path / "x.csv").read_text().startswith("rank,image_id,recorded")
    assert parquet.read_table(tmp_path / "x.parquet").num_rows == 0
