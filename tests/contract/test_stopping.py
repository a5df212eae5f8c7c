"""Ctrl-C says what continues, that it bills and how to stop it; `binventory stop` does; `--dry-run` starts nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from binventory import serving
from binventory.cli import run
from binventory.cli.interrupted import JobHalted
from binventory.core.aws import Aws
from binventory.core.errors import Exit, Problem
from binventory.executions import stopping
from binventory.executions.execution import Execution, look
from binventory.serving import EndpointState
from tests.conftest import NAMES
from tests.contract.conftest import ClientFactory
from tests.contract.environment import PIPELINE, define, processing
from tests.contract.jobs import until

pytestmark = pytest.mark.usefixtures("signed_in")


@pytest.fixture
def endless(client: ClientFactory) -> Iterator[None]:
    """A pipeline whose job ends only when it is stopped; afterwards nothing of it runs."""
    define(client, processing("Ingest", "exec sleep 600"))
    yield
    assert running(client) == []


def running(client: ClientFactory) -> list[str]:
    """ARNs of the executions that run, and names of the jobs that do."""
    sagemaker = client("sagemaker")
    listed = sagemaker.list_pipeline_executions(PipelineName=PIPELINE)["PipelineExecutionSummaries"]
    jobs = sagemaker.list_processing_jobs(StatusEquals="InProgress")["ProcessingJobSummaries"]
    busy = [item["PipelineExecutionArn"] for item in listed if item["PipelineExecutionStatus"] == "Executing"]
    return [*busy, *(job["ProcessingJobName"] for job in jobs)]


def start(client: ClientFactory) -> str:
    """An execution whose job runs."""
    sagemaker = client("sagemaker")
    arn = str(sagemaker.start_pipeline_execution(PipelineName=PIPELINE)["PipelineExecutionArn"])

    def runs() -> bool:
        steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
        return any("Metadata" in step for step in steps)

    until(runs)
    return arn


def interrupted(arguments: Sequence[str], ready: Any) -> tuple[int, str]:
    """Runs a command as a shell does, sends Ctrl-C once `ready`; returns exit code and standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "binventory", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        # Tests that run in the background ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        until(ready)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.usefixtures("endless")
