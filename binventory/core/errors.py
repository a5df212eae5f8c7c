"""Failures that a person can act on: what happened, why, what to do about it, and the exit code."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1  # the work itself failed: a job, a deploy, a check
    USAGE = 2  # a wrong flag or value
    NOT_READY = 3  # something that must exist first does not: a tool, credentials, a stack, a running endpoint
    INTERRUPTED = 130  # Ctrl-C


class Problem(Exception):
    """A failure that a person can act on. `log` holds the last lines of the log that explains it, if there is one."""

    def __init__(self, what: str, why: str, cure: str, *, code: Exit = Exit.FAILED, log: tuple[str, ...] = ()) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why
        self.cure = cure
        self.code = code
        self.log = log

    def to_json(self) -> dict[str, object]:
        """Plain data for --json."""
        return {
            "what": self.what, "why": self.why, "cure": self.cure, "exit_code": int(self.code), "log": list(self.log),
        }  # fmt: skip
