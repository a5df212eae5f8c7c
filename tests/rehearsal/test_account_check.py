"""`make test-aws`, run against the local AWS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from binventory.core.errors import Exit
from local_aws.server import LocalAws
from tests.rehearsal.kept import cdk

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def aws(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A bootstrapped account in which policies are enforced; a minute of rollouts and alarms takes 1.2 s."""
    with LocalAws(tmp_path_factory.mktemp("local-aws"), time_scale=0.02, enforce_iam=True) as aws:
        assembly = tmp_path_factory.mktemp("assembly")
        address = f"aws://{aws.account}/{aws.region}"
        cdk(repository, "bootstrap", address, assembly=assembly, environment=aws.environment())
        yield aws


def check(aws: LocalAws, repository: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command behind `make test-aws ARGS=...`, with nobody at the terminal."""
    return subprocess.run(
        [sys.executable, "-m", "tests.account", *arguments],
        cwd=repository,
        env={**os.environ, **aws.environment(), "CDK_VALIDATION": "false", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_whole_check(aws: LocalAws, repository: Path, tmp_path: Path) -> None:
    done = check(aws, repository, "--yes", "--state-dir", str(tmp_path))
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    for step in ("Roll a broken package back", "Promote again", "Probe", "Prove that nothing is left"):
        assert f"{step} done" in done.stdout
    assert "BAD" not in done.stdout and done.stdout.count("good") == 5, done.stdout


def test_the_stacks_alone(aws: LocalAws, repository: Path, tmp_path: Path) -> None:
    done = check(aws, repository, "--stacks-only", "--yes", "--state-dir", str(tmp_path))
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    assert "Change a setting done" in done.stdout and "Prove that nothing is left done" in done.stdout


def test_it_starts_nothing_without_a_yes(aws: LocalAws, repository: Path, tmp_path: Path) -> None:
    dear = check(aws, repository, "--at-most", "0.10", "--state-dir", str(tmp_path))
    assert dear.returncode == Exit.USAGE and "may cost more than $0.10" in dear.stderr
    unasked = check(aws, repository, "--state-dir", str(tmp_path))
    assert unasked.returncode == Exit.USAGE and "--yes" in unasked.stderr and "Endpoint" in unasked.stdout
    assert "Deploy" not in unasked.stdout
