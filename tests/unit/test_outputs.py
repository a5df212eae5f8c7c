"""Files that commands write for people are whole, or what they were before."""

from __future__ import annotations

import subprocess
import sys
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


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_is_written_and_not_replaced_where_it_is_a_file(name: str, tmp_path: Path) -> None:
    """`--output /dev/stdout > answers.jsonl`: as root, `/dev/stdout` itself became that file for every program."""
    with (tmp_path / "answers.jsonl").open("w") as answers:
        code = "from pathlib import Path; from binventory.core.outputs import write_text; print(1); {}; print(3)"
        write = f"write_text(Path({name!r}), '2\\n')"
        subprocess.run([sys.executable, "-c", code.format(write)], stdout=answers, check=True)
    assert (tmp_path / "answers.jsonl").read_text() == "1\n2\n3\n"
    assert Path("/dev/stdout").is_symlink()


def test_a_link_keeps_its_place(tmp_path: Path) -> None:
    """As `newest.html` that leads into another folder."""
    (tmp_path / "runs").mkdir()
    link = tmp_path / "newest.html"
    link.symlink_to("runs/1.html")
    check_file(link, "--output")
    for text in ("first", "second"):
        write_text(link, text)
        assert link.is_symlink() and (tmp_path / "runs" / "1.html").read_text() == text
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_two_commands_that_write_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    """The part of each is its own: the first to end took the file of the other away, which then failed."""
    path = tmp_path / "run.html"
    with writing(path) as stream:
        stream.write("here")
        write = f"write_text(Path({str(path)!r}), 'there')"
        other = f"from pathlib import Path; from binventory.core.outputs import write_text; {write}"
        subprocess.run([sys.executable, "-c", other], check=True)
        assert path.read_text() == "there"
    assert path.read_text() == "here" and list(tmp_path.iterdir()) == [path]
