"""Reads the part of the Dockerfile language that can be carried out without a container engine.

Anything else is refused by name and line: an image that deploys here must not differ on AWS because an instruction was
skipped in silence.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SUPPORTED = frozenset(
    {"FROM", "ARG", "ENV", "LABEL", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL", "SHELL"}
    | {"HEALTHCHECK", "ENTRYPOINT", "CMD", "MAINTAINER"}
)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::-([^}]*))?\})")


class DockerfileError(ValueError):
    """Something in a Dockerfile that cannot be carried out; the message has file, line and what to do instead."""


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Args:
        line: where it starts, from 1.
        name: upper case.
        flags: its leading `--name=value` options.
        text: the rest, continuation lines joined.
    """

    line: int
    name: str
    flags: dict[str, str]
    text: str

    def words(self) -> list[str]:
        """The arguments: a JSON array as it is, anything else split as a shell would."""
        return self.exec_form() or shlex.split(self.text)

    def exec_form(self) -> list[str] | None:
        """The arguments when they are written as a JSON array of strings."""
        if not self.text.startswith("["):
            return None
        try:
            words = json.loads(self.text)
        except ValueError:
            return None
        return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None

    def refuse(self, why: str) -> DockerfileError:
        """An error that points here."""
        return DockerfileError(f"Dockerfile line {self.line}: {self.name} {self.text!r}: {why}")


def parse(path: Path) -> list[Instruction]:
    """The instructions of a Dockerfile; raises `DockerfileError` for one that is not supported."""
    instructions = []
    for line, text in _logical_lines(path.read_text()):
        name, _, rest = text.partition(" ")
        name = name.upper()
        if name not in SUPPORTED:
            known = ", ".join(sorted(SUPPORTED))
            raise DockerfileError(f"Dockerfile line {line}: {name} is not supported without Docker (known: {known})")
        flags, rest = _flags(rest.strip())
        if "<<" in rest and name in {"RUN", "COPY"}:
            raise DockerfileError(f"Dockerfile line {line}: here-documents are not supported without Docker")
        instructions.append(Instruction(line, name, flags, rest))
    if not instructions or instructions[0].name not in {"FROM", "ARG"}:
        raise DockerfileError("A Dockerfile starts with FROM")
    return instructions


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$NAME`, `${NAME}` and `${NAME:-default}`; unknown names become empty, as Docker does."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        return variables.get(name) or match.group(3) or ""

    return _VARIABLE.sub(value, text)


def pairs(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """The `KEY=VALUE ...` (or `KEY VALUE`) arguments of ENV, LABEL and ARG."""
    words = shlex.split(instruction.text)
    if words and "=" not in words[0] and instruction.name != "ARG":
        yield words[0], " ".join(words[1:])
        return
    for word in words:
        key, _, value = word.partition("=")
        yield key, value


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    parts: list[str] = []
    start = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if line.startswith("#") or (not line and not parts):
            continue
        if not parts:
            start = number
        continued = line.endswith("\\")
        parts.append(line[:-1].strip() if continued else line)
        if not continued:
            yield start, " ".join(part for part in parts if part)
            parts = []
    if parts:
        yield start, " ".join(part for part in parts if part)


def _flags(rest: str) -> tuple[dict[str, str], str]:
    flags: dict[str, str] = {}
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        key, _, value = flag[2:].partition("=")
        flags[key] = value
        rest = rest.strip()
    return flags, rest
