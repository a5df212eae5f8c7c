"""Reads the eight Dockerfile instructions that the serving image needs and that need no container engine.

Every other instruction, option and form is refused by name and line: an image that deploys here must not differ on AWS
because part of its Dockerfile was skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUPPORTED = ("FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "ENTRYPOINT")


class DockerfileError(ValueError):
    """A part of a Dockerfile that cannot be built without Docker; the message has the line and the cure."""


@dataclass(frozen=True)
class Instruction:
    """One instruction, which is one line.

    Args:
        line: its number, from 1.
        name: upper case, one of `SUPPORTED`.
        text: what follows the name.
    """

    line: int
    name: str
    text: str

    def exec_form(self) -> tuple[str, ...]:
        """The arguments of `["PROGRAM", "ARGUMENT"]`; raises `DockerfileError` for any other form."""
        try:
            words = json.loads(self.text)
        except ValueError:
            words = None
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            raise self.refuse('write it as a JSON array, for example ["python", "server.py"]')
        return tuple(words)

    def refuse(self, why: str) -> DockerfileError:
        """An error that points to this instruction."""
        return DockerfileError(f"Dockerfile line {self.line}: {self.name} {self.text!r}: {why}")


def read(path: Path) -> Iterator[Instruction]:
    """The instructions of a Dockerfile in their order; raises `DockerfileError` for what is not supported."""
    for number, raw in enumerate(path.read_text().splitlines(), start=1):
        name, _, text = raw.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        instruction = Instruction(number, name.upper(), text.strip())
        if instruction.name not in SUPPORTED:
            raise instruction.refuse(f"{instruction.name} is not supported without Docker; {', '.join(SUPPORTED)} are")
        if instruction.text.endswith("\\"):
            raise instruction.refuse("write the instruction on one line; continuation needs Docker")
        if "$" in instruction.text:
            raise instruction.refuse("write the value itself; variables are not replaced without Docker")
        if instruction.text.startswith("--"):
            raise instruction.refuse(f"{instruction.text.split()[0]} is not supported without Docker")
        yield instruction
