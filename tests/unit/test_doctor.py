"""The doctor finds what is missing and names the cure, against a bare local AWS and against none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.core.aws import connect
from binventory.core.errors import Exit
from binventory.core.names import Names
from binventory.doctor.checks import examine
from local_aws.server import LocalAws


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with LocalAws(tmp_path_factory.mktemp("aws")) as started:
        yield started


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch, local_aws: LocalAws) -> LocalAws:
    for name, value in local_aws.environment().items():
        monkeypatch.setenv(name, value)
    return local_aws


def test_without_credentials_the_account_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert run(["doctor", "--json"]) == Exit.NOT_READY
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["credentials"]["state"] == "missing"
    assert "AWS_REGION" in checks["credentials"]["cure"]
    assert "bootstrap" not in checks
    assert checks["python"]["state"] == "good"


def test_a_bare_account_lacks_bootstrap_and_stacks(signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == Exit.NOT_READY
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["credentials"]["state"] == "good"
    assert signed_in.account in checks["credentials"]["found"]
    assert signed_in.endpoint_url in checks["region"]["found"]
    assert checks["bootstrap"]["cure"] == "run: npx cdk bootstrap"
    for stack in ("storage", "money", "training", "serving", "monitoring"):
        assert checks[f"stack {stack}"]["state"] == "missing"
        assert checks[f"stack {stack}"]["cure"] == "run: npx cdk deploy --all"
    assert any(name.endswith("for endpoint usage") for name in checks)


def test_an_old_bootstrap_is_found(signed_in: LocalAws, repository: Path) -> None:
    ssm = connect(signed_in.environment()).client("ssm")
    for version, state in (("5", "missing"), ("30", "good")):
        ssm.put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value=version, Type="String", Overwrite=True)
        checks = {check.name: check for check in examine(repository, Names(), {})}
        assert checks["bootstrap"].state == state
        assert version in checks["bootstrap"].found
    ssm.delete_parameter(Name="/cdk-bootstrap/hnb659fds/version")


def test_another_cdk_than_the_pinned_one_is_found(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"devDependencies": {"aws-cdk": "2.0.1"}}')
    found = next(check for check in examine(tmp_path, Names(), {}) if check.name == "cdk")
    assert (found.state, found.found, found.cure) == ("missing", "not installed, wanted 2.0.1", "run: make setup")


def test_the_account_itself_may_do_everything(signed_in: LocalAws, repository: Path) -> None:
    found = {check.name: check for check in examine(repository, Names(), {})}["permissions"]
    assert (found.state, found.found) == ("good", "may deploy, train, approve, endpoint, count")


def test_a_role_that_only_counts_sees_its_missing_permissions(
    signed_in: LocalAws, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = connect(signed_in.environment())
    anyone = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    endpoint = f"arn:aws:sagemaker:{signed_in.region}:{signed_in.account}:endpoint/binventory-dev"
    count = {"Effect": "Allow", "Action": "sagemaker:InvokeEndpoint", "Resource": endpoint}
    iam = aws.client("iam")
    role = iam.create_role(RoleName="counter", AssumeRolePolicyDocument=_document(anyone))["Role"]["Arn"]
    iam.put_role_policy(RoleName="counter", PolicyName="count", PolicyDocument=_document(count))
    session = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", session["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", session["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", session["SessionToken"])
    found = {check.name: check for check in examine(repository, Names(), {})}["permissions"]
    assert (found.state, found.found) == ("unknown", "may not deploy, train, approve, endpoint")
    assert "sagemaker:StartPipelineExecution on arn:aws:sagemaker:" in found.cure
    assert "InvokeEndpoint" not in found.cure


def _document(statement: Mapping[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_the_table_names_the_cure(signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == Exit.NOT_READY
    assert "cdk bootstrap" in capsys.readouterr().out
