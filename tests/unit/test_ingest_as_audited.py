"""Ingest and the audit use the same bins of one folder, and refuse the same ones for the same reasons."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Final

import pytest

from binventory.audit import job
from binventory.core.aws import Aws
from ingest import launch
from tests.unit.bin_bucket import bucket, jpeg, write

RECORDS: Final = {
    "00100": b'{"EXPECTED_QUANTITY": 3}',
    "00101": b'{"EXPECTED_QUANTITY": 3, "BIN_FCSKU_DATA": {}}',
    "00102": b'{"EXPECTED_QUANTITY": 3.0}',
    "00103": b'{"EXPECTED_QUANTITY": 3, "BIN_FCSKU_DATA": null}',
    "00104": b'{"EXPECTED_QUANTITY": 3, "BIN_FCSKU_DATA": {"A": {"quantity": 2}}}',
    "00105": b'{"EXPECTED_QUANTITY": 1e400}',
    "00106": b'{"EXPECTED_QUANTITY": "3"}',
    "00107": b'{"EXPECTED_QUANTITY": 2, "BIN_FCSKU_DATA": {"\\ud800": {"quantity": 2}}}',
    "00200": b"[3]",
    "00201": b"",
    "00202": b"{}",
    "00203": b" " * (2**20 + 1),
}


def write_answers(folder: Path, path: Path) -> Path:
    """An answer for every photo, so that only the records decide."""
    ids = sorted({photo.name.partition(".")[0] for photo in (folder / "bin-images").iterdir()})
    lines = [{"image_id": bin_id, "probabilities": dict.fromkeys("12345", 0.2)} for bin_id in ids]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def no_aws() -> Aws:
    raise AssertionError("this audit must not need AWS")


@pytest.mark.parametrize("with_labels", [False, True])
def test_ingest_and_audit_agree_on_every_bin(tmp_path: Path, with_labels: bool) -> None:
    objects = bucket(blocks=6)
    objects |= {f"metadata/{bin_id}.json": data for bin_id, data in RECORDS.items()}
    for name in ("00301.PNG", "00302.JPEG"):
        objects[f"bin-images/{name}"] = objects.pop(f"bin-images/{name[:5]}.jpg")
    objects["bin-images/00303.png"] = jpeg(99)
    del objects["metadata/00304.json"]
    folder = write(tmp_path / "in", objects)
    arguments, records = [], None
    if with_labels:
        # One table for both. Its counts are those of the records that can be read.
        rows = [f"{number // 8 * 100 + 100 + number % 8:05}.jpg;{number % 5 + 1}.0" for number in range(16, 48)]
        records = tmp_path / "table.csv"
        records.write_text("\r".join(["Image_ID; Count", *rows, "00100;x", "00101;1;2", "../1;3", ""]))
        arguments = ["--labels-uri", str(records)]
    launch(["--photos-uri", str(folder), "--output", str(tmp_path / "out"), *arguments])
    request = job.Request(
        str(folder),
        tmp_path / "audit",
        records=records,
        predictions=write_answers(folder, tmp_path / "answers.jsonl"),
        formats=("jsonl",),
    )
    job.run_audit(request, no_aws)
    audited = {json.loads(line)["image_id"] for line in (tmp_path / "audit/disagreements.jsonl").open()}
    report = tmp_path / "out/report"
    kept = {json.loads(line)["id"] for path in report.glob("manifest-*") for line in path.open()}
    refused = {row["id"]: row["reason"] for path in report.glob("quarantine-*") for row in map(json.loads, path.open())}
    with (tmp_path / "audit/set_aside.csv").open(newline="") as stream:
        set_aside = {row["image_id"]: row["reason"] for row in csv.DictReader(stream)}
    assert audited == kept
    if with_labels:
        assert sorted(refused.values()) == ["count_invalid", "row_malformed", "second_photo", "unsafe_id"]
        assert sorted(set_aside.values()) == sorted(refused.values())
    else:
        assert set_aside == refused and len(refused) == 10 and {"00100", "00101", "00102", "00107"} < kept


def test_photos_that_a_labels_file_does_not_name_are_said_to_be_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who gives the labels of an audit trains on those bins alone: the log counted them as all that was listed."""
    folder = write(tmp_path / "in", bucket(blocks=6))
    photos = sorted(path.stem for path in (folder / "bin-images").iterdir())
    labels = tmp_path / "labels.csv"
    rows = [f"{bin_id},{number % 5 + 1},audit" for number, bin_id in enumerate(photos[:-10])]
    labels.write_text("\n".join(["image_id,count,label_source", *rows, f"{photos[-1]},x,audit", ""]))
    with caplog.at_level(logging.INFO):
        assert launch(["--photos-uri", str(folder), "--labels-uri", str(labels), "--output", str(tmp_path / "a")]) == 0
    assert f"9 photos are not in {labels}, so they are left out" in caplog.text, "the row with x is refused by name"
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert launch(["--photos-uri", str(folder), "--output", str(tmp_path / "b")]) == 0
    assert "left out" not in caplog.text
