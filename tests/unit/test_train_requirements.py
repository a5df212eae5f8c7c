"""The containers install the versions that the tests ran with."""

from __future__ import annotations

from pathlib import Path


def pins(path: Path) -> dict[str, str]:
    """Name to version of the exact pins in a requirements file."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines if line)}


def test_what_the_training_image_lacks_is_pinned_as_in_the_root(repository: Path) -> None:
    ours = pins(repository / "training_code" / "requirements.txt")
    root = pins(repository / "requirements.in")
    assert ours and all(ours.values()), "every line is an exact pin"
    assert {name: root.get(name) for name in ours} == ours
