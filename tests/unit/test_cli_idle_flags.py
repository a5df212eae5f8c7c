"""A flag that would change nothing is refused by name, before anything is read, asked or started."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.core.errors import Exit


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "BINVENTORY_ENV"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("rehearse --end kept --keep", "--keep has no effect here"),
        ("rehearse --end kept --resume kept", "--resume has no effect here"),
        ("rehearse --resume kept --photos bins --reclaim", "--photos and --reclaim have no effect here"),
        ("rehearse --photos bins --photos-count 100", "--photos-count has no effect here"),
        ("train --on ec2 --watch ec2-1 --set Epochs=3", "--set has no effect here"),
        ("train --on ec2 --watch ec2-1 --resume ec2-1", "--resume has no effect here"),
        ("train --on ec2 --watch ec2-1 --dry-run", "--dry-run has no effect here"),
        ("train --resume ec2-1", "--resume and --watch are for --on ec2"),
        ("train --watch ec2-1", "--resume and --watch are for --on ec2"),
        ("train --on ec2 --photos s3://bucket/bins/", "--photos and --labels are not for --on ec2"),
        ("train --on ec2 --labels s3://bucket/labels.csv", "--photos and --labels are not for --on ec2"),
        ("train --on ec2 --like newest", "--like and --fresh are not for --on ec2"),
        ("train --on ec2 --fresh", "--like and --fresh are not for --on ec2"),
        ("approve --no-wait --timeout 5", "--timeout has no effect here"),
        ("report --markdown --json", "--markdown and --json exclude each other"),
        ("spent --markdown --json", "--markdown and --json exclude each other"),
        ("cost --markdown --json", "--markdown and --json exclude each other"),
        ("cost cdk.out --env prod", "--env has no effect here"),
        ("count s3://bucket/bins/ --allow-host example.com", "--allow-host has no effect here"),
        ("count s3://bucket/bins/ bin.jpg", "An address of S3 is counted alone"),
        ("count s3://bucket/bins/ s3://bucket/bay/", "An address of S3 is counted alone"),
        ("audit bins --predictions answers.jsonl --rate 5", "--rate has no effect here"),
        ("audit bins --predictions answers.jsonl --endpoint mine", "--endpoint has no effect here"),
        ("audit s3://bucket/bins/ --batch --rate 5", "--rate has no effect here"),
        ("audit s3://bucket/bins/ --batch --instance ml.m5.xlarge", "--instance has no effect here"),
        ("audit bins --instance ml.m5.xlarge --price-per-hour 1", "--instance and --price-per-hour exclude each other"),
        ("audit bins --top 5 --budget 5", "--top and --budget exclude each other"),
        ("audit bins --columns image_id=A,count=B", "--columns has no effect here"),
        ("audit bins --format csv --page-bins 10", "--page-bins has no effect here"),
        ("audit bins --format ,", "--format names no format"),
        ("review cdk.diff --assembly nowhere", "nowhere is no cloud assembly"),
    ],
)
def test_it_is_refused_by_name(
    command: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(command)) == Exit.USAGE
    captured = capsys.readouterr()
    what, why, cure = captured.err.splitlines()
    assert what == f"{said}." and why.startswith("Why: ") and cure.startswith("Do:  ")
    assert captured.out == "" and list(tmp_path.iterdir()) == []


def test_what_a_variable_says_may_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BINVENTORY_ENV", "prod")
    assert run(["cost", str(tmp_path)]) == Exit.USAGE
    assert "--env" not in capsys.readouterr().err
