"""One run at a time writes to an output folder. The system releases the lock when the process ends, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ingestion.run import IngestError, JobMachine

LOCK: Final = ".lock"


@contextmanager
def alone(output: Path, machine: JobMachine) -> Iterator[None]:
    """Keep other runs out of the output folder while the body runs; the machines of one run may share it.

    Raises IngestError where another run is at work there.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK).open("w") as file:
        # The only machine locks the whole file, one of several its own byte.
        length, start = (0, 0) if machine.count == 1 else (1, machine.index)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except BlockingIOError as error:
            raise IngestError(
                f"another ingest writes to {output}: wait until it ends, or give another --output"
            ) from error
        yield
