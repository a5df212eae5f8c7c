"""The command line against real executions: a failed job's log, a refusal's reason, parameters, watching."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from binventory import executions
from binventory.cli import app, run
from binventory.core.aws import Aws, connect
from binventory.core.errors import Exit
from binventory.report.page import render
from binventory.report.record import read
from local_aws.server import LocalAws
from tests.conftest import NAMES
from tests.contract.conftest import ClientFactory
from tests.contract.environment import define, processing
from tests.contract.jobs import IMAGE, until

pytestmark = pytest.mark.usefixtures("signed_in")


@pytest.fixture
def aws(local_aws: LocalAws) -> Aws:
    return connect(local_aws.environment())


def test_a_failed_job_ends_the_command_with_the_end_of_its_log(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    define(client, processing("Ingest", "for n in $(seq 60); do echo photo $n; done; echo the disk is full; exit 3"))
    assert run(["train", "--yes"]) == Exit.FAILED
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert "the disk is full" in captured.err
    assert "photo 60" in captured.err
    assert "photo 5" not in {line.strip() for line in lines}, "the tail, not the whole log"
    assert lines[-3].startswith("Step Ingest failed")
    assert lines[-2].startswith("Why: ")
    assert lines[-1].startswith("Do:  ")
    assert "Ingest failed" in captured.out
    assert run(["watch"]) == Exit.FAILED
    assert "Step Ingest failed" in capsys.readouterr().err


def test_a_job_that_ended_without_a_word_has_no_log_above(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    define(client, processing("Ingest", "exit 3"))
    assert run(["train", "--yes"]) == Exit.FAILED
    what, why, cure = capsys.readouterr().err.splitlines()
    assert what == "Step Ingest failed." and "exit code: 3" in why
    assert "above" not in cure and "/aws/sagemaker/ProcessingJobs" in cure


def test_a_log_is_found_whatever_the_letters_of_the_jobs_arn(client: ClientFactory, aws: Aws) -> None:
    """In ARNs SageMaker has written the names of jobs in small letters; those of log streams keep theirs."""
    logs, group = client("logs"), "/aws/sagemaker/TrainingJobs"
    lines = {
        "pipelines-0a1b2c3d4e5f-Train-AbCdEf1234/algo-1-1700000000": "the first machine",
        "pipelines-0a1b2c3d4e5f-Train-AbCdEf1234/algo-2-1700000000": "the second machine",
        "pipelines-0a1b2c3d4e5f-Train-AbCdEf12345/algo-1-1700000000": "another job",
        "pipelines-0a1b2c3d4e5f-Embed-AbCdEf1234/algo-1-1700000000": "another step",
    }
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    for stream, message in lines.items():
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        event = {"timestamp": int(time.time() * 1000), "message": message}
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])
    for job in ("pipelines-0a1b2c3d4e5f-train-abcdef1234", "pipelines-0a1b2c3d4e5f-Train-AbCdEf1234"):
        assert executions.job_log(aws, "TrainingJob", job) == ("the first machine", "the second machine")


def test_a_failure_has_its_reason_also_for_those_who_may_not_read_logs(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*arguments: object) -> None:
        error = {"Error": {"Code": "AccessDeniedException", "Message": "no logs for you"}}
        raise ClientError(error, "DescribeLogStreams")  # type: ignore[arg-type]

    define(client, processing("Ingest", "echo the disk is full; exit 3"))
    monkeypatch.setattr("binventory.executions.failure.log_tail", denied)
    assert run(["train", "--yes"]) == Exit.FAILED
    what, why, cure = capsys.readouterr().err.splitlines()
    assert what == "Step Ingest failed." and "exit code: 3" in why
    assert "you may not read its log" in cure


def test_a_refusal_shows_its_reason(client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    message = "accuracy 0.21 is below 0.30"
    define(client, {"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": message}})
    assert run(["train", "--yes"]) == Exit.FAILED
    captured = capsys.readouterr()
    assert "refused" in captured.err
    assert message in captured.err


REASON = "accuracy 0.2100 is 0.0900 below the threshold 0.3000"


def evaluating(document: object) -> dict[str, Any]:
    """The step Evaluate, writing an evaluation."""
    step = processing("Evaluate", f"echo '{json.dumps(document)}' > /opt/ml/processing/evaluation/evaluation.json")
    place = {"S3Uri": "s3://refused/evaluation", "LocalPath": "/opt/ml/processing/evaluation"}
    output = {"OutputName": "evaluation", "S3Output": {**place, "S3UploadMode": "EndOfJob"}}
    step["Arguments"]["ProcessingOutputConfig"] = {"Outputs": [output]}
    return step


@pytest.fixture(scope="module")
def evaluations(client: ClientFactory) -> None:
    """The bucket that `evaluating` writes to."""
    client("s3").create_bucket(Bucket="refused")


@pytest.mark.usefixtures("evaluations")
def test_a_refusal_of_the_gate_says_by_how_much_and_against_what(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse = {
        "Name": "Refuse", "Type": "Fail", "DependsOn": ["Evaluate"],
        "Arguments": {"ErrorMessage": "below the threshold or worse than the champion"},
    }  # fmt: skip
    define(client, evaluating({"binventory": {"gate": {"reasons": [REASON]}}}), refuse)
    assert run(["train", "--yes"]) == Exit.FAILED
    said = capsys.readouterr().err
    assert f"Why: {REASON}" in said and "or worse than" not in said
    assert run(["approve"]) == Exit.NOT_READY
    assert REASON in capsys.readouterr().err


@pytest.mark.usefixtures("evaluations")
def test_an_evaluation_without_reasons_leaves_the_pipelines_own(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse = {"Name": "Refuse", "Type": "Fail", "DependsOn": ["Evaluate"], "Arguments": {"ErrorMessage": "it is worse"}}
    define(client, evaluating({"binventory": {}}), refuse)
    assert run(["train", "--yes"]) == Exit.FAILED
    assert "Why: it is worse" in capsys.readouterr().err


def test_a_succeeded_execution_is_shown_as_json(client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    define(client, processing("Ingest", "true"))
    assert run(["train", "--yes", "--set", "Epochs=5", "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    parameters = client("sagemaker").list_pipeline_parameters_for_execution(PipelineExecutionArn=said["execution"])
    assert {"Name": "Epochs", "Value": "5"} in parameters["PipelineParameters"]
    assert run(["watch", said["execution"], "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["execution"] == said["execution"]


def test_detached_training_returns_at_once(client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    define(client, processing("Ingest", "true"))
    assert run(["train", "--yes", "--detach", "--json"]) == Exit.OK
    arn = json.loads(capsys.readouterr().out)["execution"]
    assert client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineArn"]
    assert run(["watch", arn]) == Exit.OK


@pytest.mark.parametrize("text", ["Epochs=many", "Epoch=3"])
def test_a_wrong_parameter_is_named(text: str, client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    define(client, processing("Ingest", "true"))
    assert run(["train", "--yes", "--set", text]) == Exit.USAGE
    captured = capsys.readouterr()
    assert text.split("=")[0] in captured.err
    assert "Do:  " in captured.err


def test_a_failed_execution_becomes_a_page_with_its_reason(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    define(client, processing("Ingest", "echo the disk is full; exit 3"))
    assert run(["train", "--yes"]) == Exit.FAILED
    capsys.readouterr()
    page = tmp_path / "run.html"
    assert run(["report", "--output", str(page), "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert (said["status"], said["page"]) == ("Failed", str(page))
    assert said["reason"].startswith("step Ingest: ") and "exit code: 3" in said["reason"]
    assert said["reason"] in page.read_text()
    assert run(["approve"]) == Exit.NOT_READY
    assert said["reason"] in capsys.readouterr().err
    # The last part of the ARN names an execution as well.
    assert run(["report", said["execution"].rsplit("/", 1)[-1], "-o", str(page)]) == Exit.OK


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This computer's clock shows another time than UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
def test_a_page_says_when_an_execution_started_in_utc(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    define(client, processing("Ingest", "true"))
    assert run(["train", "--yes", "--json"]) == Exit.OK
    arn = json.loads(capsys.readouterr().out)["execution"]
    began = client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)["CreationTime"]
    assert run(["report", arn, "-o", str(tmp_path / "run.html")]) == Exit.OK
    assert f"{began.astimezone(UTC):%Y-%m-%d %H:%M} UTC" in (tmp_path / "run.html").read_text()


def test_a_page_of_an_execution_that_runs_says_how_long_it_has_run(client: ClientFactory, aws: Aws) -> None:
    """Its last change was at its start: until it has ended, the clock counts."""
    define(client, processing("Ingest", "sleep 600"))
    assert run(["train", "--yes", "--detach"]) == Exit.OK
    arn = executions.newest(aws, NAMES)
    until(lambda: any(step.started for step in executions.look(aws, arn).steps))
    began = executions.look(aws, arn).started
    assert began is not None
    page = render(read(aws, arn, now=began + timedelta(hours=2)))
    assert ("<dd>2:00:00</dd>" in page and "Ingest: 1:59:" in page) or "Ingest: 2:00:00" in page
    assert ": -" not in page
    assert run(["stop", arn]) == Exit.OK


@pytest.mark.parametrize("execution", ["nothing", "arn:aws:sagemaker:us-east-1:123456789012:pipeline/x/execution/y"])
@pytest.mark.parametrize("command", ["report", "watch", "spent", "stop", "train --yes --like"])
def test_an_execution_that_does_not_exist_is_refused(
    command: str, execution: str, client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    define(client, processing("Ingest", "true"))

    def started() -> list[str]:
        found = client("sagemaker").list_pipeline_executions(PipelineName="binventory-dev")
        return [each["PipelineExecutionArn"] for each in found["PipelineExecutionSummaries"]]

    before = started()
    assert run([*command.split(), execution]) == Exit.USAGE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(f"There is no execution {execution}")
    assert started() == before


def test_the_shell_offers_environments_executions_and_packages(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offered(typed: str, value: str = "") -> set[str]:
        monkeypatch.setenv("_BINVENTORY_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"binventory {typed} {value}")
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) + 1))
        monkeypatch.setattr(sys, "argv", ["binventory"])
        with pytest.raises(SystemExit):
            app(prog_name="binventory")
        return set(capsys.readouterr().out.split())

    define(client, processing("Ingest", "true"))
    assert run(["train", "--yes", "--detach", "--json"]) == Exit.OK
    arn = json.loads(capsys.readouterr().out)["execution"]
    group = client("sagemaker").create_model_package_group
    group(ModelPackageGroupName="binventory-dev")
    package = client("sagemaker").create_model_package(
        ModelPackageGroupName="binventory-dev",
        InferenceSpecification={"Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://b/m.tar.gz"}]},
        ModelApprovalStatus="PendingManualApproval",
    )["ModelPackageArn"]
    for command in ("watch", "report", "spent", "stop", "train --like"):
        assert arn.rsplit("/", 1)[-1] in offered(command)
    assert offered("watch", arn.rsplit("/", 1)[-1][:6]) >= {arn.rsplit("/", 1)[-1]}
    assert package in offered("approve") and package in offered("reject")
    assert offered("doctor --env") == {"dev", "prod"}
    assert offered("doctor --env", "p") == {"prod"}
    assert offered("watch --env prod") == set(), "not deployed: nothing, and no message"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert offered("watch") == set(), "no region: nothing, and no message"
