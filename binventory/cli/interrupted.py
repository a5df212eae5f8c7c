"""What a person hears of a transform job: that it is being stopped, whether it has, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from binventory.cli.look import stderr
from binventory.core.interruption import GoesOn, interruptible
from binventory.core.names import Names
from binventory.core.remains import Remains


class JobHalted:
    """Listens to transform jobs; an instance is the callback `halted`, its method `left` the callback `left`.

    Args:
        names: of the environment.
        clear: takes away what is drawn on the terminal.
    """

    def __init__(self, names: Names, clear: Callable[[], None]) -> None:
        self._names = names
        self._clear = clear
        self._job = ""
        self._ended = False

    def __call__(self, job: str, ended: bool) -> None:
        """Notes how the job stands."""
        first = job != self._job
        self._job, self._ended = job, ended
        if first:
            self._clear()
            stderr.print(f"Stopping the transform job {job}: it bills until it has ended.", soft_wrap=True)

    def left(self, remains: Remains) -> None:
        """Says what a job leaves behind because it could not be deleted, and how to remove it."""
        stderr.print(str(remains), soft_wrap=True)

    def failed(self, sentence: str) -> None:
        """Says that a job failed which has some of its answers."""
        stderr.print(sentence, soft_wrap=True)

    def explained(self, again: str, kept: str = "") -> AbstractContextManager[None]:
        """Turns an interruption into three lines: `again` says what to do, `kept` what is not lost."""
        return interruptible(lambda: self._goes_on(again, kept))

    def _goes_on(self, again: str, kept: str) -> GoesOn:
        said = f"; {kept}" if kept else ""
        if not self._job:
            return GoesOn("Interrupted", f"no job of this command runs{said}", again)
        if self._ended:
            return GoesOn(f"Interrupted; the transform job {self._job} was stopped", f"it bills no more{said}", again)
        return GoesOn(
            f"Interrupted; the transform job {self._job} may still run",
            f"it was asked to stop and bills until it has ended{said}",
            f"see that it has: {self._names.command(f'stop {self._job}')}",
        )
