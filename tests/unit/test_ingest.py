"""Ingest through its command line, on folders: every id is accounted for, no split leaks, bytes are reproducible."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import launch, main
from ingestion.job import code_files
from jobs.container import JobError
from shards import ShardIndex, read_shards
from shards.lists import read_split_by
from tests.unit.bin_bucket import bomb, bucket, files, jpeg, metadata, write


def start(photos: Path, output: Path, *arguments: str) -> int:
    """Run the command; gives its exit status."""
    return launch(["--photos-uri", str(photos), "--output", str(output), "--cores", "2", *arguments])


def ingest(photos: Path, output: Path, *arguments: str) -> dict[str, Any]:
    """Run the command and return its books; it fails exactly if a split is empty, which its books also show."""
    status = start(photos, output, *arguments)
    books = dict(json.loads((output / "report/books.json").read_bytes()))
    kept = [books["per_split"].get(split, {"kept": 0})["kept"] for split in ("train", "validation", "test")]
    assert status == (1 if min(kept) == 0 else 0)
    return books


def test_a_unit_is_made_again_where_any_code_has_changed_that_a_photo_passes(repository: Path) -> None:
    """The fingerprint of the code is part of each unit's: what a photo's module imports here decides about it too."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys; before = set(sys.modules); import ingestion.intake\n"
         "print(*(m.__file__ for n, m in sys.modules.items() if n not in before and getattr(m, '__file__', None)))"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout.split()  # fmt: skip
    ours = {Path(name) for name in loaded if Path(name).is_relative_to(repository) and "site-packages" not in name}
    written = {path for path in ours if path.name != "__init__.py"}
    assert written and written <= {path.resolve() for path in code_files()}


def rows(output: Path, kind: str) -> dict[str, dict[str, Any]]:
    """The rows of a report by id; fails where an id has two."""
    lines = [json.loads(line) for path in (output / "report").glob(f"{kind}-*.jsonl") for line in path.open()]
    by_id = {line["id"]: line for line in lines}
    assert len(by_id) == len(lines)
    return by_id


def reasons(output: Path) -> dict[str, str]:
    """Why each id that is in no shard is in none."""
    return {i: row["reason"] for kind in ("quarantine", "skipped") for i, row in rows(output, kind).items()}


def machine(folder: Path, index: int, count: int) -> str:
    """A resourceconfig.json as SageMaker writes it."""
    path = folder / f"resourceconfig-{index}.json"
    hosts = [f"algo-{number + 1}" for number in range(count)]
    path.write_text(json.dumps({"current_host": hosts[index], "hosts": hosts}))
    return str(path)


