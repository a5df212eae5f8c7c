"""The imports of the project's own Python, read from its text: nothing is imported to find them."""

from __future__ import annotations

import ast
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_SKIPPED = frozenset({"tests", "node_modules", "build", "cdk.out"})


@dataclass(frozen=True)
class Import:
    """One import, wherever in the file it stands: in a function or for type checking counts too.

    Args:
        importer: the file that imports, relative to the repository.
        target: the file that is imported, or the first part of the name of a package that is not ours.
        line: where.
    """

    importer: str
    target: str
    line: int

    @property
    def is_ours(self) -> bool:
        """Whether the target is a file of the project."""
        return self.target.endswith(".py")


@cache
def files() -> tuple[str, ...]:
    """Every Python file of the project outside tests/, relative to the repository."""
    found = []
    for folder, folders, names in os.walk(REPOSITORY):
        folders[:] = [name for name in folders if name not in _SKIPPED and not name.startswith(".")]
        found += [Path(folder, name).relative_to(REPOSITORY).as_posix() for name in names if name.endswith(".py")]
    return tuple(sorted(found))


@cache
def imports() -> tuple[Import, ...]:
    """Every import in `files` of a file of ours or of a package that is not in the standard library."""
    known = _modules()
    return tuple(item for name in files() for item in _imports_of(name, known))


def _roots() -> list[str]:
    """The folders from which modules are imported, as pytest's `pythonpath` has them: `.` and the flat ones."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    roots: list[str] = settings["tool"]["pytest"]["ini_options"]["pythonpath"]
    return roots


def _modules() -> dict[str, dict[str, str]]:
    """File by module name, for each folder from which modules are imported."""
    found: dict[str, dict[str, str]] = {root: {} for root in _roots()}
    for name in files():
        for root, modules in found.items():
            if root == "." or name.startswith(f"{root}/"):
                path = name if root == "." else name.removeprefix(f"{root}/")
                modules[path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")] = name
    return found


def _imports_of(name: str, known: dict[str, dict[str, str]]) -> Iterator[Import]:
    own = next((root for root in known if name.startswith(f"{root}/")), ".")
    order = [own, ".", *(root for root in known if root not in {own, "."})]

    def file_of(module: str) -> str | None:
        return next((known[root][module] for root in order if module in known[root]), None)

    for node in ast.walk(ast.parse((REPOSITORY / name).read_text())):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: imports are absolute here"
            base = str(node.module)
            modules = [f"{base}.{alias.name}" if file_of(f"{base}.{alias.name}") else base for alias in node.names]
        for module in dict.fromkeys(modules):
            target = file_of(module)
            top = module.partition(".")[0]
            if target is not None or top not in sys.stdlib_module_names:
                yield Import(name, target or top, getattr(node, "lineno", 0))
