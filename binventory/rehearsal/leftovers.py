"""Proves that nothing is left in the account and on this machine: lists everything that could bill or run."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from binventory.account import strays
from binventory.core.aws import Aws
from binventory.rehearsal.folder import SDK_CONFIGURATION
from stacks.names import JOB_LOG_GROUPS

_OF_PEOPLE = frozenset({"PWD", "OLDPWD", SDK_CONFIGURATION})
_OUR_PROGRAMS = ("python", "node")


@dataclass(frozen=True)
class Leftovers:
    """What was found of each kind. `checked` names the kinds that were searched."""

    found: dict[str, tuple[str, ...]]

    @property
    def none(self) -> bool:
        """Whether nothing is left."""
        return not any(self.found.values())

    @property
    def checked(self) -> str:
        """The kinds that were searched."""
        return ", ".join(self.found)

    def __str__(self) -> str:
        return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in self.found.items() if names) or "nothing"


def in_account(aws: Aws) -> Leftovers:
    """Everything that the account still holds: a rehearsal's account is made for it alone."""
    found = {}
    for kind, resources in strays.of_account(aws):
        names = [resource.name for resource in resources]
        found[kind] = tuple(_not_shared(aws, names) if kind == "log groups" else names)
    return Leftovers(found)


def _not_shared(aws: Aws, groups: list[str]) -> list[str]:
    """Without the log groups that all jobs share, if they are empty and have a retention time."""
    logs = aws.client("logs")
    left = []
    for group in groups:
        if group.startswith(JOB_LOG_GROUPS):
            described = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]
            streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
            if described.get("retentionInDays") and not streams:
                continue
            group = f"{group} ({len(streams)} streams)"
        left.append(group)
    return left


def on_machine(state_dir: Path, port: int, prefix: str) -> Leftovers:
    """What a stopped local AWS left on this computer.

    Args:
        state_dir: the rehearsal's; processes that belong to it are found by it.
        port: of the local AWS; nothing may listen there.
        prefix: of the names of functions, whose code may lie in temporary folders that were made since the rehearsal
            began.
    """
    processes = [
        f"{process.pid} {' '.join(process.info['cmdline'] or ())[:80]}"
        for process in psutil.process_iter(["name", "cmdline", "environ"])
        if _belongs(process, state_dir.resolve())
    ]
    with socket.socket() as probe:
        probe.settimeout(1)
        open_port = (str(port),) if probe.connect_ex(("127.0.0.1", port)) == 0 else ()
    folders = {Path(tempfile.gettempdir()), state_dir.resolve() / "aws" / "tmp"}
    began = record.stat().st_mtime if (record := state_dir / "rehearsal.json").is_file() else float("inf")
    temporary = [
        str(path)
        for folder in folders
        for path in folder.glob(f"ministack-lambda-{prefix}-*")
        if path.stat().st_mtime >= began
    ]
    return Leftovers({"processes": tuple(processes), "ports": open_port, "temporary folders": tuple(sorted(temporary))})


def _belongs(process: psutil.Process, state_dir: Path) -> bool:
    """Whether a process of ours runs in the state directory.

    The rehearsal itself, which only names it, does not; nor does what a person runs from a shell that stands in it or
    has read its exports, or a viewer of one of its files.
    """
    if process.pid in {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}:
        return False
    environment = process.info["environ"] or {}
    if any(_inside(value, state_dir) for name, value in environment.items() if name not in _OF_PEOPLE):
        return True
    ours = (process.info["name"] or "").startswith(_OUR_PROGRAMS)
    return ours and any(_inside(argument, state_dir) for argument in process.info["cmdline"] or ())


def _inside(text: str, folder: Path) -> bool:
    return text.startswith("/") and Path(text).is_relative_to(folder)
