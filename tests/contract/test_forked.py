"""A forked local AWS, which most tests use, is like one that was started."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from local_aws.server import REPOSITORY, LocalAws, LocalAwsError
from tests.contract.conftest import connect
from tests.forked import ForkedAws

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a ForkedAws is started like any other here")


def pid_of(aws: LocalAws) -> int:
    return int((aws.state_dir / "pid").read_text())


def inherited(aws: LocalAws) -> dict[str, object]:
    """What a process has from the one that made it."""
    pid = pid_of(aws)
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    files: dict[int, str] = {}
    for file in (proc / "fd").iterdir():
        # A server at work opens and closes files meanwhile; none of those was inherited.
        with contextlib.suppress(FileNotFoundError):
            files[int(file.name)] = os.readlink(file)
    return {
        "folder": os.readlink(proc / "cwd"),
        "leads a session": os.getsid(pid) == pid,
        "status": {name: status[name] for name in ("Umask", "Uid", "Gid", "SigBlk", "SigIgn", "SigCgt")},
        "pipes": sorted(number for number, target in files.items() if target.startswith("pipe:")),
        "output": [Path(files[number]).relative_to(aws.state_dir) for number in (1, 2)],
    }


def test_it_has_what_a_started_one_has(tmp_path: Path) -> None:
    with LocalAws(tmp_path / "started") as started, ForkedAws(tmp_path / "forked") as forked:
        assert inherited(forked) == inherited(started)


def test_it_has_its_own_arguments_and_ends_with_all_that_it_runs(tmp_path: Path) -> None:
    """One after the other from the same process."""
    for account in ("111111111111", "222222222222"):
        with ForkedAws(tmp_path / account, account=account, region="eu-central-1") as aws:
            assert aws.running
            assert connect(aws)("sts").get_caller_identity()["Account"] == account
            pid = pid_of(aws)
        assert not aws.running
        assert not psutil.pid_exists(pid)
        assert aws.processes() == []


def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LocalAwsError, match="Address already in use"):
            ForkedAws(tmp_path, taken.getsockname()[1]).start()


def test_it_ends_with_the_process_that_uses_it(tmp_path: Path) -> None:
    script = f"""
        import os, sys
        from pathlib import Path
        from tests.forked import ForkedAws
        ForkedAws(Path({str(tmp_path)!r})).start()
        os._exit(9)
    """
    script = "\n".join(line.strip() for line in script.splitlines())
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False).returncode == 9
    server = psutil.Process(int((tmp_path / "pid").read_text()))
    psutil.wait_procs([server], timeout=30)
    assert not server.is_running()
