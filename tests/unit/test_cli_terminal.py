"""Commands in terminals of 80 and 200 columns: nothing is wider, no failure is a traceback, progress has its rate."""

from __future__ import annotations

from pathlib import Path

import pytest

from binventory.core.errors import Exit
from tests.terminal import Seen, typed

WIDTHS = (80, 200)
NOBODY = {
    "AWS_PROFILE": "nonexistent", "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true", "BINVENTORY_ENV": "dev",
}  # fmt: skip
# The words that are typed, the exit code, and a part of the output.
ROWS: tuple[tuple[tuple[str, ...], Exit, str], ...] = (
    (("--version",), Exit.OK, "binventory "),
    (("--help",), Exit.OK, "Exit codes: 0 done"),
    ((), Exit.USAGE, "Usage: binventory"),
    (("rehears",), Exit.USAGE, "Did you mean 'rehearse'"),
    (("train", "--photo", "x"), Exit.USAGE, "--photos"),
    (("doctor", "--env", "stage"), Exit.USAGE, "must be one of dev, prod"),
    (("endpoint", "status"), Exit.NOT_READY, "The AWS profile nonexistent does not exist"),
    (("report", "-o", "/nonexistent/x"), Exit.USAGE, "there is no folder /nonexistent"),
    (("render", "/proc/x"), Exit.USAGE, "/proc/x"),
    (("render", "theirs"), Exit.USAGE, "holds files that were not rendered"),
    (("count", "bin.jpg", "--output", "/proc/none/x"), Exit.USAGE, "there is no folder /proc/none"),
    (("render", "drawn at {width}", "--photos", "60"), Exit.OK, "ids with a defect in drawn at {width}"),
    (("render", "quiet at {width}", "--photos", "2", "--quiet"), Exit.OK, "2 bins"),
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Seen]:
    """Every row in both widths."""
    folder = tmp_path_factory.mktemp("it's a desk")
    (folder / "theirs").mkdir()
    (folder / "theirs" / "photo.jpg").write_bytes(b"mine")
    lines = [([word.format(width=width) for word in words], width) for width in WIDTHS for words, _, _ in ROWS]
    found = typed(lines, folder, NOBODY)
    assert (folder / "theirs" / "photo.jpg").read_bytes() == b"mine"
    keys = [(" ".join(words), width) for width in WIDTHS for words, _, _ in ROWS]
    return dict(zip(keys, found, strict=True))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[0]) or "nothing")
def test_a_command_in_a_terminal(
    row: tuple[tuple[str, ...], Exit, str], width: int, seen: dict[tuple[str, int], Seen]
) -> None:
    words, code, said = row
    found = seen[" ".join(words), width]
    assert found.code == code, found.text
    assert said.format(width=width) in found.text
    assert "Traceback" not in found.text
    if code is not Exit.OK and words:
        what, why, cure = (line for line in found.lines if line)
        assert what.endswith(".") and why.startswith("Why: ") and cure.startswith("Do:  ")
    else:
        assert max(map(len, found.lines)) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_rendering_shows_how_fast_it_is_and_how_long_it_takes(width: int, seen: dict[tuple[str, int], Seen]) -> None:
    drawn = seen["render drawn at {width} --photos 60", width].lines
    assert any("Rendering" in line and "/60" in line and "/s" in line and "0:00" in line for line in drawn)
    assert not any("Rendering" in line for line in seen["render quiet at {width} --photos 2 --quiet", width].lines)


def test_a_single_bin_is_one_bin(tmp_path: Path) -> None:
    (shown,) = typed([(("render", "bins", "--photos", "1"), 80)], tmp_path)
    assert [line for line in shown.lines if line][-1] == "1 bin and 0 ids with a defect in bins"
