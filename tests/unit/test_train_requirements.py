"""The packages that training jobs install: the tested versions, each pinned by a hash."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Packages of AWS's PyTorch training image, which has other versions of them.
OF_THE_IMAGE = {"numpy"}
_PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[^\s\\]+)(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})*)", re.MULTILINE
)


def pins(path: Path) -> dict[str, tuple[str, str]]:
    """Name to version and hashes of the exact pins in a requirements file."""
    return {canonicalize_name(pin["name"]): (pin["version"], pin["hashes"]) for pin in _PIN.finditer(path.read_text())}


def test_what_the_training_image_lacks_is_pinned_as_in_the_root(repository: Path) -> None:
    ours = pins(repository / "training_code/requirements.txt")
    root = pins(repository / "requirements.txt")
    assert ours
    assert {name: root[name][0] for name in ours} == {name: version for name, (version, _) in ours.items()}


def test_every_asset_that_installs_packages_holds_each_by_a_hash(repository: Path) -> None:
    for asset in ("training_code", "inference_code"):
        lock = repository / asset / "requirements.txt"
        lines = [line for line in lock.read_text().splitlines() if line and line[0] not in " #"]
        held = {name for name, (_, hashes) in pins(lock).items() if hashes}
        assert len(held) == len(lines) > 3, asset


def test_what_the_pinned_packages_need_is_pinned_or_in_the_image(repository: Path) -> None:
    ours = pins(repository / "training_code/requirements.txt")
    needed = {
        canonicalize_name(need.name)
        for name in ours
        for need in map(Requirement, requires(name) or [])
        if need.marker is None or need.marker.evaluate({"extra": "", "python_version": "3.12"})
    }
    assert needed - set(ours) <= OF_THE_IMAGE


def test_the_functions_install_nothing(repository: Path) -> None:
    assert list((repository / "lambda_code").glob("*.py"))
    assert not list((repository / "lambda_code").glob("requirements*")), "give it a lock with hashes, and add it above"
