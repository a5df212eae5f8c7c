"""What continues after Ctrl-C: a command that leaves something running says what, that it bills, and how to stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from binventory.core.errors import Exit, Problem


@dataclass(frozen=True)
class GoesOn:
    """The three lines of an interruption."""

    what: str
    why: str
    cure: str


@contextmanager
def interruptible(goes_on: Callable[[], GoesOn]) -> Iterator[None]:
    """Turns Ctrl-C inside the block into a Problem with the exit code of an interruption; SIGTERM counts as Ctrl-C.

    goes_on: called at the interruption, so that it can say how far the work has come.
    """
    try:
        yield
    except KeyboardInterrupt:
        said = goes_on()
        raise Problem(said.what, said.why, said.cure, code=Exit.INTERRUPTED) from None
