"""Files of an earlier attempt or another machine are used if they are whole, else written again or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import launch
from ingestion.report import WHOLE
from shards import read_shards
from tests.unit.bin_bucket import bucket, files, write
from tests.unit.test_ingest import machine, start

DAMAGE = st.tuples(st.integers(0, 2**20), st.integers(0, 2**20), st.integers(0, 8))
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHARED = ("--shard-photos", "10")


def damage(folder: Path, of: tuple[int, int, int]) -> str:
    """Flip a bit of one of the files or, with 8 for a bit, cut it; the file's name."""
    chosen, place, bit = of
    names = sorted(name for name, content in files(folder).items() if content)
    path = folder / names[chosen % len(names)]
    content = bytearray(path.read_bytes())
    if bit == 8:
        del content[place % len(content) :]
    else:
        content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    return names[chosen % len(names)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bucket, `in`, and what one machine, `one`, and two that did not meet, `two`, make of it."""
    folder = tmp_path_factory.mktemp("whole")
    photos = write(folder / "in", {**bucket(blocks=9), "metadata/00200.json": b"{"})
    assert start(photos, folder / "one", *SHARED) == 0
    for index in range(2):
        arguments = (*SHARED, "--resource-config", machine(folder, index, 2))
        assert start(photos, folder / f"machine-{index}", *arguments) == 0
        shutil.copytree(folder / f"machine-{index}", folder / "two", dirs_exist_ok=True)
    return folder


@FEW
@given(of=DAMAGE)
def test_another_attempt_mends_whatever_was_damaged(one: Path, of: tuple[int, int, int]) -> None:
    damaged = one / "damaged"
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(one / "one", damaged)
    name = damage(damaged, of)
    assert start(one / "in", damaged, *SHARED) == 0
    assert files(damaged) == files(one / "one"), name


@FEW
@given(of=DAMAGE)
def test_machines_are_merged_from_whole_files_only(one: Path, of: tuple[int, int, int]) -> None:
    damaged, merge = one / "damaged", ["--merge", str(one / "damaged")]
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(one / "two", damaged)
    name = damage(damaged, of)
    if launch(merge) == 0:
        made, whole = files(damaged), files(one / "one")
        assert {file: made[file] for file in WHOLE} == {file: whole[file] for file in WHOLE}, name


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("manifest-train-00000.jsonl", "manifest-train-00000.jsonl is damaged"),
        ("units/train-00000.json", "the books do not balance"),
        ("books-00-of-02.json", "books-00-of-02.json is damaged; run the machine"),
        ("books-01-of-02.json", "are not the books of one run of 2 machines"),
    ],
)
def test_a_merge_says_what_is_damaged(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pattern: str, words: str
) -> None:
    shutil.copytree(one / "two", tmp_path / "out")
    path = tmp_path / "out" / "report" / pattern
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert launch(["--merge", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err


def test_a_damaged_photo_is_not_shown(one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(one / "two", tmp_path / "out")
    merge = ["--merge", str(tmp_path / "out")]
    shards = {path: path.read_bytes() for path in (tmp_path / "out").glob("*/*.tar")}
    for path, content in shards.items():
        path.write_bytes(content.replace(b"\xff\xd9", b"\xff\xd8"))
    assert launch(merge) == 1
    assert "is damaged; run again: the shard is written anew" in capsys.readouterr().err
    for path, content in shards.items():
        path.write_bytes(content[:1000])
    assert launch(merge) == 1
    assert "has 1000 of" in capsys.readouterr().err
    for path in shards:
        path.unlink()
    assert launch(merge) == 1
    assert ".tar is missing; run the machine that wrote it again" in capsys.readouterr().err


def test_shards_are_read_only_once_the_whole_run_is_done(one: Path) -> None:
    with pytest.raises(ValueError, match=r"no digests\.json"):
        list(read_shards(one / "machine-0" / "train"))
    assert list(read_shards(one / "one" / "train"))
