"""The books and the exploration, counted while units finish: in any order, each row once, no old rows."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ingesting.without_photos import WithoutPhotos
from benchmarks.object_server import ObjectServer
from ingestion import books as books_module
from ingestion.books import Accounts, RowTally, summary
from ingestion.exploration import Exploration, to_document
from ingestion.intake import SourcePhoto
from ingestion.job import ingest as run_ingest
from ingestion.rows import QUARANTINED, SKIPPED, Kept, Row, SetAside
from ingestion.run import IngestSettings, JobMachine
from ingestion.work import Intake, WorkLimits
from tests.unit.bin_bucket import bucket, files
from tests.unit.bin_ingest import PHOTOS, ingest

KEPT = st.builds(
    Kept,
    id=st.text("0123456789", min_size=1, max_size=3),
    count=st.integers(1, 5),
    label_source=st.just("metadata"),
    items=st.lists(st.sampled_from(["B1", "B2", "B3", "B4"]), max_size=3).map(tuple),
    block=st.just("1"),
    split=st.sampled_from(["train", "validation", "test"]),
    rule=st.just("block_deal"),
    fingerprint=st.just("f"),
    shard=st.just("train/train-00000.tar"),
    offset=st.just(512),
    size=st.just(10),
    width=st.just(300),
    height=st.just(256),
    source=st.builds(
        SourcePhoto,
        bytes=st.integers(1, 100_000),
        format=st.sampled_from(["JPEG", "PNG"]),
        mode=st.sampled_from(["RGB", "L", "CMYK"]),
        width=st.integers(256, 900),
        height=st.integers(256, 900),
        md5=st.integers(0, 20).map(lambda number: f"{number:032x}"),
    ),
)
SET_ASIDE = st.builds(
    SetAside,
    id=st.text("abc", min_size=1, max_size=4),
    fate=st.sampled_from([SKIPPED, QUARANTINED]),
    reason=st.sampled_from(["empty", "too_small", "over_limit"]),
    detail=st.sampled_from(["", "so"]),
    block=st.just("1"),
)


def reported(rows: list[Row]) -> str:
    """All that is published of the rows, the order of its parts included."""
    tally, exploration = RowTally(), Exploration(7)
    for row in rows:
        tally.add(row)
        exploration.add(row)
    books = json.dumps(summary(tally, []), sort_keys=True)
    return books + json.dumps(to_document(exploration), default=vars)


@given(st.data(), st.lists(KEPT | SET_ASIDE, max_size=40, unique_by=lambda row: row.id))
def test_the_order_in_which_units_are_finished_shows_nowhere(data: st.DataObject, rows: list[Row]) -> None:
    assert reported(data.draw(st.permutations(rows))) == reported(rows)


@given(st.lists(KEPT, max_size=40, unique_by=lambda row: row.id))
def test_photos_with_the_content_of_another_are_counted(rows: list[Kept]) -> None:
    exploration = Exploration(0)
    for row in rows:
        exploration.add(row)
    document: Any = to_document(exploration)
    assert document["source_photos"]["repeated_content"] == len(rows) - len({row.source.md5 for row in rows})


def test_a_run_without_its_photos_keeps_the_books_of_one_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = {key: data for key, data in bucket(blocks=6, photos=10, block_size=10).items() if "metadata" not in key}
    counts = {Path(key).stem: number % 7 for number, key in enumerate(photos)}
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["image_id,count", *(f"{name},{count}" for name, count in counts.items())]))
    settings = IngestSettings(PHOTOS, str(labels), block_size=10)
    found: list[dict[str, Any]] = []
    for intake in (Intake, WithoutPhotos):
        output = tmp_path / intake.__name__
        with ObjectServer(photos) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
            asyncio.run(run_ingest(settings, JobMachine(), output, limits=WorkLimits.of(1), intake=intake))
            # Without photos, a few are read to see whether ETags are MD5 sums.
            assert (sum(server.sent[key] > 0 for key in photos) > 3) == (intake is Intake)
        found.append(json.loads((output / "report" / "books.json").read_text()))
    for name in ("listed", "kept", "skipped", "quarantined", "per_split", "per_class", "units", "fingerprint"):
        assert found[0][name] == found[1][name], name
    assert found[0]["kept"] == sum(1 <= count <= 5 for count in counts.values())


def test_units_count_once_and_not_before_their_mark_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books_module, "_EVERY_SECONDS", 0.001)
    with ObjectServer(bucket(blocks=6, photos=10)) as server:
        assert ingest(server, tmp_path, "--shard-photos", "10") == 0
    marks, units = tmp_path / "report/units", sorted(path.stem for path in (tmp_path / "report/units").iterdir())
    hidden = shutil.copytree(marks, tmp_path / "hidden")
    for path in marks.iterdir():
        path.unlink()

    async def finish_them() -> Accounts:
        accounts = Accounts(tmp_path, units, seed=0)
        async with accounts.following():
            for number, unit in enumerate(units[:-1]):
                shutil.copy(hidden / f"{unit}.json", marks)
                while len(accounts.tally.ids) <= 10 * number:
                    await asyncio.sleep(0.001)
                assert len(accounts.tally.ids) == 10 * (number + 1)
            shutil.copy(hidden / f"{units[-1]}.json", marks)
        return accounts

    accounts = asyncio.run(finish_them())
    assert len(accounts.tally.ids) == 60 and not accounts.tally.twice
    assert accounts.exploration.quantities.total() == 60


def test_rows_that_were_damaged_after_a_run_are_not_read_by_the_next(tmp_path: Path) -> None:
    with ObjectServer(bucket(blocks=6, photos=10)) as server:
        assert ingest(server, tmp_path, "--shard-photos", "10") == 0
        whole = files(tmp_path)
        (tmp_path / "report/manifest-train-00001.jsonl").write_bytes(b"{no row")
        server.latency = 2 * books_module._EVERY_SECONDS
        assert ingest(server, tmp_path, "--shard-photos", "10") == 0
    assert files(tmp_path) == whole
