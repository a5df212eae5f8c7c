"""What a person sees of a kept rehearsal in terminals of 80 and 200 columns, in a shell whose AWS profile is gone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from binventory.core.errors import Exit
from binventory.render import render_bucket
from tests.rehearsal.kept import LOST
from tests.terminal import Seen, typed

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]
WIDTHS = (80, 200)
ROWS = {
    "endpoint": ("endpoint", "status"),
    "watch": ("watch", "{execution}"),
    "count": ("count", "bins/bin-images/00100.jpg", "bins/bin-images/00101.jpg"),
    "report": ("report", "{execution}", "-o", "run-{width}.html"),
    "spent": ("spent", "{execution}"),
    "nowhere": ("report", "-o", "/nonexistent/run.html"),
    "verbose": ("endpoint", "status", "--verbose"),
    "price": ("train", "--dry-run"),
    "asked": ("train",),
    "no machines": ("train", "--yes", "--set", "TrainingInstanceCount=0"),
    "no bucket": ("train", "--yes", "--photos", "s3://no-such-bucket-of-anybody/bins/"),
    "nothing runs": ("stop",),
    "approved": ("approve", "--dry-run"),
    "switched on": ("endpoint", "on", "--dry-run"),
    "audit": ("audit", "bins", "--output", "audit-{width}", "--dry-run"),
    "month": ("cost", "--traffic", "500"),
    "left": ("leftovers",),
    "misspelt": ("edpoint",),
}
ENDS = {
    "nowhere": Exit.USAGE, "asked": Exit.INTERRUPTED, "no machines": Exit.USAGE, "no bucket": Exit.USAGE,
    "misspelt": Exit.USAGE, "approved": Exit.NOT_READY,
}  # fmt: skip
SAID = {
    "price": "on demand",
    "no machines": "TrainingInstanceCount",
    "no bucket": "no-such-bucket-of-anybody",
    "nothing runs": "runs",
    "audit": "Nothing",
    "month": "serverless",
    "misspelt": "endpoint",
}


@pytest.fixture(scope="module")
def seen(kept: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Seen]:
    """Every row in both widths."""
    folder = tmp_path_factory.mktemp("it's a desk")
    render_bucket(folder / "bins", photos=2)
    execution = kept["execution"].rsplit("/", 1)[-1]
    keys = [(name, width) for width in WIDTHS for name in ROWS]
    lines = [([word.format(execution=execution, width=width) for word in ROWS[name]], width) for name, width in keys]
    found = typed(lines, folder, {**kept["kept"], **LOST})
    shown = dict(zip(keys, found, strict=True))
    reports = sorted(path.name for path in folder.glob("*.html"))
    assert reports == ["run-200.html", "run-80.html"], shown["report", 80].text
    return shown


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ROWS)
def test_a_command_ends_as_documented_and_fits(name: str, width: int, seen: dict[tuple[str, int], Seen]) -> None:
    found = seen[name, width]
    assert found.code == ENDS.get(name, Exit.OK), found.text
    assert "Traceback" not in found.text
    assert SAID.get(name, "") in found.text
    if name in ("watch", "count", "spent"):
        # Lines that are printed to be copied may be longer: an ARN, a command.
        drawn = [line for line in found.lines if not re.search(r"arn:|binventory |^Prices|^In the local AWS", line)]
        assert max(map(len, drawn)) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_one_instance_is_not_plural(width: int, seen: dict[tuple[str, int], Seen]) -> None:
    assert "InService, 1 instance Switch" in seen["endpoint", width].text


@pytest.mark.parametrize("width", WIDTHS)
def test_train_shows_the_epoch_that_was_kept_and_embed_its_rate(width: int, seen: dict[tuple[str, int], Seen]) -> None:
    lines = seen["watch", width].lines
    train = [line for line in lines if re.match(r"\S? *Train\b", line)][-1]
    assert re.search(r"kept epoch \d+, validation loss \d", train)
    embed = [line for line in lines if re.match(r"\S? *Embed\b", line)][-1]
    assert re.search(r"\d+ photos, [\d,]+/s", embed)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_count_shows_how_far_it_is(width: int, seen: dict[tuple[str, int], Seen]) -> None:
    lines = seen["count", width].lines
    assert any("Counting" in line and re.search(r"\d/2", line) for line in lines)
    assert any(line.startswith("bins/bin-images/00101.jpg") for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_verbose_names_the_calls_of_aws(width: int, seen: dict[tuple[str, int], Seen]) -> None:
    assert "AWS sagemaker DescribeEndpoint: 200" in seen["verbose", width].text
    assert "AWS sagemaker" not in seen["endpoint", width].text
