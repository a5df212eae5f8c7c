"""What the local AWS changes in AWS's training toolkit: requirements that are installed, and runners that need SSH."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from local_aws.images import toolkit

BOTO = metadata.version("boto3")
HASH = "--hash=sha256:" + "0" * 64


def _run(program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process, because the toolkit is changed for good."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={"SAGEMAKER_BASE_DIR": str(folder / "base"), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


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


def test_a_job_that_asks_for_mpi_gets_the_toolkits_own_runner(tmp_path: Path) -> None:
    program = (
        "import sys; from local_aws.images import toolkit; toolkit._import_ssh_late()\n"
        "from sagemaker_training import runner\n"
        "assert 'paramiko' not in sys.modules\n"
        "print(runner.mpi.MasterRunner.__module__, runner.smdataparallel.SMDataParallelRunner.__module__)\n"
        "assert 'paramiko' in sys.modules\n"
    )
    done = _run(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "sagemaker_training.mpi sagemaker_training.smdataparallel\n"
