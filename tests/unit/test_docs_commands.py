"""Each command that a page shows runs: scripts and benchmarks start, and cdk, aws and binventory know what is typed.

README and tutorial are typed as a whole by tests/rehearsal/test_followed_docs.py; tests/unit/test_docs.py looks up the
commands and flags of binventory, the targets of make, and settings.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.session import Session

from binventory.render import render_bucket
from stacks.vocabulary import CLASSES
from tests.unit.test_docs import PAGES, REPOSITORY, text_of

# Programs of others, whose commands are not looked at here: nothing of the project is in them but addresses and names.
OTHERS = frozenset({"cd", "curl", "docker", "gh", "git", "pip", "source"})
LOOKED_AT = frozenset({"aws", "binventory", "cdk", "export", "make", "npx", "python"})
_FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_PROGRAM = re.compile(rf"(?:{'|'.join(sorted(OTHERS | LOOKED_AT))})\s+[\w./<-]")


@dataclass(frozen=True)
class Typed:
    """A command of a page."""

    page: str
    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    """Variables before it, and those that its block exports."""

    @property
    def flags(self) -> set[str]:
        return {word.split("=")[0] for word in self.words if word.startswith("-") and word != "-"}


def _typed(page: str) -> Iterator[Typed]:
    text = text_of(page)
    for block in _FENCED.findall(text):
        exported: dict[str, str] = {}
        for line in block.splitlines():
            for found in _of_line(page, line, exported):
                if found.words[0] == "export":
                    exported |= dict(word.split("=", 1) for word in found.words[1:] if "=" in word)
                yield found
    for span in re.findall(r"`([^`\n]+)`", _FENCED.sub("", text)):
        yield from _of_line(page, span, {})


def _of_line(page: str, line: str, exported: dict[str, str]) -> Iterator[Typed]:
    line = re.sub(r"\s+#.*", "", line.strip().removeprefix("$ ").removeprefix(".venv/bin/"))
    variables: dict[str, str] = {}
    while match := _ASSIGNMENT.match(line):
        name, _, value = match[0].partition("=")
        variables[name] = value
        line = line[match.end() :].lstrip()
    if not _PROGRAM.match(line):
        return
    try:
        words = shlex.split(re.split(r" \|\|? | && | 2>&1", line)[0])
    except ValueError:
        return  # a sentence with an apostrophe
    yield Typed(page, tuple(words), tuple({**exported, **variables}.items()))


@cache
def commands() -> tuple[Typed, ...]:
    """Every command of every page."""
    return tuple(found for page in PAGES for found in _typed(page))


def of(program: str) -> list[Typed]:
    return [found for found in commands() if found.words[0] == program]


def clean(variables: dict[str, str]) -> dict[str, str]:
    """The environment of a new shell in the checkout that has activated `.venv`: nothing else that tests set."""
    kept = {name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "PATH", "TMPDIR"}}
    return {**kept, "OMP_NUM_THREADS": "1", **variables}


def help_of(words: list[str], variables: dict[str, str]) -> str:
    shown = subprocess.run(
        words, cwd=REPOSITORY, env=clean(variables), capture_output=True, text=True, check=False, timeout=300
    )
    assert shown.returncode == 0, f"{shlex.join(words)}\n{shown.stderr}"
    return shown.stdout


def test_the_pages_show_commands_of_every_kind() -> None:
    assert {found.words[0] for found in commands()} >= LOOKED_AT
    assert len(of("python")) >= 15


@cache
def _script_help(script: str, variables: tuple[tuple[str, str], ...]) -> str:
    return help_of([sys.executable, script, "--help"], dict(variables))


@pytest.mark.parametrize(
    "typed", [found for found in of("python") if found.words[1] != "-m"], ids=lambda found: " ".join(found.words)[:60]
)
def test_a_script_starts_as_it_is_typed_and_knows_its_flags(typed: Typed) -> None:
    shown = _script_help(typed.words[1], typed.environment)
    for flag in typed.flags - {"--help"}:
        assert flag in shown, flag


_ALL = """
import contextlib, io, runpy, sys
for module in sys.argv[1:]:
    sys.argv = [module, "--help"]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, module
    print("=", module)
    print(out.getvalue())
"""


def test_every_module_starts_and_knows_its_flags() -> None:
    """In one process, since most of their time is imports."""
    typed = [found for found in of("python") if found.words[1] == "-m"]
    modules = sorted({found.words[2] for found in typed})
    shown = help_of([sys.executable, "-c", _ALL, *modules], {})
    helps = dict(part.partition("\n")[::2] for part in shown.split("= ")[1:])
    for found in typed:
        for flag in found.flags - {"-m", "--help"}:
            assert flag in helps[found.words[2]], shlex.join(found.words)


def test_cdk_knows_what_is_typed() -> None:
    typed = [*of("cdk"), *(found for found in of("npx") if found.words[1] == "cdk")]
    by_command: dict[str, set[str]] = {}
    for found in typed:
        words = found.words[found.words.index("cdk") + 1 :]
        by_command.setdefault(words[0], set()).update(found.flags)
        assert words[0] != "gc" or "--unstable=gc" in words, "without it the CDK refuses the command"
    assert {"bootstrap", "deploy", "destroy"} <= set(by_command)
    of_all = _cdk_help()
    for command, flags in by_command.items():
        assert re.search(rf"^  cdk {command}\b", of_all, flags=re.MULTILINE), command
        own = {flag for flag in flags if not _shows(of_all, flag)}
        shown = _cdk_help(command) if own else ""
        assert {flag for flag in own if not _shows(shown, flag)} == set(), f"cdk {command}"


def _cdk_help(*command: str) -> str:
    """What every command takes, and the names of all; or what one of them takes."""
    return help_of([str(REPOSITORY / "node_modules" / ".bin" / "cdk"), *command, "--help"], {"NO_COLOR": "1"})


def _shows(shown: str, flag: str) -> bool:
    return re.search(rf"(?:^|[\s,]){re.escape(flag)}\b", shown, flags=re.MULTILINE) is not None


@pytest.mark.parametrize("typed", [f for f in of("aws") if f.words[1] != "sso"], ids=lambda f: " ".join(f.words)[:60])
def test_aws_knows_what_is_typed(typed: Typed) -> None:
    _, service, operation, *_ = typed.words
    model = Session().get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    assert operation in operations, shlex.join(typed.words)
    shape = model.operation_model(operations[operation]).input_shape
    known = {f"--{xform_name(name, '-')}" for name in (shape.members if shape else {})}
    # A flag of a boolean has a form that says no.
    known |= {flag.replace("--", "--no-", 1) for flag in known}
    assert typed.flags <= known, typed.flags - known


def test_photos_that_are_counted_have_a_record_that_the_model_knows(tmp_path: Path) -> None:
    """In the README and the tutorial. The first bins are the same, however many are rendered."""
    words = {word for found in of("binventory") for word in found.words}
    counted = {Path(word).stem for word in words if "bin-images/" in word and "://" not in word}  # no photo of a bucket
    assert counted
    records = render_bucket(tmp_path, photos=24).counts
    assert {records[name] for name in counted} <= set(CLASSES)