def test_a_healthy_bucket_is_kept_whole_and_split_by_blocks(tmp_path: Path) -> None:
    books = ingest(write(tmp_path / "in", bucket()), tmp_path / "out")
    assert books["listed"] == books["kept"] == 48
    manifest = rows(tmp_path / "out", "manifest")
    by_block: dict[str, set[str]] = {}
    for row in manifest.values():
        mark = json.loads((tmp_path / f"out/report/units/{Path(row['shard']).stem}.json").read_bytes())
        assert mark["fingerprint"].startswith(row["fingerprint"]) and len(row["fingerprint"]) == 16
        assert row["block"] == str(int(row["id"]) // 100)
        by_block.setdefault(row["block"], set()).add(row["split"])
    assert len(by_block) == 6 and all(len(splits) == 1 for splits in by_block.values())
    for split in ("train", "validation", "test"):
        index = ShardIndex(tmp_path / "out" / split)
        assert dict(zip(index.ids, index.counts, strict=True)) == {
            row["id"]: row["count"] for row in manifest.values() if row["split"] == split
        }
        assert all(min(sample.width, sample.height) == 48 for sample in index)
        assert read_split_by(tmp_path / "out" / split) == "seed 0 and blocks of 100 ids"


_LONG: Final = 10**4299
DEFECTS: Mapping[str, tuple[str, bytes | None, str]] = {
    # defect: what to overwrite, with what (None: delete it), the reason to be given
    "corrupt photo": ("bin-images/{}.jpg", b"\xff\xd8\xff\xe0 not a photo", "unreadable"),
    "cut photo": ("bin-images/{}.jpg", jpeg(1000)[:400], "unreadable"),
    "empty photo": ("bin-images/{}.jpg", b"", "empty"),
    "a page instead of a photo": ("bin-images/{}.jpg", b"<html>", "not_jpeg_or_png"),
    "decompression bomb": ("bin-images/{}.jpg", bomb(), "too_many_pixels"),
    "tiny photo": ("bin-images/{}.jpg", jpeg(1001, size=(20, 20)), "too_small"),
    "no photo": ("bin-images/{}.jpg", None, "photo_missing"),
    "no metadata": ("metadata/{}.json", None, "metadata_missing"),
    "malformed metadata": ("metadata/{}.json", b'{"EXPECTED', "metadata_malformed"),
    "metadata of another kind": ("metadata/{}.json", b'{"EXPECTED_QUANTITY": "3"}', "metadata_invalid"),
    "items that do not add up": (
        "metadata/{}.json",
        b'{"EXPECTED_QUANTITY": 3, "BIN_FCSKU_DATA": {"A": {"quantity": 2}}}',
        "quantity_mismatch",
    ),
    "metadata without end": ("metadata/{}.json", b" " * (2**20 + 1), "metadata_too_large"),
    "more than any number": ("metadata/{}.json", b'{"EXPECTED_QUANTITY": 1e400}', "metadata_invalid"),
    "more than any bin": ("metadata/{}.json", metadata(10**400), "metadata_invalid"),
    "items without end": (
        "metadata/{}.json",
        b'{"EXPECTED_QUANTITY": 3, "BIN_FCSKU_DATA": {"A": {"quantity": %d}, "B": {"quantity": %d}}}' % (_LONG, _LONG),
        "metadata_invalid",
    ),
    "empty bin": ("metadata/{}.json", metadata(0), "count_out_of_range"),
    "full bin": ("metadata/{}.json", metadata(17, skus=3), "count_out_of_range"),
}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.integers(0, 23), st.sampled_from(sorted(DEFECTS)), max_size=14), st.integers(0, 99))
def test_the_books_balance_whatever_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, defects: dict[int, str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("ingest")
    objects = bucket(blocks=6, photos=4)
    ids = sorted(key[11:16] for key in objects if key.startswith("bin-images/"))
    expected: dict[str, str] = {}
    for number, defect in defects.items():
        key, data, expected[ids[number]] = DEFECTS[defect]
        if data is None:
            del objects[key.format(ids[number])]
        else:
            objects[key.format(ids[number])] = data
    books = ingest(write(folder / "in", objects), folder / "out", "--seed", str(seed))
    found = reasons(folder / "out")
    # Two bins with the same broken photo are also twins; either reason is true, and both are set aside.
    assert found.keys() == expected.keys()
    assert all(found[i] in (reason, "same_content_in_other_split") for i, reason in expected.items())
    kept = rows(folder / "out", "manifest")
    assert kept.keys() | found.keys() == set(ids) and not kept.keys() & found.keys()
    assert books["listed"] == 24 == books["kept"] + sum(books["skipped"].values()) + sum(books["quarantined"].values())
    for lines in (books["per_split"], books["per_class"]):
        assert all(line["listed"] == line["kept"] + line["skipped"] + line["quarantined"] for line in lines.values())
        assert sum(line["listed"] for line in lines.values()) == 24
    shards = [path for split in ("train", "validation", "test") for path in (folder / "out" / split).glob("*.tar")]
    assert {sample.id for sample in read_shards(shards)} == kept.keys()


def without_parts(output: Path) -> dict[str, bytes]:
    """The files of an output folder but for each machine's own books."""
    return {name: data for name, data in files(output).items() if "/books-" not in name}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_three_machines_make_what_one_makes_in_whatever_order_they_end(tmp_path: Path, order: tuple[int, ...]) -> None:
    photos = write(tmp_path / "in", {**bucket(blocks=9), "metadata/00200.json": b"{"})
    shared = ("--shard-photos", "10")
    ingest(photos, tmp_path / "one", *shared)
    for index in order:
        assert not (tmp_path / "three/report/books.json").exists()
        assert start(photos, tmp_path / "three", *shared, "--resource-config", machine(tmp_path, index, 3)) == 0
    assert without_parts(tmp_path / "three") == files(tmp_path / "one")
    parts = [json.loads(p.read_bytes()) for p in sorted((tmp_path / "three" / "report").glob("books-*.json"))]
    assert len(parts) == 3 and sum(books["listed"] for books in parts) == 72 and all(b["kept"] > 0 for b in parts)


def test_machines_that_meet_nowhere_are_merged_by_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = write(tmp_path / "in", bucket(blocks=9))
    ingest(photos, tmp_path / "one", "--shard-photos", "10")
    with caplog.at_level(logging.INFO):
        for index in range(3):
            arguments = ("--shard-photos", "10", "--resource-config", machine(tmp_path, index, 3))
            assert start(photos, tmp_path / f"machine-{index}", *arguments) == 0
            shutil.copytree(tmp_path / f"machine-{index}", tmp_path / "joined", dirs_exist_ok=True)
    assert caplog.text.count("other machines are still at work") == 3
    assert launch(["--merge", str(tmp_path / "joined")]) == 0
    assert without_parts(tmp_path / "joined") == files(tmp_path / "one")


def test_fewer_machines_leave_nothing_of_more(tmp_path: Path) -> None:
    photos = write(tmp_path / "in", bucket(blocks=9))
    for index in range(3):
        assert start(photos, tmp_path / "out", "--resource-config", machine(tmp_path, index, 3)) == 0
    ingest(photos, tmp_path / "out")
    ingest(photos, tmp_path / "one")
    assert files(tmp_path / "out") == files(tmp_path / "one")


def test_parts_of_another_run_are_not_joined(tmp_path: Path) -> None:
    photos = write(tmp_path / "in", bucket())
    for index, seed in enumerate(("1", "1", "2")):
        arguments = ("--seed", seed, "--resource-config", machine(tmp_path, index, 3))
        assert start(photos, tmp_path / "out", *arguments) == 0
    assert not (tmp_path / "out/report/books.json").exists()
    assert launch(["--merge", str(tmp_path / "out")]) == 1


def test_merge_names_what_it_found_when_a_machine_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write(tmp_path / "in", bucket())
    for index in (0, 2):
        start(photos, tmp_path / "out", "--resource-config", machine(tmp_path, index, 3))
    assert launch(["--merge", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "books-00-of-03.json, books-02-of-03.json are not the books of one run of 3 machines" in said
    assert launch(["--merge", str(tmp_path / "in")]) == 1
    assert "books-MM-of-NN.json" in capsys.readouterr().err


def test_merge_holds_the_parts_against_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write(tmp_path / "in", bucket(blocks=9))
    for index in range(2):
        start(photos, tmp_path / "out", "--shard-photos", "10", "--resource-config", machine(tmp_path, index, 2))
    next((tmp_path / "out/report").glob("manifest-*.jsonl")).unlink()
    assert launch(["--merge", str(tmp_path / "out")]) == 1
    assert "the books do not balance" in capsys.readouterr().err


def test_a_second_run_reads_nothing_and_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = write(tmp_path / "in", bucket())
    ingest(photos, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}
    contents = files(tmp_path / "out")
    with caplog.at_level(logging.INFO):
        ingest(photos, tmp_path / "out")
    assert "0 of 0 photos" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")} == before
    assert files(tmp_path / "out") == contents


def test_a_damaged_output_is_mended_to_the_same_bytes(tmp_path: Path) -> None:
    photos = write(tmp_path / "in", bucket())
    ingest(photos, tmp_path / "out", "--shard-photos", "10")
    contents = files(tmp_path / "out")
    (tmp_path / "out/train/train-00000.tar").write_bytes(b"cut")
    (tmp_path / "out/report/manifest-train-00001.jsonl").unlink()
    (tmp_path / "out/report/units/test-00000.json").write_text("{")
    (tmp_path / "out/train/train-00000.tar.part").write_bytes(b"left by a killed worker")
    ingest(photos, tmp_path / "out", "--shard-photos", "10")
    assert files(tmp_path / "out") == contents


def test_other_settings_leave_nothing_of_the_run_before(tmp_path: Path) -> None:
    photos = write(tmp_path / "in", bucket(blocks=9))
    ingest(photos, tmp_path / "out", "--shard-photos", "10", "--seed", "1")
    ingest(photos, tmp_path / "out", "--seed", "2")
    ingest(photos, tmp_path / "clean", "--seed", "2")
    assert files(tmp_path / "out") == files(tmp_path / "clean")


def test_changed_metadata_is_noticed(tmp_path: Path) -> None:
    photos = write(tmp_path / "in", bucket())
    before = ingest(photos, tmp_path / "out")
    (photos / "metadata/00100.json").write_bytes(metadata(5))
    after = ingest(photos, tmp_path / "out")
    assert after["fingerprint"]["data"] != before["fingerprint"]["data"]
    assert rows(tmp_path / "out", "manifest")["00100"]["count"] == 5


@pytest.mark.parametrize("seed", range(4))
def test_the_same_photo_never_stands_in_two_splits(tmp_path: Path, seed: int) -> None:
    objects = bucket(blocks=10, photos=4)
    names = sorted(key for key in objects if key.startswith("bin-images/"))
    for number, key in enumerate(names):
        objects[key] = jpeg(number % 5)
    ingest(write(tmp_path / "in", objects), tmp_path / "out", "--seed", str(seed))
    splits: dict[str, set[str]] = {}
    for row in rows(tmp_path / "out", "manifest").values():
        splits.setdefault(row["source"]["md5"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    refused = rows(tmp_path / "out", "quarantine")
    assert refused and {row["reason"] for row in refused.values()} == {"same_content_in_other_split"}
    for row in refused.values():
        first = row["detail"].split()[4].rstrip(",")
        assert (tmp_path / f"in/bin-images/{first}.jpg").read_bytes() == objects[f"bin-images/{row['id']}.jpg"]


def test_labels_and_metadata_are_held_against_each_other(tmp_path: Path) -> None:
    objects = bucket() | {"bin-images/01234.jpg": jpeg(99)}
    del objects["metadata/00101.json"]
    labels = {"00100": 1, "00101": 4, "00102": 5, "00200": 9, "00300": 2, "00400": 5, "00500": 3}
    lines = [f"{bin_id},{count}" for bin_id, count in {**labels, "1234": 2, "../00103": 3}.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["image_id,count", *lines]))
    ingest(write(tmp_path / "in", objects), tmp_path / "out", "--labels-uri", str(tmp_path / "labels.csv"))
    kept = rows(tmp_path / "out", "manifest")
    assert {i: row["count"] for i, row in kept.items()} == {"00100": 1, "00101": 4, "00300": 2, "00400": 5, "00500": 3}
    assert kept["00101"]["items"] == [] and kept["00100"]["items"] == ["B001000000"]
    assert reasons(tmp_path / "out") == {
        "00102": "label_disagrees",
        "00200": "count_out_of_range",
        "1234": "photo_missing",
        "../00103": "unsafe_id",
    }


def test_every_address_of_a_file_may_be_a_url(tmp_path: Path) -> None:
    objects = bucket(blocks=6, photos=2)
    folder = write(tmp_path / "my photos #1", objects)
    labels = tmp_path / "my labels #1.csv"
    labels.write_text("image_id,count\n" + "".join(f"{block}00,{block}\n" for block in ("001", "002", "003")))
    books = [
        ingest(photos, tmp_path / name, "--labels-uri", address)  # type: ignore[arg-type]
        for name, photos, address in (("paths", folder, str(labels)), ("urls", folder.as_uri(), labels.as_uri()))
    ]
    assert books[0]["listed"] == 3
    assert rows(tmp_path / "paths", "manifest") == rows(tmp_path / "urls", "manifest") != {}


def test_where_memory_runs_out_the_run_ends_and_no_photo_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a healthy photo would be missing from the data, because the machine was small."""

    def short_of_memory(_image: object) -> None:
        raise MemoryError

    objects = bucket(blocks=6, photos=2)
    objects["bin-images/00200.jpg"] = jpeg(7, mode="L")
    photos = write(tmp_path / "in", objects)
    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.ImageFile.load", short_of_memory)
        assert start(photos, tmp_path / "out") == 1
    assert "error: memory has run out: take a machine with more" in capsys.readouterr().err
    assert ingest(photos, tmp_path / "out")["kept"] == 12


def test_a_split_without_photos_fails_the_job_here_and_not_in_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = bucket(blocks=3, photos=2)
    objects["bin-images/00200.jpg"] = objects["bin-images/00201.jpg"] = b"broken"
    ingest(write(tmp_path / "in", objects), tmp_path / "out")
    assert "no photo was kept for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "reason", "said"),
    [
        ("image_id,count\n100,1\n101,2\n", "photo_missing", "no photo 100, but 00100: a spreadsheet removes zeros"),
        ("image_id,count\n00100,x\n00101,y\n", "count_invalid", "00100: line 2: column count holds 'x'"),
    ],
)
def test_where_no_label_can_be_used_the_reasons_and_the_report_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: str, reason: str, said: str
) -> None:
    (tmp_path / "labels.csv").write_text(labels)
    photos = write(tmp_path / "in", bucket(blocks=6, photos=2))
    assert start(photos, tmp_path / "out", "--labels-uri", str(tmp_path / "labels.csv")) == 1
    error = capsys.readouterr().err
    assert said in error
    assert f"2 {reason}" in error and "--block-size" not in error
    assert set(reasons(tmp_path / "out").values()) == {reason}
    assert json.loads((tmp_path / "out/report/books.json").read_bytes())["quarantined"] == {reason: 2}
    assert reason in (tmp_path / "out/report/exploration.html").read_text()


def test_too_few_blocks_are_refused_before_a_photo_is_read_with_the_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.csv").write_text("image_id,count\n00100,1\n00200,2\n00300,9\n")
    photos = write(tmp_path / "in", bucket(blocks=6, photos=2))
    assert start(photos, tmp_path / "out", "--labels-uri", str(tmp_path / "labels.csv")) == 1
    error = capsys.readouterr().err
    assert "2 photos in 2 block(s) of ids cannot fill" in error and "--block-size" in error
    assert "1 count_out_of_range" in error and reasons(tmp_path / "out") == {"00300": "count_out_of_range"}
    assert not list((tmp_path / "out").rglob("*.tar"))


def test_a_labels_file_whose_header_is_not_understood_is_refused_and_the_records_are_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = write(tmp_path / "in", bucket(blocks=6, photos=2))
    (tmp_path / "labels.csv").write_text("image_id,quantity\n00100,2\n")
    assert start(photos, tmp_path / "out", "--labels-uri", str(tmp_path / "labels.csv")) == 1
    assert "its header is 'image_id, quantity'; a labels file has the columns image_id and count" in (
        capsys.readouterr().err
    )
    assert not list((tmp_path / "out").rglob("*.tar"))


def test_every_ending_of_a_photo_is_taken_a_second_photo_is_named_and_folders_are_no_photos(tmp_path: Path) -> None:
    objects = bucket()
    for old, new in (("00100.jpg", "00100.JPG"), ("00101.jpg", "00101.jpeg"), ("00102.jpg", "00102.PNG")):
        objects[f"bin-images/{new}"] = objects.pop(f"bin-images/{old}")
    objects |= {"bin-images/00200.png": jpeg(99), "bin-images/00200.JPG": jpeg(98), "bin-images/archive": b""}
    books = ingest(write(tmp_path / "in", objects), tmp_path / "out")
    assert books["kept"] == 48
    assert reasons(tmp_path / "out") == dict.fromkeys(("bin-images/00200.JPG", "bin-images/00200.png"), "second_photo")


def test_skus_that_no_page_can_show_do_not_end_the_run(tmp_path: Path) -> None:
    record = b'{"EXPECTED_QUANTITY": 2, "BIN_FCSKU_DATA": {"\\ud800<B1": {"quantity": 2}}}'
    ingest(write(tmp_path / "in", bucket() | {"metadata/00100.json": record}), tmp_path / "out")
    assert rows(tmp_path / "out", "manifest")["00100"]["items"] == ["<B1"]


def test_names_that_are_no_ids_are_quarantined(tmp_path: Path) -> None:
    objects = bucket() | {"bin-images/a.b.jpg": b"x", "bin-images/deeper/00001.jpg": b"x", "metadata/notes.txt": b"x"}
    ingest(write(tmp_path / "in", objects), tmp_path / "out")
    assert reasons(tmp_path / "out") == {
        "bin-images/a.b.jpg": "unexpected_name",
        "bin-images/deeper/00001.jpg": "unexpected_name",
        "metadata/notes.txt": "unexpected_name",
    }


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 photos in `in`, eight of each class, and their counts in labels.csv too."""
    folder = tmp_path_factory.mktemp("forty")
    write(folder / "in", bucket(blocks=8, photos=5))
    (folder / "labels.csv").write_text(
        "image_id,count\n" + "".join(f"{(n // 5 + 1) * 100 + n % 5:05},{n % 5 + 1}\n" for n in range(40))
    )
    return folder


@given(limit=st.integers(1, 6), seed=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_a_limit_takes_so_many_of_each_class(
    forty: Path, tmp_path_factory: pytest.TempPathFactory, limit: int, seed: int
) -> None:
    photos, folder = forty / "in", tmp_path_factory.mktemp("limit")
    arguments = ("--limit-per-class", str(limit), "--seed", str(seed), "--block-size", "1")
    ingest(photos, folder / "by-metadata", *arguments)
    ingest(photos, folder / "by-labels", *arguments, "--labels-uri", str(forty / "labels.csv"))
    chosen = {name: rows(folder / name, "manifest") for name in ("by-metadata", "by-labels")}
    for manifest in chosen.values():
        counts = [row["count"] for row in manifest.values()]
        assert all(counts.count(count) == limit for count in range(1, 6))
    assert chosen["by-metadata"].keys() == chosen["by-labels"].keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--photos-uri", "missing"], "no folder"),
        (["--photos-uri", "empty"], "lists no photo"),
        (["--photos-uri", "ftp://host/x"], "neither an s3:// URL nor a folder"),
        (["--photos-uri", "s3:///x"], "names no bucket"),
        (["--photos-uri", "in", "--labels-uri", "missing.csv"], "does not exist"),
        (["--photos-uri", "in", "--labels-uri", "bad.csv"], "image_id"),
        # As of a shell variable that is not set: it would take every photo, or write into the current folder.
        (["--photos-uri", "in", "--labels-uri", ""], "--labels-uri is empty: give it a value, or leave it out"),
        (["--photos-uri", "in", "--resource-config", ""], "--resource-config is empty"),
        (["--photos-uri", "in", "--block-size", "1000000"], "--block-size"),
        (["--photos-uri", "in", "--output", "bad.csv"], "--output bad.csv: bad.csv is no folder; give another"),
        (["--photos-uri", "in", "--resource-config", "bad.json"], "current_host"),
    ],
)
def test_every_wrong_setting_says_what_to_change(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in", bucket(blocks=3, photos=1))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("id\n1\n")
    (tmp_path / "bad.json").write_text('{"hosts": ["algo-1"]}')
    assert launch(["--output", "out", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["--photos-uri", "x", "--limit-per-class", "-1"], ["--photos-uri", "x", "--merge", "y"]]
)
def test_the_command_line_refuses_what_makes_no_sense(arguments: list[str]) -> None:
    with pytest.raises(JobError):
        main(arguments)


@pytest.mark.parametrize("beside", [["--output", "y"], ["--limit-per-class", "5"], ["--ignore-etags"]])
def test_a_merge_takes_no_other_flag(beside: list[str]) -> None:
    with pytest.raises(JobError, match=f"--merge takes no other flag: {beside[0]} would have no effect"):
        main(["--merge", "x", *beside])


def test_the_page_stands_alone_and_shows_every_class(tmp_path: Path) -> None:
    objects = bucket() | {"metadata/<script>alert(1)<.json": b"{}"}
    ingest(write(tmp_path / "in", objects), tmp_path / "out")
    page = (tmp_path / "out/report/exploration.html").read_text()
    assert "http://" not in page and "https://" not in page and "<script" not in page and "alert(1)" in page
    assert all(f"recorded count {count}" in page for count in range(1, 6))
    document = json.loads((tmp_path / "out/report/exploration.json").read_bytes())
    assert document["classes"] == {"1": 10, "2": 10, "3": 10, "4": 9, "5": 9}
    assert document["quantity"]["share_under_ten"] == 1.0
    assert document["skus"] == document["skus"] | {
        "distinct": 5,
        "seen_once": 0,
        "seen_10_or_more": 3,
        "seen_3_to_9": 2,
    }
    assert document["set_aside"] == {"quarantined": {"unexpected_name": 1}}


def test_all_real_photos(abid: Path, tmp_path: Path) -> None:
    books = ingest(abid, tmp_path, "--labels-uri", str(abid / "labels.csv"))
    assert (books["listed"], books["kept"], sum(books["quarantined"].values())) == (1298, 1175, 0)
    assert {name: line["kept"] for name, line in books["per_class"].items()} == {
        **{"1": 140, "2": 258, "3": 298, "4": 274, "5": 205},
        "other": 0,
    }
    shares = {split: line["kept"] / 1175 for split, line in books["per_split"].items()}
    assert 0.75 < shares["train"] < 0.85 and 0.06 < shares["validation"] < 0.14 and 0.06 < shares["test"] < 0.14
