"""The command line: exit codes, three-line errors, JSON for pipes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from binventory.cli import run
from binventory.client import FetchError
from binventory.core.aws import connect
from binventory.core.errors import Exit
from local_aws.server import LocalAws, LocalAwsError
from tests.forked import ForkedAws


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with ForkedAws(tmp_path_factory.mktemp("aws")) as started:
        yield started


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may reach a real account, even if this machine is signed in to one."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch, local_aws: LocalAws) -> LocalAws:
    for name, value in local_aws.environment().items():
        monkeypatch.setenv(name, value)
    return local_aws


def problem(capsys: pytest.CaptureFixture[str]) -> tuple[str, str, str]:
    """The three lines of an error; nothing else may be on standard error, and standard output must be clean."""
    captured = capsys.readouterr()
    assert captured.out == ""
    what, why, cure = captured.err.splitlines()
    assert why.startswith("Why: ")
    assert cure.startswith("Do:  ")
    return what, why, cure


COMMANDS = ("rehearse", "render", "train", "watch", "approve", "count", "audit", "cost", "spent", "doctor", "endpoint")


def test_help_names_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == Exit.OK
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", text)
    for code in Exit:
        assert re.search(rf"\b{int(code)}\b", text)


@pytest.mark.parametrize(
    "command",
    [*((name,) for name in COMMANDS), *(("endpoint", name) for name in ("status", "on", "off"))],
    ids="-".join,
)
def test_every_command_has_help_with_an_example(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == Exit.OK
    text = capsys.readouterr().out
    if command != ("endpoint",):
        assert "Example" in text
        assert "--json" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rehears"], "No such command"),
        (["render"], "Missing argument"),
        (["render", "x", "--photos", "0"], "--photos"),
        (["rehearse", "--photos-count", "many"], "--photos-count"),
        (["rehearse", "--backbone", "resnet5"], "--backbone resnet5 is not possible"),
        (["rehearse", "--weights", "random"], "--weights random is not possible"),
        (["rehearse", "--backbone", "resnet50"], "No package has weights for backbone resnet50"),
        (["rehearse", "--weights", "torchvision"], "torchvision has no weights for backbone efficientnet_lite0"),
        (["endpoint", "sideways"], "No such command"),
        (["count"], "Missing argument"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == Exit.USAGE
    assert said in capsys.readouterr().err


def test_a_command_that_is_interrupted_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one of a group, and one that leaves nothing to say."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("binventory.render.render_bucket", interrupt)
    monkeypatch.setattr("binventory.cli.endpoint.connect", interrupt)
    for command in (["render", str(tmp_path / "bins")], ["endpoint", "status"]):
        assert run(command) == Exit.INTERRUPTED
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("", "Interrupted; nothing of this command is left running.\n")


def test_render_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", str(tmp_path), "--photos", "20", "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert len(said["counts"]) + len(said["defects"]) == 20
    assert {path.stem for path in (tmp_path / "bin-images").iterdir()} >= set(said["counts"])


@pytest.mark.parametrize("files", [(), ("bin-images/notes.txt",), ("bin-images/a b.jpg", "metadata/1.json")])
def test_a_folder_without_photos_is_refused_before_anything_starts(
    files: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert run(["rehearse", "--photos", str(tmp_path), "--state-dir", str(state)]) == Exit.USAGE
    what, why, cure = problem(capsys)
    assert str(tmp_path) in what
    assert "bin-images" in why
    assert "--photos" in cure
    assert not state.exists()


def test_a_rehearsal_that_breaks_off_is_json_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JSII_NODE", "/nowhere/node")  # the app of the stacks ends at once
    assert run(["rehearse", "--json", "--state-dir", str(tmp_path / "state")]) == Exit.FAILED
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    steps = {step["name"]: step["state"] for step in said["steps"]}
    assert steps["Start the local AWS"] == "done"
    assert "failed" in steps.values()
    assert (steps["Pipeline"], said["execution"]) == ("skipped", "")
    assert "/nowhere/node" in " ".join(said["problem"]["log"])
    assert said["problem"]["exit_code"] == Exit.FAILED
    assert f"Do:  {said['problem']['cure']}" in captured.err
    logs = tmp_path / "state" / "logs"
    assert said["problem"]["cure"].endswith(f"the logs are in {logs}")
    assert sorted(path.name for path in logs.iterdir()) == ["cdk.log", "local_aws.log"]


def test_a_local_aws_that_fails_names_the_log_that_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(local: LocalAws) -> None:
        local.log_path.parent.mkdir(parents=True)
        local.log_path.write_text("no port is free")
        raise LocalAwsError("The local AWS ended")

    monkeypatch.setattr(LocalAws, "start", start)
    assert run(["rehearse", "--state-dir", str(tmp_path / "state")]) == Exit.FAILED
    logs = tmp_path / "state" / "logs"
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"Do:  read its whole log, local_aws.log; the logs are in {logs}"
    assert (logs / "local_aws.log").read_text() == "no port is free"


def test_only_a_kept_rehearsal_can_be_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rehearse", "--end", str(tmp_path)]) == Exit.USAGE
    assert str(tmp_path) in problem(capsys)[0]


def test_no_region_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["endpoint", "status"]) == Exit.NOT_READY
    assert "AWS_REGION" in problem(capsys)[2]


def test_no_credentials_are_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert run(["endpoint", "status"]) == Exit.NOT_READY
    what, _, cure = problem(capsys)
    assert "credentials" in what
    assert "rehearse --keep" in cure


def test_a_profile_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nonexistent")
    assert run(["endpoint", "status"]) == Exit.NOT_READY
    what, _, cure = problem(capsys)
    assert "profile nonexistent" in what and "list-profiles" in cure


@pytest.mark.parametrize("address", ["nonsense", "http://", "localhost:4566", "http://localhost:port", "http://[::1"])
def test_an_endpoint_that_is_no_address_is_named(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    assert run(["endpoint", "status"]) == Exit.NOT_READY
    assert f"AWS_ENDPOINT_URL={address} is no address" in problem(capsys)[0]


def test_keys_and_region_need_no_profile(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal works in a shell whose AWS_PROFILE leads nowhere."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.setenv(name, "nonexistent")
    for environment in (local_aws.environment(), {**os.environ, **local_aws.environment()}):
        identity = connect(environment).client("sts").get_caller_identity()
        assert identity["Account"] == local_aws.account


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_a_key_is_named(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv(name, "AKIAEXAMPLE")
    assert run(["endpoint", "status"]) == Exit.NOT_READY
    what, why, cure = problem(capsys)
    assert "incomplete" in what and f"{name} is set without AWS_" in why and f"unset {name}" in cure


def test_a_token_of_an_earlier_session_harms_no_profile(
    local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A shell keeps AWS_SESSION_TOKEN when a person unsets the keys and takes a profile."""
    found = local_aws.environment()
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    given = dict(zip(("aws_access_key_id", "aws_secret_access_key", "region"), map(found.get, keys), strict=True))
    (tmp_path / "config").write_text("[profile ours]\n" + "".join(f"{key} = {value}\n" for key, value in given.items()))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    environment = {"AWS_PROFILE": "ours", "AWS_SESSION_TOKEN": "old", "AWS_ENDPOINT_URL": local_aws.endpoint_url}
    assert connect(environment).client("sts").get_caller_identity()["Account"] == local_aws.account


