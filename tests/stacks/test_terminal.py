"""A deployed endpoint in terminals of 80 and 200 columns, in a shell whose AWS profile is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from local_aws.server import LocalAws
from tests.contract.batch_site import photo_that_says
from tests.stacks.conftest import ClientFactory
from tests.stacks.reconciled import Environment, make
from tests.terminal import Seen, typed

LOST = {"AWS_PROFILE": "nonexistent", "AWS_DEFAULT_PROFILE": "nonexistent"}
WIDTHS = (80, 200)
ROWS = {
    "status": ("endpoint", "status"),
    "verbose": ("endpoint", "status", "--verbose"),
    "count": ("count", "it's one.jpg", "it's two.jpg"),
    "quiet": ("count", "it's one.jpg", "it's two.jpg", "--quiet"),
    "watch": ("watch",),
    "approve": ("approve",),
}
CODES = {"watch": Exit.NOT_READY, "approve": Exit.NOT_READY}


@pytest.fixture
def environment(
    aws: ClientFactory, _local_aws: LocalAws, image: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Environment]:
    """One with an endpoint, whose photos say what is in them."""
    making = make(aws, _local_aws, image, monkeypatch)
    one = next(making)(name="binventory-dev")
    one.deploy()
    assert run(["approve", one.register(counts=[1, 2, 3, 4, 5]), "--yes"]) == Exit.OK
    yield one
    one.undeploy()
    for _ in making:
        pass
    one.forget()


def test_what_a_person_sees_of_an_endpoint(environment: Environment, tmp_path: Path) -> None:
    for name, count in (("one", 1), ("two", 2)):
        (tmp_path / f"it's {name}.jpg").write_bytes(photo_that_says(count))
    keys = [(name, width) for width in WIDTHS for name in ROWS]
    lines = typed([(ROWS[name], width) for name, width in keys], tmp_path, LOST)
    seen: dict[tuple[str, int], Seen] = dict(zip(keys, lines, strict=True))
    for (name, width), found in seen.items():
        assert found.code == CODES.get(name, Exit.OK), found.text
        assert "Traceback" not in found.text
        if name in CODES:
            what, why, cure = (line for line in found.lines if line)
            assert what.endswith(".") and why.startswith("Why: ") and cure.startswith("Do:  ")
        elif name != "verbose":  # an ARN is one word that can be copied
            assert all(len(line) <= width or "arn:" in line for line in found.lines)
    for width in WIDTHS:
        assert "InService, 1 instance Switch" in seen["status", width].text
        assert "AWS sagemaker DescribeEndpoint: 200" in seen["verbose", width].text
        assert "AWS sagemaker" not in seen["status", width].text
        counted = seen["count", width].lines
        assert any("Counting" in line and re.search(r"\d/2", line) for line in counted)
        assert [line.split()[2] for line in counted if line.startswith("it's")] == ["1", "2"]
        assert not any("Counting" in line for line in seen["quiet", width].lines)
