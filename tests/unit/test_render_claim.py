"""`binventory render` writes into a new, an empty or a rendered folder, and never over files of somebody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from binventory.render.claim import MARK, claim, is_rendered


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["bin-images/00100.jpg", "metadata/00100.json", "notes.txt", "deep/er/x"])
def test_a_folder_with_files_of_somebody_else_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / name
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text("mine")
    assert run(["render", str(tmp_path), "--photos", "2"]) == Exit.USAGE
    what, why, cure = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in what and name in why and "empty folder" in cure
    assert files(tmp_path) == {name} and theirs.read_text() == "mine"


def test_a_link_to_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "bins").mkdir()
    (tmp_path / "bins" / "bin-images").symlink_to(tmp_path / "theirs")
    assert run(["render", str(tmp_path / "bins"), "--photos", "2"]) == Exit.USAGE
    assert os.listdir(tmp_path / "theirs") == []


def test_a_rendering_is_replaced_by_the_next_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "it's a folder"
    assert run(["render", str(folder), "--photos", "14", "--wrong-records", "1"]) == Exit.OK
    first = files(folder)
    assert is_rendered(folder) and {MARK, "wrong.csv", "bin-images/00201.jpg"} <= first
    assert run(["render", str(folder), "--photos", "2"]) == Exit.OK
    assert files(folder) == {MARK, *(f"{part}/0010{n}.{end}" for part, end in KINDS for n in (0, 1))}
    assert "2 bins and 0 ids with a defect" in capsys.readouterr().out


KINDS = (("bin-images", "jpg"), ("metadata", "json"))


def test_a_photo_that_was_put_beside_rendered_ones_stays(tmp_path: Path) -> None:
    assert run(["render", str(tmp_path), "--photos", "2"]) == Exit.OK
    (tmp_path / "bin-images" / "77777.jpg").write_bytes(b"mine")
    before = files(tmp_path)
    assert run(["render", str(tmp_path), "--photos", "1"]) == Exit.USAGE
    assert files(tmp_path) == before


def test_an_interrupted_rendering_can_be_started_again(tmp_path: Path) -> None:
    claim(tmp_path, 300)
    (tmp_path / "bin-images").mkdir()
    (tmp_path / "bin-images" / "00103.jpg").write_bytes(b"half")
    assert run(["render", str(tmp_path), "--photos", "1"]) == Exit.OK
    assert "bin-images/00103.jpg" not in files(tmp_path)
