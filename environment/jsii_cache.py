"""The folder in which jsii, with which Python calls the CDK's library, keeps that library unpacked for Node.

jsii refuses its folder if others may write to one of the folders above it. With a umask of 002, which users of Debian
and Ubuntu have, pip makes ~/.cache such a folder.
"""

from __future__ import annotations

import contextlib
import os
import platform
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from environment.errors import SetupError

_BELOW_HOME = {"Linux": ".cache/aws/jsii/package-cache", "Darwin": "Library/Caches/com.amazonaws.jsii/package-cache"}


def prepare(variables: Mapping[str, str] = os.environ, system: str = platform.system()) -> None:
    """Create ~/.cache for its owner alone if it is missing, as the XDG Base Directory Specification asks.

    Raises SetupError if jsii would refuse its folder, before anything is downloaded.
    """
    home, below = variables.get("HOME", ""), _BELOW_HOME.get(system)
    if not os.path.isabs(home) or below is None or _chosen(variables):
        return
    folder = Path(home) / below
    with contextlib.suppress(OSError):  # jsii uses another folder, or names what is in its way
        (Path(home) / Path(below).parts[0]).mkdir(mode=0o700)
    for place in _from(folder.resolve()):
        if trouble := _trouble(place, {os.getuid()} if place.name == folder.name else {os.getuid(), 0}):
            raise SetupError(
                f"the CDK's library would not use its cache {folder}: {place} {trouble}",
                f"{_cure(place)}set JSII_RUNTIME_PACKAGE_CACHE_ROOT to a folder of yours, then run make again",
            )


def _chosen(variables: Mapping[str, str]) -> bool:
    """Whether jsii uses a folder that the user named, which it does not check, or none."""
    switch = variables.get("JSII_RUNTIME_PACKAGE_CACHE", "enabled").lower()
    return bool(variables.get("JSII_RUNTIME_PACKAGE_CACHE_ROOT")) or switch != "enabled"


def _from(folder: Path) -> Iterator[Path]:
    """The folder and those above it, as far as they exist."""
    return (place for place in (folder, *folder.parents) if place.is_dir())


def _trouble(place: Path, owners: set[int]) -> str:
    """What jsii refuses about a folder that one of these users should own; empty if nothing."""
    found = place.stat()
    if found.st_uid not in owners:
        return f"belongs to another user (uid {found.st_uid})"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        return f"is writable by its group or others (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def _cure(place: Path) -> str:
    return f"run: chmod go-w {place}, or " if place.stat().st_uid == os.getuid() else ""
