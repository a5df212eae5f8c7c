"""What `make check` makes of the findings of cfn-lint and checkov."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stacks import scan
from tests.stacks.scan import ACCEPTED, MISTAKES, PLANTED, Found, checked, left, linted

LINTED = {
    "Filename": f"/tmp/any/{PLANTED}.json",
    "Rule": {"Id": "E3030"},
    "Location": {"Path": ["Resources", "Budget", "Properties", "Budget", "BudgetType"]},
    "Message": "'COSTS' is not one of ['COST', 'USAGE']",
}
CHECKED = {
    "file_path": "/dev-Storage.json",
    "check_id": "CKV_AWS_21",
    "resource": "AWS::S3::Bucket.ModelBucketB33D855B",
    "check_name": "Ensure the S3 bucket has versioning enabled",
}


def write(folder: Path, name: str, answer: Any) -> None:
    """A program that answers as a scanner does."""
    program = folder / name
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    program.chmod(0o755)


def failed(*findings: dict[str, str]) -> dict[str, Any]:
    """checkov's answer."""
    return {"results": {"failed_checks": [*findings, CHECKED | {"file_path": f"/{PLANTED}.json"}]}}


def test_what_is_accepted_is_named_with_a_reason() -> None:
    of_models = Found("dev-Storage", "CKV_AWS_21", "ModelBucketB33D855B", "no versions")
    of_shards = Found("dev-Storage", "CKV_AWS_21", "DataBucketE3889A50", "no versions")
    assert left([of_models, of_shards]) == [of_models]
    assert all(reason.endswith(".") for _, _, reason in ACCEPTED)
    assert left(linted(json.dumps([LINTED]))) == [], "planted"
    assert left(checked(json.dumps(failed(CHECKED)))) == [
        Found("dev-Storage", "CKV_AWS_21", "ModelBucketB33D855B", CHECKED["check_name"])
    ]


@pytest.mark.parametrize(
    ("lint", "check", "status", "said"),
    [
        ([LINTED], failed(), 0, ""),
        ([], failed(), 1, "linted: the planted mistakes were not found"),
        ([LINTED], failed(CHECKED), 1, "dev-Storage: CKV_AWS_21 ModelBucketB33D855B"),
        ([LINTED], {"error": "no licence"}, 1, "did not end well"),
    ],
)
def test_the_check_fails_for_findings_and_for_scanners_that_find_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lint: Any,
    check: Any,
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr(scan, "write_templates", lambda folder: (folder / f"{PLANTED}.json").write_text(str(MISTAKES)))
    write(tmp_path, "cfn-lint", lint)
    write(tmp_path, "checkov", check)
    assert scan.main(tmp_path) == status
    assert said in capsys.readouterr().err
