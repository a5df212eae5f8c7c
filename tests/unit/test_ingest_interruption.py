"""Ctrl-C in the process that starts the others: once is enough, and more does no harm."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from ingestion.interruption import run_until_interrupted
from ingestion.workers import WorkError


def test_a_second_ctrl_c_interrupts_nothing_of_the_end(repository: Path) -> None:
    """Neither while the work ends nor afterwards; asyncio would raise at the second, wherever the process is."""
    program = textwrap.dedent("""
        import asyncio, os, signal
        from ingestion.interruption import run_until_interrupted

        def ctrl_c():
            os.kill(os.getpid(), signal.SIGINT)

        async def work():
            ctrl_c()
            try:
                await asyncio.Event().wait()
            finally:
                ctrl_c()
                await asyncio.sleep(0)
                ctrl_c()
                print("the work has ended")

        try:
            run_until_interrupted(work())
        except KeyboardInterrupt:
            ctrl_c()
            print("the process has ended")
    """)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(repository / "training_code")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "the work has ended\nthe process has ended\n"), done.stderr


def test_a_worker_that_says_first_that_it_was_interrupted_changes_nothing() -> None:
    """A terminal sends Ctrl-C to every process, and the work may end with the worker's error before it is cancelled."""

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise WorkError("a worker process was interrupted")

    with pytest.raises(KeyboardInterrupt):
        run_until_interrupted(work(), stopped=(WorkError,))


async def answer() -> int:
    await asyncio.sleep(0)
    return 42


def test_work_that_nothing_interrupts_leaves_ctrl_c_as_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert run_until_interrupted(answer()) == 42
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_runs_it_without_signals() -> None:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(run_until_interrupted(answer())))
    thread.start()
    thread.join()
    assert answers == [42]
