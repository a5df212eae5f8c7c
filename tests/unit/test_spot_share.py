"""What spot costs is one figure: binventory/cost/lines.py has it, and every page, message and the local AWS agree."""

from __future__ import annotations

import re

import pytest

from binventory.cost.lines import SPOT_SHARE
from local_aws.jobs import training_run
from tests.unit.test_prose import passages, text_of, written_here

_SPOT = re.compile(r"\bspot\b", re.IGNORECASE)
_MONEY = re.compile(r"\b(?:costs?|price[sd]?|dollars?|charged|cheaper|billed|bills?|of on demand)\b", re.IGNORECASE)
_FIGURE = re.compile(
    r"\b(?:half|(?:a|one|two)[- ]thirds?|(?:a|three)[- ]quarters?|twice|double|three times)\b"
    r"|\b\d+(?:\.\d+)?(?: ?%| per cent)",
    re.IGNORECASE,
)
# What AWS says itself ("up to 90% less"), and the EC2 prices from which the figure was taken.
_QUOTED = ("up to 90%", "42 to 50%")


def figures(text: str) -> list[str]:
    """The shares in sentences (or cells of a table) about what spot costs."""
    for quoted in _QUOTED:
        text = text.replace(quoted, "")
    rows = re.split(r"\n(?=\|)", text)
    sentences = [one for row in rows for one in re.split(r"(?<=[.;:])\s+" if row[:1] != "|" else r"\n", row)]
    about = [" ".join(one.split()) for one in sentences if _SPOT.search(one) and _MONEY.search(one)]
    return [match[0].lower() for one in about for match in _FIGURE.finditer(one)]


def test_every_page_and_message_says_the_same() -> None:
    same = {0.5: {"half", "twice", "50%"}}[SPOT_SHARE]
    found = {
        f"{name}:{line}: {figure}"
        for name in written_here()
        if not name.startswith("tests/")
        for line, passage in passages(name, text_of(name))
        for figure in figures(passage)
        if figure not in same
    }
    assert found == set()


def test_the_local_aws_bills_the_same_share() -> None:
    assert training_run._SPOT_SHARE == SPOT_SHARE


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Spot costs about a third of the price.", ["a third"]),
        ("Run on spot capacity, for about half\nof the price.", ["half"]),
        ("| spot | 50% of on demand | of EC2, 42 to 50% |", ["50%"]),
        ("A spot job is billed at 70% of its time.", ["70%"]),
        ("Spot may be interrupted. A third of the trials ends early.", []),
    ],
)
def test_a_figure_is_found_wherever_it_is(text: str, found: list[str]) -> None:
    assert figures(text) == found
