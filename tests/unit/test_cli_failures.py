"""No failure is a traceback: three lines and the documented exit code, and no work before the place is looked at."""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from binventory.cli import run
from binventory.cli.failures import problem_of
from binventory.core.aws import Aws
from binventory.core.errors import Exit
from binventory.core.outputs import check_file, check_folder, write_text
from binventory.core.words import counted
from binventory.render import render_bucket


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "BINVENTORY_ENV"):
        monkeypatch.delenv(name, raising=False)


def three_lines(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    _, why, cure = captured.err.splitlines()
    assert captured.out == "" and why.startswith("Why: ") and cure.startswith("Do:  ")
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["doctor", "--env", "stage"], "There is no environment stage"),
        (["cost", "--env", "produ"], "did you mean --env prod?"),
        (["endpoint", "status", "--env", ""], "must be one of dev, prod"),
        (["report", "-o", "/nonexistent/x"], "there is no folder /nonexistent"),
        (["count", "bin.jpg", "-o", "/nonexistent/x"], "No such option"),
        (["count", "bin.jpg", "--output", "/nonexistent/x"], "there is no folder /nonexistent"),
        (["count", "bin.jpg", "--output", "/tmp"], "it is a folder"),
        (["rehearse", "--report", "/nonexistent/x.html"], "there is no folder /nonexistent"),
        (["audit", "bins", "--output", "/dev/null/x"], "/dev/null is a file"),
        (["render", "/dev/null/x"], "/dev/null is a file"),
        (["render", "/proc/x"], "/proc/x"),
        (["rehears"], "Did you mean 'rehearse'"),
        (["render", "x", "--photo", "3"], "--photos"),
        (["endpoint", "of"], "Did you mean 'off'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_person_can_mistype_is_wrong_usage(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == Exit.USAGE
    assert said in three_lines(capsys)


def test_a_misspelt_setting_exits_with_2_and_the_reason_is_its_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINVENTORY_TRAINING__EPOCS", "3")
    for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "us-east-1")
    for command in (["cost"], ["doctor"], ["leftovers"]):
        assert run(command) == Exit.USAGE
        _, why, _ = three_lines(capsys).splitlines()
        assert "training.epocs" in why.lower() and "did you mean epochs?" in why


@pytest.mark.parametrize("arguments", [["--verbose", "doctor"], ["doctor", "--verbose"]], ids=" ".join)
def test_a_fault_is_three_lines_and_its_traceback_comes_with_verbose(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("binventory.cli.doctor.examine", broken)
    assert run(["doctor"]) == Exit.FAILED
    assert "ZeroDivisionError: division by zero" in three_lines(capsys)
    assert run(arguments) == Exit.FAILED
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(28, "No space left on device", "/x/run.html"), Exit.FAILED, "/x/run.html: No space left on device"),
        (OSError(30, "Read-only file system", "/x"), Exit.USAGE, "/x may not be read or written"),
        (OSError(2, "No such file or directory", "/x"), Exit.USAGE, "/x cannot be used"),
        (OSError(5, "Input/output error", "/x"), Exit.FAILED, "check the disk"),
        (ValueError("two\nlines"), Exit.FAILED, "ValueError: two lines"),
    ],
)
def test_what_an_error_of_the_disk_says(error: Exception, code: Exit, said: str) -> None:
    problem = problem_of(error)
    assert problem.code == code
    assert said in f"{problem.what}|{problem.why}|{problem.cure}"
    assert "\n" not in problem.what + problem.why + problem.cure


