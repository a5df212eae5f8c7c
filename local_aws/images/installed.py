"""Packages of an image that set-up has installed already: linked into the image's environment, not unpacked again.

A package is linked if the image's lock has its whole entry, hashes included, as the lock of set-up has it, so that pip
compared its wheel with these hashes then. Its files must still be those of the wheel, by their digests in RECORD. Every
other package is left to pip.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import os
import shlex
import shutil
import sysconfig
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from environment.locks import RUN, pins

_LOCK: Final = Path(__file__).resolve().parents[2] / RUN
# No process opens these, and set-up removes some.
_HEADERS: Final = frozenset({".h", ".hpp"})
# An interpreter's path may be too long for the first line of a script, or have spaces: a shell starts it.
_SCRIPT: Final = """\
#!/bin/sh
'''exec' {python} "$0" "$@"
' '''
import sys
from {module} import {name}
sys.exit({attribute}())
"""


def link_installed(requirements: Path, environment: Path) -> list[str]:
    """Link into a virtual environment what its requirements file shares with set-up; returns the packages' names."""
    ours = pins(_LOCK)
    shared = [pin for name, pin in pins(requirements).items() if name in ours and pin.text == ours[name].text]
    linked: list[str] = []
    for pin in shared:
        package = _Package.of(pin.name, pin.version)
        if package is not None:
            package.link(environment)
            linked.append(pin.name)
    return linked


@dataclass
class _Package:
    """The files of an installed package, by their paths in site-packages, and its commands."""

    files: dict[Path, Path] = field(default_factory=dict)
    commands: list[EntryPoint] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, version: str) -> _Package | None:
        """The package; None if it has another version, has changed, or has files that cannot be linked."""
        try:
            found = distribution(name)
        except PackageNotFoundError:
            return None
        package = cls(commands=list(found.entry_points.select(group="console_scripts")))
        made_by_pip = {command.name for command in package.commands}
        if found.version != version:
            return None
        for file, digest in _recorded(found):
            path = Path(str(found.locate_file(file)))
            if file.suffix == ".pyc":
                continue
            if ".." in file.parts:
                if file.name not in made_by_pip:
                    return None
            elif path.is_file():
                if not _is_intact(path, digest):
                    return None
                package.files[file] = path
            elif file.suffix not in _HEADERS:
                return None
        return package if package.files else None

    def link(self, environment: Path) -> None:
        """Link the files, with their bytecode where there is some, and write the commands."""
        places = sysconfig.get_paths("venv", vars={"base": str(environment), "platbase": str(environment)})
        packages, commands = Path(places["purelib"]), Path(places["scripts"])
        for name, path in self.files.items():
            _link(path, packages / name)
            if path.suffix == ".py" and (compiled := Path(importlib.util.cache_from_source(path))).is_file():
                _link(compiled, packages / name.parent / compiled.parent.name / compiled.name)
        python = shlex.quote(str(commands / "python"))
        for command in self.commands:
            imported = command.attr.partition(".")[0]
            text = _SCRIPT.format(python=python, module=command.module, name=imported, attribute=command.attr)
            script = commands / command.name
            script.write_text(text, encoding="utf-8")
            script.chmod(0o755)


def _recorded(found: Distribution) -> list[tuple[Path, str]]:
    """The files of the wheel with their digests, as RECORD names them; none without RECORD.

    `found.files` does not do: from Python 3.12 on, and wherever `importlib_metadata` was imported, it leaves out files
    that are missing.
    """
    return [(Path(name), digest) for name, digest, _ in csv.reader((found.read_text("RECORD") or "").splitlines())]


def _is_intact(path: Path, recorded: str) -> bool:
    """Whether a file has the digest that RECORD names, as `sha256=...`; RECORD itself has none."""
    if not recorded:
        return True
    method, _, wanted = recorded.partition("=")
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, method).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode() == wanted


def _link(path: Path, place: Path) -> None:
    """A second name of a file; a copy where the file system has no such names, or it is another."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, place)
    except OSError:
        shutil.copy2(path, place)
