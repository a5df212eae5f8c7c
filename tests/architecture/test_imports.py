"""Who may import whom: no circle anywhere, and no import that docs/architecture.md does not allow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.architecture.imports import REPOSITORY, Import, files, imports

_HEADER = re.compile(r"^\| folder \|.*\| may import \|$", re.MULTILINE)
_NAME = re.compile(r"`([^`]+)`")


def allowed() -> dict[str, list[str]]:
    """What each folder or file may import beside itself: the tables of the page, folder by folder.

    A name that ends in `/` is a folder, in `.py` a file; any other is a package that is not ours.
    """
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    found: dict[str, list[str]] = {}
    for header in _HEADER.finditer(text):
        rows = text[header.end() :].split("\n\n")[0].strip().splitlines()[1:]
        for row in rows:
            cells = row.strip("|").split("|")
            for folder in _NAME.findall(cells[0]):
                found[folder] = _NAME.findall(cells[-1])
    return found


def row_of(name: str, table: Iterable[str]) -> str | None:
    """The most precise row of the table that a file falls under."""
    return max((row for row in table if name == row or name.startswith(row)), key=len, default=None)


def refused(item: Import, table: dict[str, list[str]]) -> str | None:
    """Why an import is not allowed; None when it is."""
    row = row_of(item.importer, table)
    may = table[row] if row else []
    where = f"{item.importer}:{item.line}"
    if not item.is_ours:
        named = {name for names in table.values() for name in names}
        return f"{where} imports {item.target}" if item.target in named and item.target not in may else None
    own = [row] if row else []
    inside = any(item.target == name or (name.endswith("/") and item.target.startswith(name)) for name in [*own, *may])
    return None if inside else f"{where} imports {item.target}"


def test_no_import_runs_in_a_circle() -> None:
    """Of the whole project; imports inside functions and for type checking count."""
    graph: dict[str, set[str]] = {}
    for item in imports():
        if item.is_ours and item.target != item.importer:
            graph.setdefault(item.importer, set()).add(item.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these files import each other: {' -> '.join(reversed(error.args[1]))}")


def test_every_import_is_one_that_the_page_allows() -> None:
    """The page is the source: to allow an import, change the page."""
    table = allowed()
    assert [why for item in imports() if (why := refused(item, table))] == []


def test_every_file_has_a_row_and_every_row_a_file() -> None:
    """So a new folder needs a row, and a row without a folder has to go."""
    table = allowed()
    assert [name for name in files() if row_of(name, table) is None] == []
    assert [row for row in table if not any(name == row or name.startswith(row) for name in files())] == []


def test_only_one_folder_imports_ministack() -> None:
    """Its internals move with each release, so what touches them is in one place."""
    importers = {item.importer.rpartition("/")[0] for item in imports() if item.target == "ministack"}
    assert importers == {"local_aws/ministack"}


@pytest.mark.parametrize(
    ("importer", "target", "is_allowed"),
    [
        ("local_aws/core/context.py", "local_aws/ministack/iam.py", True),
        ("local_aws/core/context.py", "local_aws/jobs/running.py", False),
        ("local_aws/ministack/iam.py", "local_aws/core/errors.py", False),
        ("local_aws/registry.py", "local_aws/jobs/training.py", True),
        ("local_aws/hosting/fleet.py", "ministack", False),
        ("local_aws/hosting/fleet.py", "botocore", True),
        ("binventory/rehearsal/run.py", "local_aws/server.py", True),
        ("binventory/rehearsal/run.py", "local_aws/core/context.py", False),
        ("binventory/cost/launch.py", "binventory/assembly/definitions.py", True),
        ("binventory/cost/launch.py", "binventory/rehearsal/run.py", False),
        ("binventory/batch/estimate.py", "binventory/audit/plan.py", False),
        ("training_code/train.py", "aws_cdk", False),
        ("stacks/pipeline/train.py", "training_code/train.py", False),
    ],
)
def test_the_tables_are_read_as_they_are_meant(importer: str, target: str, is_allowed: bool) -> None:
    """Planted imports, allowed and not."""
    assert (refused(Import(importer, target, 1), allowed()) is None) == is_allowed