def test_verbose_shows_each_call_of_aws(signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, shown in ((["watch"], False), (["watch", "--verbose"], True), (["-v", "watch"], True)):
        assert run(arguments) == Exit.NOT_READY
        said = capsys.readouterr().err
        assert ("AWS sagemaker ListPipelineExecutions: 400 ResourceNotFound" in said) is shown


def test_an_unreachable_endpoint_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": "http://localhost:1",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert run(["endpoint", "status"]) == Exit.NOT_READY
    assert "http://localhost:1" in problem(capsys)[1]


@pytest.mark.parametrize(
    "arguments",
    [["endpoint", "status"], ["endpoint", "on"], ["endpoint", "off"], ["endpoint", "status", "--env", "prod"]],
)
def test_without_a_deployment_the_cure_is_to_deploy(
    arguments: list[str], signed_in: LocalAws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == Exit.NOT_READY
    what, _, cure = problem(capsys)
    assert f"binventory-{'prod' if 'prod' in arguments else 'dev'}-serving" in what
    assert "cdk deploy" in cure


@pytest.mark.parametrize("arguments", ["watch", "report", "spent", "approve", "endpoint on", "train --on ec2", "train"])
def test_a_cure_for_prod_is_about_prod(
    arguments: str, signed_in: LocalAws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followed word for word, a command without --env would start, approve or stop something of dev."""
    monkeypatch.chdir(signed_in.state_dir)
    assert run([*arguments.split(), "--env", "prod"]) == Exit.NOT_READY
    cure = problem(capsys)[2]
    assert cure.count("binventory ") == cure.count("--env prod")
    assert cure.count("npx cdk deploy") == cure.count("-c env=prod"), "the CDK would deploy dev"


def test_training_on_ec2_asks_for_the_stack_that_is_missing(
    signed_in: LocalAws, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every environment has the storage stack; only the stack of machines is off unless settings ask for it."""
    assert run(["train", "--on", "ec2"]) == Exit.NOT_READY
    what, why, cure = problem(capsys)
    assert "binventory-dev-storage" in what
    assert "ec2.enabled" not in cure and "unless settings" not in why and "cdk deploy" in cure


def test_training_without_a_pipeline_is_reported(signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train"]) == Exit.NOT_READY
    assert "binventory-dev" in problem(capsys)[0]


def test_watching_without_an_execution_is_reported(signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch"]) == Exit.NOT_READY
    assert "binventory train" in problem(capsys)[2]


def test_approving_without_a_model_is_reported(signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["approve"]) == Exit.NOT_READY
    assert "binventory train" in problem(capsys)[2]


def test_an_unknown_model_package_is_reported(signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    arn = f"arn:aws:sagemaker:us-east-1:{signed_in.account}:model-package/binventory-dev/7"
    assert run(["approve", arn]) == Exit.FAILED
    assert arn in problem(capsys)[0]


def test_counting_without_an_endpoint_is_reported(
    signed_in: LocalAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "bin.jpg"
    photo.write_bytes(b"not even looked at")
    assert run(["count", str(photo)]) == Exit.NOT_READY
    assert "endpoint on" in problem(capsys)[2]


def test_a_missing_photo_is_reported(signed_in: LocalAws, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", str(tmp_path / "absent.jpg")]) == Exit.USAGE
    assert "absent.jpg" in problem(capsys)[0]


@pytest.mark.parametrize("address", ["https://example.com/bin.jpg", "http://localhost/bin.jpg", "file:///etc/passwd"])
def test_addresses_that_are_not_listed_are_not_fetched(
    address: str, signed_in: LocalAws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["count", address]) == Exit.USAGE
    what, _, cure = problem(capsys)
    assert address in what
    assert "--allow-host" in cure


@pytest.mark.parametrize(
    ("error", "said", "unsaid"),
    [
        (
            FetchError("not_allowed", "cdn.example is not on the list", "cdn.example"),
            "--allow-host cdn.example",
            "download",
        ),
        (FetchError("too_many_bytes", "the photo has more than 16777216 bytes"), "give the file", "--allow-host"),
        (FetchError("private_address", "it leads to 10.0.0.1"), "give the file", "--allow-host"),
        (FetchError("slow", "the photo did not arrive within 10 seconds"), "give the file", "--allow-host"),
        (FetchError("not_a_photo", "what the URL gave is neither"), "address of the photo itself", "--allow-host"),
    ],
)
def test_the_cure_of_an_address_that_was_not_fetched_fits_its_reason(
    error: FetchError,
    said: str,
    unsaid: str,
    signed_in: LocalAws,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr("binventory.client.counting.fetch_photo", refuse)
    assert run(["count", "https://photos.example/bin.jpg"]) == Exit.USAGE
    cure = problem(capsys)[2]
    assert said in cure and unsaid not in cure


@pytest.mark.parametrize("text", ["Epochs", "=3", "two words=3"])
def test_parameters_must_be_name_and_value(text: str, signed_in: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--set", text]) == Exit.USAGE
    assert "NAME=VALUE" in problem(capsys)[1]


@pytest.mark.parametrize(
    "flags",
    [
        ("--set", "Epochs=2", "--set", "Epochs=3"),
        ("--set", "PhotosUri=s3://a/", "--photos", "s3://b/"),
        ("--set", "LabelsUri=s3://a/l.csv", "--labels", "s3://b/l.csv"),
        ("--set", "Fresh=x", "--fresh"),
    ],
)
def test_a_parameter_that_is_given_twice_is_refused(
    flags: tuple[str, ...], signed_in: LocalAws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *flags]) == Exit.USAGE
    assert "twice" in problem(capsys)[0]


def test_errors_are_plain_where_colour_is_unwanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run(["endpoint", "status"])
    assert "\x1b" not in capsys.readouterr().err
