"""Processes and ports of this computer, as the local AWS uses them."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from local_aws.core import host
from tests.contract.jobs import until


def ended(process: psutil.Process) -> bool:
    """Whether it has ended; who adopted it may not have collected it yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_power_failure_ends_everything_before_anything_can_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script whose program is killed first would go on: it would write to its log that it gave up."""
    script = "(sleep 600 || echo 'its program ended' >> log) & touch ready; wait; echo 'the script went on' >> log"
    process = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, start_new_session=True)
    tree = [psutil.Process(process.pid)]
    until(lambda: (tmp_path / "ready").is_file() and len(tree[0].children(recursive=True)) == 2)
    tree += tree[0].children(recursive=True)
    kill = psutil.Process.kill

    def kill_and_wait(one: psutil.Process) -> None:
        kill(one)
        until(lambda: ended(one))

    monkeypatch.setattr(psutil.Process, "kill", kill_and_wait)
    host.kill_tree(process.pid)
    process.wait()
    assert all(ended(one) for one in tree)
    assert not (tmp_path / "log").exists()


def test_a_free_port_is_kept_for_who_will_listen_on_it() -> None:
    """Between the choice and the start of a server, others ask for free ports and make connections."""
    ports = [host.free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    for port in ports:
        assert not host.accepts_connections(port)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)):
            assert host.accepts_connections(port)


def test_the_power_of_a_process_that_has_ended_fails_silently() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    host.kill_tree(process.pid)