@pytest.mark.parametrize(
    ("answer", "code", "cure"),
    [
        ("ExpiredToken", Exit.NOT_READY, "sign in again"),
        ("ExpiredTokenException", Exit.NOT_READY, "sign in again"),
        ("UnrecognizedClientException", Exit.NOT_READY, "sign in again"),
        ("SignatureDoesNotMatch", Exit.NOT_READY, "export keys that AWS knows"),
        ("RequestTimeTooSkewed", Exit.FAILED, "set the clock"),
        ("ThrottlingException", Exit.FAILED, "asked too often"),
        ("RequestThrottledException", Exit.FAILED, "asked too often"),
        ("ResourceLimitExceeded", Exit.FAILED, "a higher quota"),
        ("AccessDeniedException", Exit.FAILED, "check that these credentials may do this"),
    ],
)
def test_the_cure_of_what_aws_refuses_fits_its_reason(
    answer: str, code: Exit, cure: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    monkeypatch.setattr("binventory.cli.watch.connect", lambda environment: aws)
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_client_error("list_pipeline_executions", answer, "this is why")
        assert run(["watch"]) == code
    what, why, do = three_lines(capsys).splitlines()
    assert what == "AWS refused ListPipelineExecutions." and why == f"Why: {answer}: this is why" and cure in do


@pytest.mark.parametrize(("answer", "status"), [("InternalFailure", 500), ("ServiceUnavailable", 503), ("503", 503)])
def test_an_error_of_awss_own_is_no_question_of_permissions(
    answer: str, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    monkeypatch.setattr("binventory.cli.watch.connect", lambda environment: aws)
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_client_error("list_pipeline_executions", answer, "this is why", http_status_code=status)
        assert run(["watch"]) == Exit.FAILED
    what, why, do = three_lines(capsys).splitlines()
    assert what == "AWS failed at ListPipelineExecutions." and why == f"Why: {answer}: this is why"
    assert "run the same command again" in do and "health.aws.amazon.com" in do


def test_a_ledger_that_another_program_has_open_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x")) as one, closing(sqlite3.connect(tmp_path / "x", timeout=0)) as other:
        one.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            other.execute("BEGIN IMMEDIATE")
    problem = problem_of(caught.value)
    assert "in use" in problem.what and "locked" in problem.why and "make room" not in problem.cure


def small_disk() -> None:
    """No file may grow beyond 20 kB, as on a disk that fills up: what is written then fails in the same calls."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_ends_a_rendering_with_three_lines(tmp_path: Path) -> None:
    code = "import random, sys; from binventory.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "render", str(tmp_path / "bins"), "--photos", "60"],
        preexec_fn=small_disk,  # the child is one thread at that moment
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == Exit.FAILED
    assert done.stdout == ""
    what, why, cure = done.stderr.splitlines()
    assert what == "There is no room for what this command writes."
    assert "File too large" in why
    assert "make room" in cure


def test_a_full_disk_ends_an_audit_with_three_lines(tmp_path: Path) -> None:
    render_bucket(tmp_path / "bins", photos=12)
    names = sorted(path.name for path in (tmp_path / "bins" / "bin-images").iterdir())
    answer = {"count": 2, "probabilities": {"1": 0.1, "2": 0.6, "3": 0.1, "4": 0.1, "5": 0.1}}
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({"photo": name, **answer}) + "\n" for name in names))
    code = "from binventory.cli import main; main()"
    arguments = ["audit", str(tmp_path / "bins"), "--predictions", str(answers), "--output", str(tmp_path / "audit")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], preexec_fn=small_disk, capture_output=True, text=True, check=False
    )
    assert done.returncode == Exit.FAILED, done.stderr
    what, why, cure = done.stderr.splitlines()
    assert what == "The audit's ledger cannot be written."
    assert why.startswith("Why: SQLite says: ") and "make room" in cure


@pytest.mark.parametrize(
    ("unbuffered", "where"), [("", "standard output: "), ("1", "")], ids=["buffered", "unbuffered"]
)
def test_a_full_disk_behind_standard_output_is_noticed(unbuffered: str, where: str) -> None:
    """At the end, when Python writes what it holds, or at once."""
    code = "import sys; from binventory.cli import main; main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "--version"],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == Exit.FAILED
    assert f"Why: {where}No space left on device" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    write_text(page, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(page, "x" * 100_000 + "\ud800")
    assert page.read_text() == "before"
    assert os.listdir(tmp_path) == ["run.html"]
    write_text(Path("/dev/null"), "a device is written to, not replaced")
    assert not Path("/dev/null").is_file()


def test_a_place_that_can_be_written_passes(tmp_path: Path) -> None:
    check_file(tmp_path / "new.html", "--output")
    check_folder(tmp_path / "several" / "new" / "folders", "DIR")
    assert os.listdir(tmp_path) == []


def test_the_version_and_its_flag_agree(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    assert run(["--version"]) == Exit.OK
    number = capsys.readouterr().out.removeprefix("binventory ").strip()
    assert f'version = "{number}"' in (repository / "pyproject.toml").read_text()


@pytest.mark.parametrize("number", [0, 1, 2, 1000])
def test_numbers_in_sentences(number: int) -> None:
    assert counted(number, "instance") == {0: "0 instances", 1: "1 instance", 1000: "1,000 instances"}.get(
        number, "2 instances"
    )


def test_quiet_leaves_results_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", str(tmp_path / "bins"), "--photos", "1", "--quiet", "--json"]) == Exit.OK
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["counts"]
