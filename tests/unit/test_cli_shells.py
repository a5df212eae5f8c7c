"""The command line in the shells that people have: closed streams, encodings, a folder that is gone, empty values."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from binventory.cli import run
from binventory.core.aws import Aws
from binventory.core.errors import Exit

CODE = "from binventory.cli import main; main()"


def typed(words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command line of a shell, in which `binventory` is this checkout's."""
    script = f"binventory() {{ {sys.executable} -c '{CODE}' \"$@\"; }}; {words}"
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=os.environ | environment, capture_output=True, check=False
    )


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_a_closed_stream_is_no_fault(streams: str, tmp_path: Path) -> None:
    done = typed(f"binventory --version {streams}", tmp_path)
    assert (done.returncode, done.stderr) == (Exit.OK, b"")
    assert typed(f"binventory doctor --env stage {streams}", tmp_path).returncode == Exit.USAGE


def test_closed_standard_input_is_empty(tmp_path: Path) -> None:
    """As of a program that others start in the background: a question finds no terminal, and a reader no text."""
    done = typed("binventory review - <&-", tmp_path)
    assert done.returncode == Exit.FAILED and b"The diff cannot be reviewed" in done.stderr


def test_a_name_that_the_terminal_cannot_show_does_not_lose_the_result(tmp_path: Path) -> None:
    """A folder may hold names of an older encoding, and a terminal may be of one."""
    for encoding, name, shown in (("utf-8", "b\udce9", rb"b\udce9"), ("ascii", "caf\xe9", rb"caf\xe9")):
        folder = os.fsencode(name)
        script = f"sys.argv = ['', 'render', os.fsdecode({folder!r}), '--photos', '2']"
        done = subprocess.run(
            [sys.executable, "-c", f"import os, sys; {script}; {CODE}"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (Exit.OK, b"")
        assert done.stdout.rstrip().endswith(shown)
        assert os.path.isdir(os.fsencode(tmp_path) + b"/" + folder)


def test_help_is_shown_in_an_encoding_that_lacks_its_signs(tmp_path: Path) -> None:
    done = typed("binventory audit --help", tmp_path, PYTHONIOENCODING="ascii", COLUMNS="100")
    assert done.returncode == Exit.OK and b"--concurrency" in done.stdout and done.stderr == b""


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    done = typed("mkdir gone && cd gone && rmdir ../gone && binventory render bins --photos 2", tmp_path)
    what, why, cure = done.stderr.decode().splitlines()
    assert (done.returncode, what) == (Exit.USAGE, "The current folder is gone.")
    assert why.startswith("Why: ") and "change to a folder that exists" in cure


def test_columns_of_zero_are_unknown_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert run(["render", str(tmp_path / "bins"), "--photos", "2"]) == Exit.OK
    assert str(tmp_path) in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["approve", "", "--yes"],
        ["reject", ""],
        ["stop", ""],
        ["watch", ""],
        ["spent", ""],
        ["report", ""],
        ["train", "--like", "", "--yes"],
        ["audit", "bins", "--output", ""],
        ["audit", "bins", "--endpoint", ""],
        ["count", "bin.jpg", ""],
        ["render", ""],
        ["cost", ""],
        ["rehearse", "--photos", ""],
        ["rehearse", "--state-dir", ""],
    ],
    ids=" ".join,
)
def test_an_empty_value_is_refused_and_no_default_takes_its_place(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`binventory stop "$RUN"` in a shell without RUN."""
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == Exit.USAGE
    what, why, _ = capsys.readouterr().err.splitlines()
    assert what.endswith(" is empty.") and "not set" in why
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "bins", "--price-per-hour", "inf"],
        ["audit", "bins", "--rate", "inf"],
        ["cost", "--traffic", "inf"],
        ["approve", "--timeout", "1e999"],
        ["endpoint", "on", "--timeout", "inf"],
    ],
    ids=" ".join,
)
def test_infinity_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A range without an upper end takes it, and JSON has no `Infinity`."""
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == Exit.USAGE
    what, why, _ = capsys.readouterr().err.splitlines()
    assert f"{arguments[-2]} {arguments[-1]}" in what and "finite number" in why
    assert not list(tmp_path.iterdir())


def test_an_empty_variable_of_the_environment_counts_as_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINVENTORY_ENV", "")
    monkeypatch.setenv("AWS_REGION", "")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    assert run(["endpoint", "status"]) == Exit.NOT_READY
    assert "AWS_SECRET_ACCESS_KEY" in capsys.readouterr().err


def test_a_region_without_the_stacks_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment would not help: it goes to the region of the settings."""
    aws = Aws(boto3.Session("key", "secret", region_name="eu-west-1"))
    monkeypatch.setattr("binventory.cli.endpoint.connect", lambda environment: aws)
    with Stubber(aws.client("cloudformation")) as stub:
        stub.add_client_error(
            "describe_stacks", "ValidationError", "Stack with id binventory-dev-serving does not exist"
        )
        assert run(["endpoint", "status"]) == Exit.NOT_READY
    said = capsys.readouterr().err
    assert "it is not deployed in eu-west-1" in said and "export AWS_REGION" in said


def test_leftovers_of_another_region_are_not_looked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account lists buckets, roles and budgets of all regions: those in use elsewhere are no leftovers."""
    aws = Aws(boto3.Session("key", "secret", region_name="eu-west-1"))
    monkeypatch.setattr("binventory.cli.leftovers.connect", lambda environment: aws)
    for arguments in (["leftovers"], ["leftovers", "--json"]):
        assert run(arguments) == Exit.NOT_READY
        captured = capsys.readouterr()
        assert captured.out == "" and "deployed to us-east-1" in captured.err
        assert "Do:  export AWS_REGION=us-east-1" in captured.err


def test_stop_does_not_say_that_nothing_runs_where_there_is_no_pipeline(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shell of another region an execution bills on, whatever that region says."""
    aws = Aws(boto3.Session("key", "secret", region_name="eu-west-1"))
    monkeypatch.setattr("binventory.cli.stop.connect", lambda environment: aws)
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_client_error("list_pipeline_executions", "ResourceNotFound", "Pipeline binventory-dev does not exist")
        assert run(["stop"]) == Exit.NOT_READY
    captured = capsys.readouterr()
    assert captured.out == "" and "no pipeline binventory-dev in eu-west-1" in captured.err


def test_what_has_many_lines_is_said_in_three(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["count", str(tmp_path / "two\nlines"), "--output", str(tmp_path / "no\nfolder" / "x")]) == Exit.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_json_stays_ascii(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["render", str(tmp_path / "b\xe9"), "--photos", "2", "--json"]) == Exit.OK
    printed = capsys.readouterr().out
    assert printed.isascii() and json.loads(printed)


WAITS = """
import sys, time
import binventory.render
from binventory.cli import main
from binventory.core.interruption import GoesOn, interruptible

def wait(*_, **__):
    with interruptible(lambda: GoesOn("Interrupted", "by a test", "nothing")):
        try:
            print("begun", flush=True)
            for _ in range(300):  # Python sees a signal that comes just before a sleep when the sleep is over
                time.sleep(0.1)
        finally:
            print("what a closed terminal would refuse", flush=True)
            open("stopped", "w").close()

binventory.render.render_bucket = wait
sys.argv = ["binventory", "render", "bins"]
main()
"""


def hung_up(folder: Path, *, ignored: bool) -> int:
    """The exit status of a command whose terminal is closed while it works; 30 where it works on."""
    main_end, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        cwd=folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignored else None,
    )
    os.close(terminal)
    shown = b""
    while b"begun" not in shown:
        shown += os.read(main_end, 100)
    os.close(main_end)
    process.send_signal(signal.SIGHUP)
    try:
        return process.wait(2 if ignored else 20)
    except subprocess.TimeoutExpired:
        return 30
    finally:
        process.kill()


def test_a_terminal_that_is_closed_interrupts_as_ctrl_c_does(tmp_path: Path) -> None:
    """A transform job of `count s3://` is stopped, and a rehearsal ends: both continued when an SSH session broke."""
    assert hung_up(tmp_path, ignored=False) == Exit.INTERRUPTED
    assert (tmp_path / "stopped").exists()


def test_nohup_keeps_a_command_from_that(tmp_path: Path) -> None:
    assert hung_up(tmp_path, ignored=True) == 30
    assert not (tmp_path / "stopped").exists()


def test_ctrl_c_while_the_command_line_is_imported_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "binventory", "--version"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (Exit.INTERRUPTED, b"", b"")


def test_the_newest_package_that_waits_is_found_on_a_later_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may be empty although more follow: `approve` said that no execution has registered a model."""
    aws = Aws(boto3.Session("key", "secret", region_name="us-east-1"))
    monkeypatch.setattr("binventory.cli.train.connect", lambda environment: aws)
    package = "arn:aws:sagemaker:us-east-1:123456789012:model-package/binventory-dev/7"
    found = {
        "ModelPackageName": package, "ModelPackageArn": package, "ModelPackageStatus": "Completed",
        "CreationTime": "2026-11-30T12:00:00Z",
    }  # fmt: skip
    with Stubber(aws.client("sagemaker")) as sagemaker, Stubber(aws.client("cloudformation")) as cloudformation:
        for _ in range(4):
            cloudformation.add_client_error("describe_stacks", "ValidationError", "Stack with id it does not exist")
        sagemaker.add_response("list_model_packages", {"ModelPackageSummaryList": [], "NextToken": "more"})
        sagemaker.add_response("list_model_packages", {"ModelPackageSummaryList": [found]})
        sagemaker.add_response("list_model_packages", {"ModelPackageSummaryList": [found]})
        assert run(["approve", "--dry-run"]) == Exit.NOT_READY
    assert f"{package} would be approved" in " ".join(capsys.readouterr().err.split())