def test_ctrl_c_after_a_start_says_what_goes_on_and_stop_ends_it(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = interrupted(["train", "--yes"], lambda: len(running(client)) > 1)
    assert code == Exit.INTERRUPTED
    arn = running(client)[0]
    what, why, cure = said.strip().splitlines()
    assert arn.rsplit("/", 1)[-1] in what and "continues" in what
    assert "bills" in why
    assert f"binventory stop {arn} --env dev" in cure
    assert run(["stop", arn]) == Exit.OK
    assert "has ended (stopped)" in capsys.readouterr().out
    assert running(client) == []
    assert run(["stop"]) == Exit.OK
    assert f"No execution of {PIPELINE} runs" in capsys.readouterr().out


@pytest.mark.usefixtures("endless")
def test_settings_that_are_wrong_keep_nothing_running(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs bills, whatever somebody has typed into a settings file since it was deployed."""
    arn = start(client)
    monkeypatch.setenv("BINVENTORY_TRAINING__EPOCHS", "none")
    assert run(["train", "--yes"]) == Exit.USAGE
    assert "training.epochs" in capsys.readouterr().err
    assert run(["stop"]) == Exit.OK
    shown = capsys.readouterr()
    assert f"{arn.rsplit('/', 1)[-1]} has ended (stopped)" in shown.out
    assert "training.epochs = 'none'" in shown.err and "reads the project's name only" in shown.err
    assert running(client) == []
    monkeypatch.setenv("BINVENTORY_PROJECT", "Not a name")
    assert run(["stop"]) == Exit.USAGE
    assert "project = 'Not a name'" in capsys.readouterr().err


@pytest.mark.usefixtures("endless")
def test_which_of_several_to_stop_is_asked_for(client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    arns = [start(client), start(client)]
    assert run(["stop"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert all(arn.rsplit("/", 1)[-1] in said for arn in arns)
    assert run(["stop", "--all", arns[0]]) == Exit.USAGE
    assert run(["stop", "--all", "--json"]) == Exit.OK
    stopped = json.loads(capsys.readouterr().out)["stopped"]
    assert sorted(one["name"] for one in stopped) == sorted(arns)


@pytest.mark.usefixtures("endless")
def test_all_are_asked_to_stop_before_one_is_waited_for(client: ClientFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last would bill until the others have ended, which takes minutes."""
    arns = [start(client), start(client)]
    stop = stopping.stop
    seen: list[set[str]] = []

    def first_look(aws: Aws, arn: str) -> Iterator[str]:
        seen.append({look(aws, one).status for one in arns})
        return stop(aws, arn)

    monkeypatch.setattr(stopping, "stop", first_look)
    assert run(["stop", "--all"]) == Exit.OK
    assert len(seen) == 2 and "Executing" not in seen[0]
    assert running(client) == []


@pytest.mark.usefixtures("endless")
def test_ctrl_c_while_all_are_asked_says_that_some_run_on(
    client: ClientFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted_at_once(aws: Aws, arns: Sequence[str]) -> None:
        raise KeyboardInterrupt

    assert start(client) != start(client)
    with monkeypatch.context() as during:
        during.setattr(stopping, "ask_all", interrupted_at_once)
        assert run(["stop", "--all"]) == Exit.INTERRUPTED
    said = capsys.readouterr().err
    assert "those that were not asked yet run on and bill" in said and "binventory stop --all --env dev" in said
    assert run(["stop", "--all"]) == Exit.OK


@pytest.mark.usefixtures("endless")
def test_a_job_that_outlives_its_execution_is_stopped_too(client: ClientFactory) -> None:
    """As where the pipeline's role may not stop jobs: the execution ends, and its job bills on."""
    arn = start(client)
    assert run(["stop", arn]) == Exit.OK
    step = client("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"][0]
    job = step["Metadata"]["ProcessingJob"]["Arn"].rsplit("/", 1)[-1]
    described = client("sagemaker").describe_processing_job(ProcessingJobName=job)
    assert described["ProcessingJobStatus"] == "Stopped"


@pytest.mark.parametrize(("looks", "code"), [(1, Exit.OK), (2, Exit.FAILED)], ids=["it has ended", "it runs on"])
def test_a_refused_stop_is_no_error_where_the_execution_has_ended_meanwhile(
    client: ClientFactory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, looks: int, code: Exit
) -> None:
    """Of several that are stopped together, the next ones would run on."""
    define(client, processing("Ingest", "true"))
    arn = str(client("sagemaker").start_pipeline_execution(PipelineName=PIPELINE)["PipelineExecutionArn"])
    until(lambda: not running(client))
    seen: list[str] = []

    def stale(aws: Aws, arn: str) -> Execution:
        seen.append(arn)
        return replace(look(aws, arn), status="Executing") if len(seen) <= looks else look(aws, arn)

    monkeypatch.setattr(stopping, "look", stale)
    assert run(["stop", arn]) == code
    said = capsys.readouterr()
    assert "has ended (succeeded)" in said.out if code is Exit.OK else "only a running one can be stopped" in said.err


@pytest.mark.usefixtures("endless")
def test_a_dry_run_shows_the_price_and_starts_nothing(
    client: ClientFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    before = client("sagemaker").list_pipeline_executions(PipelineName=PIPELINE)["PipelineExecutionSummaries"]
    assert run(["train", "--dry-run"]) == Exit.OK
    shown = capsys.readouterr().out
    assert "1 x ml.m5.large, on demand" in shown and "Nothing was started" in shown
    assert run(["train", "--dry-run", "--yes", "--json"]) == Exit.OK
    document = json.loads(capsys.readouterr().out)
    assert document["started"] is False and document["launch"]["charges"][0]["name"] == "Ingest"
    assert run(["train", "--dry-run", "--set", "Epochs=many"]) == Exit.USAGE, "everything is checked all the same"
    after = client("sagemaker").list_pipeline_executions(PipelineName=PIPELINE)["PipelineExecutionSummaries"]
    assert len(after) == len(before)


def test_an_unknown_execution_is_refused(client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    define(client, processing("Ingest", "true"))
    assert run(["stop", "nosuchexecution"]) == Exit.USAGE
    assert "nosuchexecution" in capsys.readouterr().err
    assert run(["stop", f"{PIPELINE}-count-0123456789ab-1"]) == Exit.USAGE
    assert "There is no transform job" in capsys.readouterr().err


STATE = EndpointState("binventory-dev", "UPDATE_COMPLETE", True, "arn:x/1", "InService", 1)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("UPDATE_IN_PROGRESS", "aws cloudformation cancel-update-stack --stack-name binventory-dev-serving"),
        ("UPDATE_ROLLBACK_IN_PROGRESS", "cannot be stopped"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "binventory endpoint off --env dev"),
        ("UPDATE_COMPLETE", "is InService and bills"),
    ],
)
def test_a_rollout_under_way_is_explained(status: str, said: str) -> None:
    sentences = serving.advice(NAMES, replace(STATE, stack_status=status))
    assert said in " ".join(sentences)
    assert ("takes no other change" in " ".join(sentences)) is status.endswith("_IN_PROGRESS")


def test_nothing_is_advised_where_nothing_bills() -> None:
    assert serving.advice(NAMES, replace(STATE, switched_on=False, status="absent", instances=0)) == ()


def test_a_machine_that_works_on_a_run_is_ended(client: ClientFactory, capsys: pytest.CaptureFixture[str]) -> None:
    run_name = "ec2-20260101-000000-abcd"
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "run", "Value": run_name}]}]
    machine = client("ec2").run_instances(
        ImageId="ami-1", InstanceType="t3.2xlarge", MinCount=1, MaxCount=1, TagSpecifications=tags
    )["Instances"][0]["InstanceId"]
    assert run(["stop", run_name]) == Exit.OK
    assert f"{run_name} has ended" in capsys.readouterr().out
    found = client("ec2").describe_instances(InstanceIds=[machine])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] in {"shutting-down", "terminated"}


@pytest.mark.parametrize(
    ("heard", "what", "why"),
    [
        ((), "Interrupted", "no job of this command runs; kept"),
        (
            ((False, "job-1"), (True, "job-1")),
            "Interrupted; the transform job job-1 was stopped",
            "it bills no more; kept",
        ),
        (((False, "job-1"),), "Interrupted; the transform job job-1 may still run", "bills until it has ended"),
    ],
    ids=["none", "stopped", "stopping"],
)
def test_an_interrupted_count_says_how_its_job_stands(
    heard: tuple[tuple[bool, str], ...], what: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cleared: list[bool] = []
    halted = JobHalted(NAMES, lambda: cleared.append(True))
    with pytest.raises(Problem) as found, halted.explained("again", "kept"):
        for ended, job in heard:
            halted(job, ended)
        raise KeyboardInterrupt
    assert found.value.what == what and why in found.value.why
    assert found.value.code == Exit.INTERRUPTED
    said = capsys.readouterr().err
    assert len(cleared) == said.count("Stopping the transform job job-1: it bills until") == bool(heard)
    assert ("binventory stop job-1" in found.value.cure) is (what.endswith("may still run"))
