"""Files that commands write for people are whole, or what they were before."""

from __future__ import annotations

from pathlib import Path

import pytest

from binventory.core.errors import Exit, Problem
from binventory.core.outputs import check_file, check_folder, write_text, writing


def test_a_file_is_there_when_its_last_line_is(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with writing(path) as stream:
        stream.write("1\n")
        assert not path.exists()
    assert path.read_text() == "1\n" and list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write_text(path, "before")
    with pytest.raises(KeyboardInterrupt), writing(path) as stream:
        stream.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_place_that_may_not_be_written_is_refused_by_its_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.html").touch()
    monkeypatch.setattr("os.access", lambda place, mode: False)  # root may write everywhere
    for path, named in ((tmp_path / "run.html", tmp_path / "run.html"), (tmp_path / "new.html", tmp_path)):
        with pytest.raises(Problem, match=rf"--report {path} cannot be written: {named} may not be written") as caught:
            check_file(path, "--report")
        assert caught.value.code is Exit.USAGE and caught.value.cure == "name another place"
    with pytest.raises(Problem, match=rf"{tmp_path} may not be written") as caught:
        check_folder(tmp_path / "audit", "--output")
    assert caught.value.cure == "name another folder" and not (tmp_path / "audit").exists()


def test_a_device_is_written_as_it_is() -> None:
    write_text(Path("/dev/null"), "gone")
    assert Path("/dev/null").is_char_device()
