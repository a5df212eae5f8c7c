"""Links, commands, flags, settings, make targets and messages in the documentation exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from binventory.cli import app
from stacks.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(["README.md", "SECURITY.md", *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))])
SOURCES = (
    "stacks", "binventory", "lambda_code", "training_code", "inference_code", "local_aws", "environment", "app.py",
)  # fmt: skip


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text()


@cache
def root() -> Any:
    """The command line with all its commands."""
    return typer.main.get_command(app)


def command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and what is left of them."""
    found = root()
    while words and hasattr(found, "commands") and not words[0].startswith("-"):
        assert words[0] in found.commands, f"binventory {words[0]}"
        found, words = found.commands[words[0]], words[1:]
    return found, words


def typed(page: str) -> Iterator[list[str]]:
    """Every command line that a page shows, in a block or in a sentence, as words."""
    text = text_of(page)
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in lines + spans:
        line = re.sub(r"\s+#.*| \|\| .*", "", line.strip())
        if match := re.match(r"(?:\$ )?(?:\.venv/bin/)?binventory (.*)", line):
            yield shlex.split(match[1].replace("(", "").replace(")", ""))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_flags_exist(page: str) -> None:
    for words in typed(page):
        found, rest = command(words)
        flags = {flag for parameter in found.params for flag in (*parameter.opts, *parameter.secondary_opts)} | {"-h"}
        flags |= {"--help", "--install-completion"}
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.split("=")[0] in flags, f"binventory {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES)
def test_settings_and_their_variables_exist(page: str) -> None:
    text = text_of(page)
    groups = {name: field.annotation for name, field in Settings.model_fields.items()}
    sections = {name: group for name, group in groups.items() if hasattr(group, "model_fields")}
    named = re.findall(rf"`({'|'.join(sections)})\.(?!(?:json|py|html|md|yaml)\b)(\w+)(?::[^`]*)?`", text)
    variables = [tuple(found.lower().split("__")) for found in re.findall(r"BINVENTORY_(\w+__\w+)=", text)]
    for section, field in [*named, *variables]:
        model: Any = sections[section]  # an unknown one fails here
        assert field in model.model_fields, f"{section}.{field}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text_of(page), flags=re.MULTILINE)) <= targets


def test_every_symptom_in_quotes_is_a_message_of_the_code() -> None:
    table = text_of("docs/operations.md").split("## Routine")[0]
    symptoms = [row.split("|")[1] for row in table.splitlines() if row.startswith("| ") and "---" not in row]
    quoted = [part for symptom in symptoms for part in re.findall(r"`([^`]+)`", symptom) if " " in part]
    code = "\n".join(
        path.read_text()
        for source in SOURCES
        for path in ([REPOSITORY / source] if source.endswith(".py") else (REPOSITORY / source).rglob("*.py"))
    )
    assert quoted
    for message in quoted:
        # What stands for a name in the page is a placeholder in the code.
        assert all(part.strip() in code for part in message.split("...") if part.strip()), message
