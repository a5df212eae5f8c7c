"""What AWS refuses a function is an error of the function: it never reads as a stack, endpoint or model that is absent.

An alarm tells people of the error, and Lambda tries again. An absent stack would end the call in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import fingerprint
import spot_fallback
from functions.aws import stop_running
from promotion import registry
from promotion.memory import Memory
from promotion.serving_stack import ServingStack, find_endpoint
from sealing import seal

Answers = dict[str, Callable[[], dict[str, Any]]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What AWS answers to each operation; no request leaves this process."""
    found: Answers = {}

    def answer(model: Any, **_: object) -> tuple[Any, dict[str, Any]]:
        body = found[model.name]()
        return SimpleNamespace(status_code=400 if "Error" in body else 200), body

    session = boto3.Session("key", "secret", region_name="us-east-1")
    events: Any = session.events
    events.register("before-call", answer)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    return found


def refusal(code: str) -> Callable[[], dict[str, Any]]:
    return lambda: {
        "Error": {"Code": code, "Message": "you may not"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
    }


@pytest.mark.parametrize(
    ("operation", "ask"),
    [
        ("DescribeStacks", lambda: ServingStack("bins-dev-serving").look()),
        ("DescribeEndpoint", lambda: find_endpoint("bins-dev")),
        ("ListModelPackages", lambda: list(registry.approved("bins-dev"))),
        ("GetObject", lambda: Memory("bins-dev-data").decided("stack")),
        ("DescribeTrainingJob", lambda: spot_fallback._describe(boto3.client("sagemaker"), "pipelines-1-Train")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_is_not_an_absence(operation: str, ask: Callable[[], object], answers: Answers) -> None:
    answers[operation] = refusal("ExpiredToken")
    with pytest.raises(ClientError, match="you may not"):
        ask()


@pytest.mark.parametrize(
    ("parameter", "event"),
    [
        ("PhotosUri", {"PhotosUri": "s3://bins/", "LabelsUri": "none", "Weights": "none"}),
        ("Weights", {"PhotosUri": "s3://bins/", "LabelsUri": "none", "Weights": "s3://bins/weights.safetensors"}),
    ],
)
def test_an_address_that_s3_does_not_list_is_named_with_its_parameter(
    parameter: str, event: dict[str, str], answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALS", "s3://bins-dev-data/seals")
    monkeypatch.setenv("LISTINGS", "s3://bins-dev-data/listings")
    photo = {"Key": "bin-images/1.jpg", "Size": 1, "ETag": '"0"'}
    pages = iter([{"Contents": [photo]}, {}] if parameter == "Weights" else [])
    answers["ListObjectsV2"] = lambda: next(pages, refusal("InternalError")())
    answers["PutObject"] = dict
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
    with pytest.raises(
        fingerprint.FingerprintError, match=rf"{parameter} {event[parameter]}: .*InternalError.*you may"
    ):
        fingerprint.handler(event, context)


def test_an_update_that_may_not_be_made_is_neither_made_nor_busy(answers: Answers) -> None:
    stack = {"StackId": "id", "StackName": "s", "StackStatus": "UPDATE_COMPLETE", "CreationTime": "2026-11-01"}
    parameters = [{"ParameterKey": "EndpointState", "ParameterValue": "off"}]
    answers["DescribeStacks"] = lambda: {"Stacks": [{**stack, "Parameters": parameters}]}
    answers["UpdateStack"] = refusal("AccessDenied")
    with pytest.raises(ClientError, match="you may not"):
        ServingStack("bins-dev-serving", "arn:aws:iam::123456789012:role/update").change({"EndpointState": "on"})


def test_a_seal_that_may_not_be_written_is_no_seal_of_an_earlier_call(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALS", "s3://bins-dev-data/seals")
    monkeypatch.setenv("LISTINGS", "s3://bins-dev-data/listings")
    monkeypatch.setattr("sealing.read_object", lambda uri: b"{}")
    answers["PutObject"] = refusal("AccessDenied")
    with pytest.raises(ClientError, match="you may not"):
        seal({"train": "s3://bins-dev-data/executions/1/train"})


@pytest.mark.parametrize("ended_by_itself", [False, True])
def test_an_execution_that_may_not_be_stopped_keeps_no_other_running(ended_by_itself: bool, answers: Answers) -> None:
    """A spent budget stops what can be stopped, and then fails, so that people hear of the rest."""
    running = ["arn/one", "arn/two"]
    stopped: list[str] = []

    def listed() -> dict[str, Any]:
        found = [{"PipelineExecutionArn": arn, "PipelineExecutionStatus": "Executing"} for arn in running]
        return {"PipelineExecutionSummaries": found}

    def stop() -> dict[str, Any]:
        if not stopped:
            stopped.append("refused")
            if ended_by_itself:
                running.remove("arn/one")
            return refusal("AccessDeniedException")()
        stopped.append("arn/two")
        return {}

    answers["ListPipelineExecutions"], answers["StopPipelineExecution"] = listed, stop
    if ended_by_itself:
        assert stop_running(["bins-dev"]) == 1
    else:
        with pytest.raises(ClientError, match="you may not"):
            stop_running(["bins-dev"])
    assert stopped == ["refused", "arn/two"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("Steps.Tune.BestTrainingJob", "step Tune of arn/one has no job yet"),
        ("Steps.Train.A-B", "A-B is no member of a step's result"),
    ],
)
def test_a_result_that_a_continuation_needs_and_lacks_is_named(path: str, said: str, answers: Answers) -> None:
    answers["DescribeTrainingJob"] = lambda: {"TrainingJobName": "train"}
    execution = spot_fallback.RunningExecution("arn/one", {"Train": ("TrainingJob", "arn/train")}, {})
    with pytest.raises(RuntimeError, match=said):
        spot_fallback._result(boto3.client("sagemaker"), execution, path)
