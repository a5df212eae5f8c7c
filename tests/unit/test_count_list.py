"""The example that writes a list of bins to count: what the file holds when something goes wrong."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.count_list import COLUMNS, CountList, main
from tests.full_disk import no_room_beyond


def event(image_id: str, skus: int) -> dict[str, Any]:
    return {
        "schema": 1, "audit": "a", "image_id": image_id, "recorded": skus, "expected_count": 1.5,
        "recorded_probability": 0.1, "wrong_probability": 0.9, "photo": "p", "model_package": "m", "more_skus": 0,
        "skus": [{"sku": f"B{number:09d}", "name": "A name", "quantity": 1} for number in range(skus)],
    }  # fmt: skip


def test_a_bin_that_could_not_be_written_whole_is_added_when_its_event_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    CountList(path).add(event("00001", 1))
    whole = path.read_bytes()
    with no_room_beyond(len(whole) + 200), pytest.raises(OSError, match="File too large"):
        CountList(path).add(event("00002", 20))
    assert path.read_bytes() == whole
    assert CountList(path).add(event("00002", 20)) is True
    with path.open(newline="") as stream:
        assert [row["bin"] for row in csv.DictReader(stream)] == ["00001", *["00002"] * 20]


@pytest.mark.parametrize("text", ["image_id,count\n00001,3\n", "count,bin\n"])
def test_a_file_with_other_columns_is_refused_and_stays(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "counts.csv"
    path.write_text(text)
    monkeypatch.setattr(sys, "argv", ["count_list.py", "https://queue", str(path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"{path} is no list of counts: its first line is not {','.join(COLUMNS)}" in capsys.readouterr().err
    assert path.read_text() == text


def test_the_region_is_that_of_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shell without a region, as a scheduled job has, it ended with NoRegionError."""
    asked: list[str | None] = []

    def client(_: str, *, region_name: str | None) -> Any:
        asked.append(region_name)
        raise ConnectionRefusedError

    monkeypatch.setattr("boto3.client", client)
    china, local = "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/counts", "http://localhost:4566/1/counts"
    for queue, named in (
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/counts", "us-east-2"),
        (china, "us-east-2"),
        (local, "us-east-2"),
        (local, ""),
    ):
        monkeypatch.setenv("AWS_REGION", named)
        monkeypatch.setattr(sys, "argv", ["count_list.py", queue, str(tmp_path / "counts.csv")])
        with pytest.raises(ConnectionRefusedError):
            main()
    assert asked == ["eu-west-1", "cn-north-1", "us-east-2", None]


def test_an_empty_file_becomes_a_list(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.touch()
    assert CountList(path).add(event("00001", 1)) is True
    assert path.read_text().startswith(",".join(COLUMNS))
