"""Claims of benchmarks: programs can read their names, docs/measurements.md lists them, and they decide the exit."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "measurements.md"
NAME = r"[a-z0-9]+(?:_[a-z0-9]+)*"


def claimed() -> Iterator[str]:
    """A regular expression of each claim's name, as the benchmarks' code says it."""
    for path in sorted((REPOSITORY / "benchmarks").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "claim":
                yield pattern(node.args[0], path)


def pattern(name: ast.expr, path: Path) -> str:
    if isinstance(name, ast.Constant):
        return re.escape(str(name.value))
    assert isinstance(name, ast.JoinedStr), f"{path.name}:{name.lineno} names a claim by neither a text nor an f-string"
    parts = (re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[a-z0-9_]*" for part in name.values)
    return "".join(parts)


def ended(script: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys\nfrom benchmarks.claims import claim, exit_status\n{script}\nsys.exit(exit_status())"
    return subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)


def test_the_page_lists_every_claim_and_no_other() -> None:
    listed = {
        name
        for cell in re.findall(r"^\| (`[^|]*)\|", PAGE.read_text(), flags=re.MULTILINE)
        for name in re.findall(rf"`({NAME})`", cell)
    }
    patterns = set(claimed())
    assert {name for name in listed if not any(re.fullmatch(one, name) for one in patterns)} == set()
    assert {one for one in patterns if not any(re.fullmatch(one, name) for name in listed)} == set()


@pytest.mark.parametrize(
    ("script", "line", "status"),
    [
        ("claim('rate', 3.0, at_least=2)", "claim: rate 3 goal >=2 held", 0),
        ("claim('rate', 2.0, at_least=2)", "claim: rate 2 goal >=2 held", 0),
        ("claim('rate', 1.5, at_least=2)", "claim: rate 1.5 goal >=2 missed", 1),
        ("claim('seconds', 2.25, at_most=2)", "claim: seconds 2.25 goal <=2 missed", 1),
        ("claim('seconds', float('nan'), at_most=2)", "claim: seconds nan goal <=2 missed", 1),
        ("claim('seconds', 3, at_most=2)\nclaim('rate', 3, at_least=2)", "claim: rate 3 goal >=2 held", 1),
    ],
)  # fmt: skip
def test_a_missed_claim_is_the_exit_status(script: str, line: str, status: int) -> None:
    found = ended(script)
    assert (found.stdout.splitlines()[-1], found.returncode) == (line, status), found.stderr


@pytest.mark.parametrize(
    ("script", "refusal"),
    [
        ("claim('RMSE, frozen', 1, at_most=2)", "'RMSE, frozen' is no name of a claim"),
        ("claim('rmse', 1)", "rmse has one goal: at_least or at_most"),
        ("claim('rmse', 1, at_least=1, at_most=2)", "rmse has one goal: at_least or at_most"),
    ],
)
def test_a_name_or_goal_that_programs_cannot_read_is_refused(script: str, refusal: str) -> None:
    found = ended(script)
    assert found.returncode == 1 and refusal in found.stderr and not found.stdout


@pytest.mark.parametrize("path", sorted((REPOSITORY / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_ends_with_the_status_of_its_claims(path: Path) -> None:
    text = path.read_text()
    if "import claim, exit_status" in text:
        assert "    return exit_status()\n" in text and text.endswith("    sys.exit(main())\n")
    else:
        assert "claims import claim" not in text
