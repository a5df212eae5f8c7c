"""What a command leaves in the account because it could not be deleted, in the words that a person reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Remains:
    """What could not be deleted."""

    what: str
    """For example `the model binventory-dev-count-0123456789ab-1`."""
    why: str
    cure: str
    """The command that removes it."""

    def __str__(self) -> str:
        return f"Left behind: {self.what} ({self.why}). Remove it: {self.cure}"


Left = Callable[[Remains], None]
"""Called with each model or folder that a command leaves behind because it could not be deleted."""
