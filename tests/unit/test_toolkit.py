"""What the local AWS changes in AWS's training toolkit: requirements that are installed, and unkind addresses."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from local_aws.images import toolkit

BOTO = metadata.version("boto3")
HASH = "--hash=sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("written", "unmet"),
    [
        (f"boto3=={BOTO}\n", []),
        ("boto3\n# a comment\n\n", []),
        (f"boto3=={BOTO} \\\n    {HASH} \\\n    {HASH}\n    # via something\n", []),
        (f"boto3==0.0.1 \\\n    {HASH}\n", ["boto3==0.0.1"]),
        ("no-such-package-here\n", ["no-such-package-here"]),
        ("--index-url https://example.com\n", ["--index-url https://example.com"]),
        ("boto3; python_version < '3'\n", []),
    ],
)
def test_only_what_is_missing_needs_pip(written: str, unmet: list[str], tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(written)
    assert toolkit._unmet(str(tmp_path)) == unmet


def test_the_lock_of_the_jobs_is_installed_here(repository: Path) -> None:
    assert toolkit._unmet(str(repository / "training_code")) == [], "each job would start pip"


def test_pip_is_found_beside_an_interpreter_with_an_apostrophe(tmp_path: Path) -> None:
    """In a process, because the toolkit is changed for good."""
    python = tmp_path / "it's python" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nprintf "%s|" "$@" > "$(dirname "$0")/said"\n')
    python.chmod(0o755)
    (tmp_path / "requirements.txt").write_text("missing\n")
    program = (
        "import sys; from local_aws.images import toolkit; from sagemaker_training import modules, process\n"
        "toolkit._find_the_interpreter_at_any_address()\n"
        "process.python_executable = lambda: sys.argv[1]\n"
        "modules.install_requirements(sys.argv[2])\n"
        "assert modules.shlex.split('neuron-ls -j') == ['neuron-ls', '-j']\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(python), str(tmp_path)],
        env={"SAGEMAKER_BASE_DIR": str(tmp_path / "base"), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (python.parent / "said").read_text() == "-m|pip|install|-r|requirements.txt|"
