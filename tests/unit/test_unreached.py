"""Where AWS is not reached, the three lines name what is in the way: credentials, proxy, certificate, a local AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.core.errors import Exit
from binventory.core.unreached import unreached

EXPIRED = {"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "b", "Expiration": "2020-01-01T00:00:00Z"}
NOBODY = "http://127.0.0.1:1"
PROFILES = f"""
[profile sso]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Admin
[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = us-east-1
[profile "older sso"]
sso_start_url = https://corp.awsapps.com/start
sso_region = us-east-1
sso_account_id = 123456789012
sso_role_name = Admin
[profile assumed]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = absent
[profile second-factor]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = keys
mfa_serial = arn:aws:iam::123456789012:mfa/me
[profile keys]
aws_access_key_id = a
aws_secret_access_key = b
[profile login]
login_session = arn:aws:iam::123456789012:user/me
[profile no-program]
credential_process = /nonexistent/credentials
[profile failing-program]
credential_process = sh -c "echo first >&2; echo second >&2; exit 3"
[profile chatty-program]
credential_process = echo hello
[profile expired-program]
credential_process = echo '{json.dumps(EXPIRED)}'
"""


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell with profiles, without keys; no token is cached in its home."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text(PROFILES)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str, str]:
    code = run(list(arguments or ("endpoint", "status")))
    captured = capsys.readouterr()
    what, why, cure = captured.err.splitlines()
    assert captured.out == "" and why.startswith("Why: ") and cure.startswith("Do:  ")
    return code, what, why, cure


@pytest.mark.parametrize(
    ("profile", "reason", "cure"),
    [
        ("sso", "Token for corp does not exist", "aws sso login --profile sso"),
        ("older sso", "Token for https://corp.awsapps.com/start", "aws sso login --profile 'older sso'"),
        ("assumed", '"absent" referenced in the profile "assumed"', "aws sts get-caller-identity --profile assumed"),
        ("login", "botocore[crt]", 'eval "$(aws configure export-credentials --profile login --format env)"'),
        ("no-program", "/nonexistent/credentials", "aws sts get-caller-identity --profile no-program"),
        ("failing-program", "first second", "aws sts get-caller-identity"),
        ("chatty-program", "JSONDecodeError", "aws sts get-caller-identity"),
        ("expired-program", "still expired", "aws sts get-caller-identity"),
    ],
)
def test_credentials_that_a_profile_does_not_give_are_named_with_their_cure(
    profile: str, reason: str, cure: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", profile)
    code, what, why, do = said(capsys)
    assert code == Exit.NOT_READY
    assert what == f"The credentials of the AWS profile {profile} cannot be used."
    assert reason in why and cure in do


def test_a_code_of_a_second_factor_that_nobody_can_type_is_no_interruption(tmp_path: Path) -> None:
    """As of a scheduler; botocore asks for it on the terminal, or else on standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "binventory", "endpoint", "status"],
        env=os.environ | {"AWS_PROFILE": "second-factor"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # without a terminal
    )
    assert done.returncode == Exit.NOT_READY and "Interrupted" not in done.stderr
    assert "the code of a second factor" in done.stderr
    assert "export-credentials --profile second-factor --format env" in done.stderr


def test_the_doctor_says_the_same_of_them(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for profile, cure in (("sso", "aws sso login --profile sso"), ("chatty-program", "--profile chatty-program")):
        monkeypatch.setenv("AWS_PROFILE", profile)
        assert run(["doctor", "--json"]) == Exit.NOT_READY
        checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
        assert checks["credentials"]["state"] == "missing" and cure in checks["credentials"]["cure"]


def with_keys(monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", **more}.items():
        monkeypatch.setenv(name, value)
    # Each of these requests would be repeated for seconds.
    monkeypatch.setattr("binventory.core.aws._CONFIG", {"retries": {"mode": "standard", "total_max_attempts": 1}})


def test_a_local_aws_that_has_ended_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who thinks of an account is in a shell that has sourced a rehearsal's environment.sh."""
    with_keys(monkeypatch, AWS_ENDPOINT_URL=NOBODY)
    code, what, why, cure = said(capsys)
    assert (code, what) == (Exit.NOT_READY, "AWS was not reached.") and NOBODY in why
    assert f"AWS_ENDPOINT_URL names the local AWS at {NOBODY}" in cure and "--resume DIR" in cure
    assert "a real account" in cure


@pytest.mark.parametrize("proxy", [NOBODY, "not::a:proxy"])
def test_a_proxy_that_does_not_answer_is_named(
    proxy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(monkeypatch, HTTPS_PROXY=proxy)
    code, _, _, cure = said(capsys)
    assert code == Exit.NOT_READY and cure == "Do:  check the proxy that HTTPS_PROXY names"


def test_a_certificate_that_is_not_known_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import SSLError

    problem = unreached(
        SSLError(endpoint_url="https://x", error=OSError("self-signed")), {"AWS_CA_BUNDLE": "/etc/corp.pem"}
    )
    assert problem is not None and "AWS_CA_BUNDLE, which is /etc/corp.pem now" in problem.cure


def test_a_value_that_aws_does_not_take_is_wrong_usage_and_not_the_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(monkeypatch, AWS_ENDPOINT_URL=NOBODY)
    code, what, why, _ = said(capsys, "audit", "s3://Bad_Bucket!/x/", "--yes")
    assert (code, what) == (Exit.USAGE, "AWS takes no such value.") and 'Invalid bucket name "Bad_Bucket!"' in why


def test_a_region_that_is_no_name_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(monkeypatch, AWS_REGION="us east")
    code, _, why, cure = said(capsys)
    assert code == Exit.NOT_READY and "us east" in why and "AWS_REGION" in cure


def test_an_error_that_has_nothing_to_do_with_aws_stays_one() -> None:
    assert unreached(ZeroDivisionError("division by zero"), {}) is None
