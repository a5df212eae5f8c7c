"""The lock is installed without a resolver, so it must be complete by itself."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_NOT_LOCKED = {"pip"}


def locked(path: Path) -> dict[str, str]:
    """Version by name of a requirements file."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    pins = (re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", line) for line in lines if line)
    return {str(canonicalize_name(pin[1])): pin[2] for pin in pins if pin}


def test_every_named_package_is_locked_at_its_version(repository: Path) -> None:
    lock = locked(repository / "requirements.txt")
    named = locked(repository / "requirements.in")
    assert named
    assert {name: lock.get(name) for name in named} == named


def test_what_the_locked_packages_need_is_locked_too(repository: Path) -> None:
    lock = locked(repository / "requirements.txt")
    missing = set()
    for name in lock:
        try:
            needs = requires(name) or []
        except PackageNotFoundError:
            continue
        for text in needs:
            need = Requirement(text)
            wanted = need.marker is None or need.marker.evaluate({"extra": ""})
            if wanted and canonicalize_name(need.name) not in {*lock, *_NOT_LOCKED}:
                missing.add(f"{name} needs {text}")
    assert missing == set()
