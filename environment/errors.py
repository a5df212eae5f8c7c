"""What ends a set-up, and what to do about it."""

from __future__ import annotations


class SetupError(Exception):
    """A set-up that cannot go on: what failed, and its cure."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what = what
        self.cure = cure
