"""The folder of a rehearsal: one lives in it; nothing else is touched; it continues after its process was killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from binventory.cli import rehearse, run
from binventory.core.aws import connect
from binventory.core.errors import Exit, Problem
from binventory.rehearsal import folder, leftovers
from local_aws.core.host import free_port
from local_aws.server import LocalAws

Said = pytest.CaptureFixture[str]


def tree(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def record(port: int = 0) -> folder.Record:
    return folder.Record(port or free_port(), "binventory-dev", enforce_iam=False)


def test_a_second_rehearsal_in_the_same_folder_is_refused_and_touches_nothing(tmp_path: Path, capsys: Said) -> None:
    place = tmp_path / "mine"
    with LocalAws(place / "aws") as aws:
        (place / "rehearsal.json").write_text(json.dumps({"port": aws.port, "prefix": "p", "enforce_iam": False}))
        (place / "environment.sh").write_text("export A=1\n")
        before = (place / "rehearsal.json").read_bytes(), (place / "environment.sh").read_bytes()
        for keep in ([], ["--keep"]):
            assert run(["rehearse", *keep, "--state-dir", str(place)]) == Exit.USAGE
            said = capsys.readouterr().err
            assert f"A rehearsal lives in {place}" in said.replace("\n", " ")
            assert "runs" in said
            assert f"--end {place}" in said.replace("\n", " ")
        assert before == ((place / "rehearsal.json").read_bytes(), (place / "environment.sh").read_bytes())
        assert connect(aws.environment()).client("s3").list_buckets()["Buckets"] == []


def test_a_folder_with_other_files_is_refused_and_untouched(tmp_path: Path, capsys: Said) -> None:
    """A rehearsal removes its folder when it ends: a mistyped --state-dir must not cost somebody's photos."""
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    before = tree(tmp_path)
    assert run(["rehearse", "--state-dir", str(tmp_path)]) == Exit.USAGE
    assert "photo.jpg" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_one_that_is_refused_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearse, "REPOSITORY", tmp_path)
    assert run(["rehearse", "--photos", str(tmp_path / "none")]) == Exit.USAGE
    assert list((tmp_path / ".rehearsal").iterdir()) == []


def test_the_logs_of_a_rehearsal_that_failed_do_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "cdk.log").write_text("failed")
    folder.claim(tmp_path, record())
    assert folder.read(tmp_path).prefix == "binventory-dev"


def test_of_two_that_begin_at_once_one_gets_the_folder(tmp_path: Path) -> None:
    def claim(port: int) -> int:
        try:
            folder.claim(tmp_path / "state", record(port))
        except Problem as problem:
            assert problem.code == Exit.USAGE
            return 0
        return port

    with ThreadPoolExecutor(8) as pool:
        won = [port for port in pool.map(claim, range(1, 9)) if port]
    assert len(won) == 1
    assert folder.read(tmp_path / "state").port == won[0]


@pytest.mark.parametrize("written", [None, "", "[]", '{"port": 1}', '{"port": 1, "prefix": "p", "more": 2}'])
@pytest.mark.parametrize("flag", ["--end", "--resume"])
def test_a_folder_without_a_rehearsal_is_named(tmp_path: Path, flag: str, written: str | None, capsys: Said) -> None:
    if written is not None:
        (tmp_path / "rehearsal.json").write_text(written)
    before = tree(tmp_path)
    assert run(["rehearse", flag, str(tmp_path)]) == Exit.USAGE
    assert f"No kept rehearsal in {tmp_path}" in capsys.readouterr().err.replace("\n", " ")
    assert tree(tmp_path) == before


def test_a_killed_one_goes_on_at_the_same_address_with_the_same_keys(
    tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9, then `--resume`: what was there is there; the shell that uses it need not change; `--end` ends it."""
    place = tmp_path / "kept"
    aws = LocalAws(place / "aws", keep=True)
    folder.claim(place / "other", record())
    (place / "other" / "rehearsal.json").rename(place / "rehearsal.json")
    (place / "other").rmdir()
    (place / "rehearsal.json").write_text(
        json.dumps({"port": aws.port, "prefix": "binventory-dev", "enforce_iam": False})
    )
    aws.start()
    exports = folder.write_exports(place, aws.environment())
    used = connect(exports)
    used.client("iam").create_user(UserName="somebody")
    for pid in aws.processes():
        os.kill(pid, signal.SIGKILL)

    assert run(["rehearse", "--resume", str(place), "--json"]) == Exit.OK
    resumed = json.loads(capsys.readouterr().out)["kept"]
    try:
        assert resumed == exports
        assert used.client("iam").get_user(UserName="somebody")
        server = (place / "aws" / "pid").read_text()
        assert run(["rehearse", "--resume", str(place)]) == Exit.OK
        assert (place / "aws" / "pid").read_text() == server, "what runs is left running"
        assert f"source {place}/environment.sh" in capsys.readouterr().out.replace("\n", " ")
    finally:
        capsys.readouterr()
        assert run(["rehearse", "--end", str(place), "--json"]) == Exit.OK
        assert json.loads(capsys.readouterr().out) == {"ended": str(place.resolve())}
    assert not place.exists()


def test_resume_says_that_another_program_has_its_port(tmp_path: Path, capsys: Said) -> None:
    place = tmp_path / "kept"
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        folder.claim(place, record(held.getsockname()[1]))
        assert run(["rehearse", "--resume", str(place)]) == Exit.NOT_READY
    said = capsys.readouterr().err
    assert "did not start" in said
    assert "in use by another program" in said and "end that program" in said
    assert "in use" in said


def test_only_the_owner_reads_the_keys(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    folder.claim(place, record())
    folder.write_exports(place, {"AWS_SECRET_ACCESS_KEY": "secret"})
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for name in ("environment.sh", "rehearsal.json"):
        assert stat.S_IMODE((place / name).stat().st_mode) == 0o600


def test_the_code_of_a_function_that_is_left_in_the_temporary_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "ministack-lambda-binventory-dev-of-an-earlier-one-x0").mkdir()
    os.utime(tmp_path / "ministack-lambda-binventory-dev-of-an-earlier-one-x0", (0, 0))
    folder.claim(tmp_path / "state", record())
    (tmp_path / "ministack-lambda-binventory-dev-reconcile-x1").mkdir()
    (tmp_path / "ministack-lambda-somebody-elses-x2").mkdir()
    found = leftovers.on_machine(tmp_path / "state", free_port(), "binventory-dev")
    assert [Path(name).name for name in found.found["temporary folders"]] == [
        "ministack-lambda-binventory-dev-reconcile-x1"
    ]
    assert not found.none
