"""The error that ends `make setup`, with its cure."""

from __future__ import annotations


class SetupError(Exception):
    """`make setup` cannot continue. `what` failed; `cure` says what to do."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what = what
        self.cure = cure
