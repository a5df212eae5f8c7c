"""The files that `make docs` writes are up to date."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import aws_cdk as cdk
import boto3
import pytest
from rich.console import Console

import app as application
from binventory.assembly.definitions import definitions
from binventory.cli.launching import show_launch
from binventory.core.aws import Aws
from binventory.core.known_photos import KnownPhotos
from binventory.cost.launch import of_execution
from docs.generate.pages import generated
from docs.generate.settings_page import settings_page
from stacks.settings import load
from tests.conftest import NAMES
from tests.stacks.templates import templates


@pytest.fixture(scope="module")
def written(repository: Path) -> dict[str, str]:
    """Every generated file with its content."""
    context = json.loads((repository / "cdk.json").read_text())["context"]
    app = cdk.App(context=context, builtin_cloud_formation_validation=False, analytics_reporting=False)
    application.build(app, load("dev"))
    return generated(Path(app.synth().directory), repository)


def test_nothing_is_stale(written: dict[str, str], repository: Path) -> None:
    stale = [name for name, content in written.items() if (repository / name).read_text() != content]
    assert not stale, "run: make docs"


def test_the_screen_before_a_start_is_that_of_the_default_settings(repository: Path) -> None:
    (pipeline,) = definitions(list(templates("dev").values()))
    aws = Aws(boto3.Session(region_name="us-east-1"))
    launch = of_execution(pipeline, {}, names=NAMES, aws=aws, photos=KnownPhotos(10_000))
    console = Console(file=io.StringIO(), width=100)
    show_launch(replace(launch, notes=()), console)  # the notes have the age of the prices
    assert isinstance(console.file, io.StringIO)
    shown = "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()).strip()
    assert f"{shown}\nExpected for 10,000 photos" in (repository / "docs" / "costs.md").read_text()


def test_every_resource_people_look_for_is_in_the_picture(written: dict[str, str]) -> None:
    text = "".join(ET.fromstring(written["docs/pictures/stacks.svg"]).itertext())
    for name in ("Storage stack", "Training stack", "Serving stack", "Money stack", "Monitoring stack",
                 "pipeline binventory-dev", "endpoint binventory-dev", "dashboard binventory-dev"):  # fmt: skip
        assert name in text


def test_every_step_is_in_the_picture(written: dict[str, str]) -> None:
    text = "".join(ET.fromstring(written["docs/pictures/pipeline.svg"]).itertext())
    for step in ("Ingest", "Embed", "Tune", "Train", "Evaluate", "Gate", "Register", "Refuse", "Promotion", "Endpoint"):
        assert step in text


@pytest.mark.parametrize("name", ["docs/pictures/stacks.svg", "docs/pictures/pipeline.svg"])
def test_no_text_leaves_its_picture(written: dict[str, str], name: str) -> None:
    """Nor its card: eight pixels a character are more than the font takes on average."""
    root = ET.fromstring(written[name])
    space = "{http://www.w3.org/2000/svg}"
    cards = [{key: int(card.attrib[key]) for key in ("x", "y", "width", "height")}
             for card in root.findall(f"{space}rect") if "box" in card.attrib["class"]]  # fmt: skip
    for text in root.findall(f"{space}text"):
        x, y, words = int(text.attrib["x"]), int(text.attrib["y"]), text.text or ""
        inside = [card for card in cards if card["x"] <= x < card["x"] + card["width"]
                  and card["y"] <= y < card["y"] + card["height"]]  # fmt: skip
        for card in inside:
            assert x + 7 * len(words) <= card["x"] + card["width"] + 7, words


def test_every_setting_says_what_it_means() -> None:
    empty = re.findall(r"^\| `(\w+)` \|.*\|  \|$", settings_page(), flags=re.MULTILINE)
    assert not empty, "write a string below these fields"
