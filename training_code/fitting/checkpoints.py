"""Checkpoints, written atomically and named by their digest; the last two are kept."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load, save
from torch import Tensor

from jobs.checkpoint_files import KEPT, is_checkpoint, name_of, whole

_SPARING: Final = 50
"""Between epochs, times as long as the last save took: so saves take a fiftieth of a run whose epochs are short."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything a run is: tensors by name, and its position, history and settings as plain values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class CheckpointFolder:
    """Saves and finds the snapshots of one run, whose `fingerprint` says what it trains, how, and by which code.

    A full disk raises nothing: a warning is printed, the last good checkpoint stays, and training continues.
    """

    def __init__(
        self, folder: Path, fingerprint: str, *, every_seconds: float, keep: int = KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.fingerprint = fingerprint
        self._every = every_seconds
        self._keep = keep
        self._clock = clock
        self._last_save = clock()
        self._took = 0.0
        """Seconds of the last save."""
        self._others: set[str] = set()
        """Names of checkpoints that another run has left here. They stay, and none of ours gives way to them."""

    @property
    def due(self) -> bool:
        """Whether the interval has passed since the last save."""
        return self._clock() - self._last_save >= self._every

    @property
    def due_after_epoch(self) -> bool:
        """Whether to save at the end of an epoch: always the first time, then unless saves would take the time."""
        return self._clock() - self._last_save >= min(self._every, _SPARING * self._took)

    def save(self, step: int, snapshot: Snapshot) -> bool:
        """Write the snapshot of a step; returns whether it is on disk."""
        self._last_save = self._clock()
        try:
            return self._save(step, snapshot)
        finally:
            self._took = self._clock() - self._last_save

    def _save(self, step: int, snapshot: Snapshot) -> bool:
        values = json.dumps({**snapshot.values, "fingerprint": self.fingerprint})
        data = save(snapshot.tensors, metadata={"values": values})
        try:
            self._write(self.folder / name_of(step, data), data)
        except OSError as error:
            print(f"warning: checkpoint of step {step} not written ({error}); the last good one is kept",
                  file=sys.stderr, flush=True)  # fmt: skip
            return False
        self._tidy()
        return True

    def latest(self) -> Snapshot | None:
        """The newest undamaged snapshot of this run; others are skipped with a warning, and torn ones removed."""
        for path in reversed(self._files()):
            snapshot = self._read(path)
            if snapshot is not None:
                # A process that was killed between its last save and this may have left one too many.
                self._tidy()
                return snapshot
        return None

    def _tidy(self) -> None:
        """Remove all but the last checkpoints of this run, and the unfinished files of a process that was killed."""
        for old in [*self._files()[: -self._keep], *self.folder.glob("step-*.partial")]:
            old.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """Those of this run, as far as is known, the newest last."""
        found = (path for path in self.folder.glob("step-*") if is_checkpoint(path.name))
        return sorted(path for path in found if path.name not in self._others)

    def _write(self, path: Path, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _read(self, path: Path) -> Snapshot | None:
        data = whole(path)
        if data is None:
            print(f"warning: checkpoint {path.name} is torn and skipped", file=sys.stderr, flush=True)
            path.unlink(missing_ok=True)
            return None
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        values = json.loads(header["__metadata__"]["values"])
        if values.pop("fingerprint") != self.fingerprint:
            print(f"warning: checkpoint {path.name} is of a run with other settings or data, of other code, or in "
                  "another precision, and skipped", file=sys.stderr, flush=True)  # fmt: skip
            self._others.add(path.name)
            return None
        return Snapshot(load(data), values)
