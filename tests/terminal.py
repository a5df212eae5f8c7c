"""Command lines typed in a pseudo-terminal of a chosen width; one process imports what they share and forks each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """
import fcntl, json, os, pty, struct, sys, termios
import typer.rich_utils, rich.live, rich.progress, rich.table, botocore.exceptions

def typed(arguments, columns):
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        sys.argv = ["binventory", *arguments]
        from binventory.cli import main
        main()
    os.write(terminal, b"\\x04")  # a question gets the end of the input for an answer
    parts = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            part = b""
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), b"".join(parts).decode(errors="replace")

lines = json.load(sys.stdin)
print(json.dumps([typed(arguments, columns) for arguments, columns in lines]))
"""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


@dataclass(frozen=True)
class Seen:
    """What a person sees of a command, and its exit code."""

    code: int
    raw: str

    @property
    def lines(self) -> list[str]:
        """Every line that was drawn, also those that were drawn over, without colours and cursor moves."""
        return [line.rstrip() for line in re.split(r"[\r\n]+", _ESCAPES.sub("", self.raw))]

    @property
    def text(self) -> str:
        """All of it as one paragraph, wherever lines were broken."""
        return " ".join(" ".join(self.lines).split())


def typed(
    lines: Sequence[tuple[Sequence[str], int]], folder: Path, environment: Mapping[str, str] | None = None
) -> list[Seen]:
    """Types each command line in a terminal with as many columns, in this folder."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps([(list(arguments), columns) for arguments, columns in lines]),
        cwd=folder,
        env={**kept, "TERM": "xterm-256color", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Seen(code, raw) for code, raw in json.loads(done.stdout)]
