"""Every process that a job starts ends with the job, in whatever way the job or its owner ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from local_aws.images.container import Container, ContainerSpec, end_containers
from tests.contract.jobs import until


def start(tmp_path: Path, script: str) -> tuple[Container, list[str]]:
    """Run a shell command under the supervisor; returns the process and the list that gets its output."""
    lines: list[str] = []
    environment = {"PATH": os.environ["PATH"], "MARK": str(tmp_path)}
    return Container.start(ContainerSpec(["/bin/bash", "-c", script], environment, tmp_path), lines.append), lines


def left(tmp_path: Path) -> list[int]:
    """Processes that carry the test's mark and still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == str(tmp_path) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


DAEMONS = "(setsid sleep 100 &); (sleep 101 &); "


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
)
def test_the_status_is_the_jobs_and_nothing_is_left(tmp_path: Path, script: str, status: int) -> None:
    container, _ = start(tmp_path, DAEMONS + script)
    assert container.wait(60) == status
    assert left(tmp_path) == []


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    lines: list[str] = []
    container = Container.start(ContainerSpec(["no-such-program"], {"PATH": "/bin"}, tmp_path), lines.append)
    assert container.wait(60) == 127
    assert lines == ["cannot start no-such-program: No such file or directory"]


def test_output_comes_line_by_line_while_the_job_runs(tmp_path: Path) -> None:
    container, lines = start(tmp_path, "echo one; echo two >&2; printf '\\377\\n'; sleep 60")
    until(lambda: len(lines) == 3)
    assert container.wait(0) is None
    container.kill()
    assert container.wait(60) == 137
    assert lines == ["one", "two", "\N{REPLACEMENT CHARACTER}"]


def test_ending_asks_first_and_then_insists(tmp_path: Path) -> None:
    polite, lines = start(tmp_path, "trap 'echo saved; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    deaf, heard = start(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: lines and heard)
    insisting = threading.Thread(target=end_containers, args=([deaf], 0.5))
    insisting.start()
    end_containers([polite], grace=60.0)  # as long as a busy machine needs; it returns when the container has ended
    insisting.join()
    assert (polite.wait(0), deaf.wait(0)) == (3, 137)
    assert (lines[0], lines[-1]) == ("ready", "saved")
    assert left(tmp_path) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_death_of_the_owner_ends_the_job(tmp_path: Path, how: signal.Signals) -> None:
    owner = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from local_aws.images.container import Container, ContainerSpec
spec = ContainerSpec(["/bin/bash", "-c", {DAEMONS!r} + "exec sleep 102"], dict(os.environ), Path("."))
Container.start(spec, print)
print("started", flush=True)
time.sleep(60)
"""
    environment = {"PATH": os.environ["PATH"], "MARK": str(tmp_path)}
    process = psutil.Popen([sys.executable, "-c", owner], env=environment, stdout=-1, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    until(lambda: len(left(tmp_path)) >= 5)
    process.send_signal(how)
    process.wait(60)
    until(lambda: left(tmp_path) == [])
    process.stdout.close()


def test_the_death_of_the_supervisor_ends_the_job(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells a child of its parent's death")
    container, lines = start(tmp_path, "echo ready; exec sleep 100")
    until(lambda: lines)
    container.process.kill()
    until(lambda: left(tmp_path) == [])
    assert container.wait(60) == 137


def test_many_jobs_end_together(tmp_path: Path) -> None:
    containers = [start(tmp_path, "sleep 100")[0] for _ in range(4)]
    threads = [threading.Thread(target=container.wait) for container in containers]
    for thread in threads:
        thread.start()
    end_containers(containers, grace=60.0)
    for thread in threads:
        thread.join()
    assert all(container.wait(0) == 143 for container in containers)
