"""train.py as real processes that can be killed, forked from one server that has imported torch already."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

_CONTEXT = get_context("forkserver")
# The last one takes two seconds: DistributedDataParallel imports it in each process of a job on several machines.
_CONTEXT.set_forkserver_preload(["torch", "torch.distributed", "safetensors.torch", "torch._dynamo"])


class TrainProcess:
    """One run of train.py; its output goes to files in `folder`."""

    def __init__(self, folder: Path, name: str, flags: Sequence[str], environment: Mapping[str, str]) -> None:
        self._printed, self._errors = folder / f"{name}.out", folder / f"{name}.err"
        self._printed.touch()
        settings = {"OMP_NUM_THREADS": "1", **environment}
        arguments = (list(flags), settings, list(sys.path), str(self._printed), str(self._errors))
        self._process = _CONTEXT.Process(target=_run, args=arguments)
        self._process.start()

    @property
    def printed(self) -> str:
        """Standard output so far."""
        return self._printed.read_text()

    @property
    def errors(self) -> str:
        """Standard error so far."""
        return self._errors.read_text()

    def wait_for_lines(self, count: int) -> None:
        """Until it has printed that many lines, or has ended."""
        while self._process.is_alive() and (lines := self.printed.count("\n")) < count:
            time.sleep(0.002 if lines else 0.02)  # it imports for a second first

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait(self, seconds: float = 120) -> int:
        """The exit status; minus the signal that ended it. A process that does not end is killed and is a failure."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"the process did not end in {seconds} s: {self.printed} {self.errors}")
        return self._process.exitcode


def _run(flags: list[str], environment: dict[str, str], path: list[str], out: str, err: str) -> None:
    for name, descriptor in ((out, 1), (err, 2)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
    os.environ.update(environment)
    sys.path[:] = path
    import torch

    import train

    torch.set_num_threads(1)
    status = train.launch(flags)
    sys.stdout.flush()
    sys.stderr.flush()
    # As a script ends: no clean-up that a real job would not do.
    os._exit(status)
