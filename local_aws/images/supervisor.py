"""Runs a command as a container runtime does: no process that the command starts outlives it.

A stand-alone script for `python -I -S`; with the standard library only it starts in about 20 ms. Its standard input is
a pipe whose other end only the local AWS has. A line `TERM` signals the command's first process, which may pass it on,
as in a container. `KILL` ends all its processes. So does end-of-file, because it means that the local AWS has died.
When the command ends, the processes that it left are killed, as those of a container are when its first process ends.

With `--opt-ml FOLDER` the command and its children see FOLDER as /opt/ml, in a mount namespace of their own; a user
namespace gives the right to mount to those who are not root. Nobody else sees it, and it ends with them.

Usage: supervisor.py [--opt-ml FOLDER] COMMAND [ARGUMENT...]; exits with the command's status, 128 + N after signal N.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_OPT, _OPT_ML = "/opt", "/opt/ml"
_NOT_STARTED = 127
_REAP_SECONDS = 5.0


def _prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the pipe on standard input is enough."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _children_by_parent() -> dict[int, list[int]]:
    """Process ids by their parent's, from /proc; empty where /proc does not exist."""
    table: dict[int, list[int]] = {}
    entries = os.listdir("/proc") if os.path.isdir("/proc") else []
    for entry in entries:
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{entry}/stat", "rb") as stat:
            # The name, in parentheses, may contain any character: the fields start after the last parenthesis.
            parent = int(stat.read().rpartition(b")")[2].split()[1])
            table.setdefault(parent, []).append(int(entry))
    return table


def _descendants(root: int) -> list[int]:
    table = _children_by_parent()
    found: list[int] = []
    waiting = list(table.get(root, []))
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting.extend(table.get(process, []))
    return found


def _signal(processes: Iterable[int], number: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _kill_job(main: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(main, signal.SIGKILL)
    _signal((p for p in _descendants(os.getpid()) if p != main), signal.SIGKILL)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _see_as_opt_ml(folder: str) -> None:
    """Let this process, and those that it starts, see `folder` as /opt/ml; raises `OSError` where that is forbidden."""
    c = ctypes.CDLL(None, use_errno=True)

    def mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
        names = [None if name is None else name.encode() for name in (source, target, kind)]
        _checked(c.mount(*names, ctypes.c_ulong(flags), None), f"mount on {target}")

    here, user, group = os.getcwd(), os.getuid(), os.getgid()
    if c.unshare(_CLONE_NEWNS) != 0:
        _checked(c.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "user namespace")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    if not os.path.isdir(_OPT_ML):
        # Only root may make it in the real /opt, so a copy of /opt takes its place, whose entries are the real ones.
        real = os.path.join(os.path.dirname(folder), "opt")
        os.makedirs(real, exist_ok=True)
        mount(_OPT, real, None, _MS_BIND | _MS_REC)
        mount("tmpfs", _OPT, "tmpfs", 0)
        for name in os.listdir(real):
            entry, copy = os.path.join(real, name), os.path.join(_OPT, name)
            if os.path.islink(entry):
                os.symlink(os.readlink(entry), copy)
                continue
            if os.path.isdir(entry):
                os.mkdir(copy)
            else:
                os.close(os.open(copy, os.O_CREAT))
            mount(entry, copy, None, _MS_BIND | _MS_REC)
        os.mkdir(_OPT_ML)
    mount(folder, _OPT_ML, None, _MS_BIND | _MS_REC)
    if os.path.commonpath([here, folder]) == folder:
        os.chdir(os.path.join(_OPT_ML, os.path.relpath(here, folder)))


def _start(command: list[str], opt_ml: str | None) -> int:
    """Start the command in a new session; returns when it runs, so that no signal comes before it."""
    running, started = os.pipe()  # not inherited: it closes when the child runs the command, or ends before that
    process = os.fork()
    if process:
        os.close(started)
        os.read(running, 1)
        os.close(running)
        return process
    try:
        os.setsid()
        if opt_ml is not None:
            _see_as_opt_ml(opt_ml)
        # After the namespaces: new rights clear it.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror or error}\n".encode())
    os._exit(_NOT_STARTED)


def _reap(main: int) -> int | None:
    """Collect every process that has ended; returns the status of `main` if it has."""
    status: int | None = None
    with contextlib.suppress(ChildProcessError):
        while True:
            process, raw = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                break
            if process == main:
                code = os.waitstatus_to_exitcode(raw)
                status = code if code >= 0 else 128 - code
    return status


def _clean_up(main: int) -> None:
    deadline = time.monotonic() + _REAP_SECONDS
    while time.monotonic() < deadline:
        _kill_job(main)
        _reap(main)
        if not _descendants(os.getpid()):
            return
        time.sleep(0.02)


def _obey(main: int, data: bytes) -> bool:
    """Carry out the lines of the local AWS; returns False at end-of-file, when it has ended."""
    for line in data.split():
        if line == b"TERM":
            _signal([main], signal.SIGTERM)
        elif line == b"KILL":
            _kill_job(main)
    if not data:
        _kill_job(main)
    return bool(data)


def main(command: list[str]) -> int:
    """Run `command` to its end and return its exit status."""
    opt_ml = None
    if command[0] == "--opt-ml":
        opt_ml, command = os.path.realpath(command[1]), command[2:]
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # The local AWS handles Ctrl-C in its terminal and then writes to the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    job = _start(command, opt_ml)
    status: int | None = None
    watched = [0, woken]
    while status is None:
        ready, _, _ = select.select(watched, [], [])
        if woken in ready:
            signals = os.read(woken, 4096)
            if signal.SIGTERM in signals:
                _signal([job], signal.SIGTERM)
        if 0 in ready and not _obey(job, os.read(0, 4096)):
            watched = [woken]
        status = _reap(job)
    _clean_up(job)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
