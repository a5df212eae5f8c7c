"""A destroy deletes everything, and only a destroy does: the handler with buckets, packages and stacks."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

import leftovers
from cleanup import handler
from stacks.names import JOB_LOG_GROUPS, TRANSFORM_GROUP
from tests.stacks.conftest import ClientFactory

PARAMETERS: dict[str, Any] = {"Resources": {"Always": {"Type": "AWS::SNS::Topic"}}}


class CloudFormationEnd(http.server.BaseHTTPRequestHandler):
    """Where the function sends its answer."""

    answers: list[dict[str, Any]]

    def do_PUT(self) -> None:
        """Keeps the answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert len(body) <= 4096, "CloudFormation refuses it"
        self.answers.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def ask() -> Iterator[Any]:
    """Calls the handler as CloudFormation does and gives its answer."""

    class End(CloudFormationEnd):
        answers: list[dict[str, Any]] = []  # noqa: RUF012

    server = http.server.ThreadingHTTPServer(("localhost", 0), End)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def call(kind: str, stack: str, **properties: str) -> dict[str, Any]:
        event = {
            "RequestType": kind,
            "ResponseURL": f"http://localhost:{server.server_port}/",
            "StackId": stack,
            "RequestId": "request",
            "LogicalResourceId": "Cleanup",
            "ResourceProperties": {"ServiceToken": "arn", **properties},
        }
        handler(event, None)
        (answer,) = End.answers
        End.answers.clear()
        assert {key: answer[key] for key in ("StackId", "RequestId", "LogicalResourceId")} == {
            "StackId": stack,
            "RequestId": "request",
            "LogicalResourceId": "Cleanup",
        }
        return answer

    yield call
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def events(aws: ClientFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The events of every client that the handler makes, for a test to answer in place of AWS."""
    session = boto3.Session()
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    return session.events


@pytest.fixture
def standing(aws: ClientFactory) -> str:
    """The id of a stack that stays."""
    cloudformation = aws("cloudformation")
    name = f"standing-{uuid.uuid4().hex[:8]}"
    stack: str = cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(PARAMETERS))["StackId"]
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})
    return stack


@pytest.fixture
def going(aws: ClientFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a stack that was deleted; its state is still described by its id."""
    cloudformation = aws("cloudformation")
    name = f"going-{uuid.uuid4().hex[:8]}"
    stack: str = cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(PARAMETERS))["StackId"]
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 0.2})
    cloudformation.delete_stack(StackName=name)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 0.2})
    # A stack is in deletion for a moment only, too short to be met; one that is deleted stands for it.
    monkeypatch.setattr("cleanup._STACK_ENDS", ("DELETE_IN_PROGRESS", "DELETE_COMPLETE"))
    return stack


def _pipeline(aws: ClientFactory, name: str) -> None:
    """A pipeline whose executions end at once."""
    end = {"Name": "End", "Type": "Fail", "Arguments": {"ErrorMessage": "done"}}
    aws("sagemaker").create_pipeline(
        PipelineName=name,
        PipelineDefinition=json.dumps({"Version": "2020-12-01", "Metadata": {}, "Parameters": [], "Steps": [end]}),
        ClientRequestToken=uuid.uuid4().hex,
        RoleArn="arn:aws:iam::123456789012:role/pipeline",
    )


def _bucket(aws: ClientFactory, *, versioned: bool) -> str:
    s3 = aws("s3")
    name = f"bins-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    if versioned:
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for index in range(3):
        for content in (b"one", b"two"):
            s3.put_object(Bucket=name, Key=f"folder/{index}", Body=content)
    if versioned:
        s3.delete_object(Bucket=name, Key="folder/0")
    return name


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("batch", [2, 1000])
def test_a_bucket_of_a_stack_that_goes_can_be_deleted_afterwards(
    aws: ClientFactory, ask: Any, going: str, monkeypatch: pytest.MonkeyPatch, versioned: bool, batch: int
) -> None:
    monkeypatch.setattr(leftovers, "_BATCH", batch)
    name = _bucket(aws, versioned=versioned)
    answer = ask("Delete", going, BucketName=name)
    assert answer["Status"] == "SUCCESS"
    assert answer["Reason"] == f"{name}: {7 if versioned else 3} removed"
    policy = json.loads(aws("s3").get_bucket_policy(Bucket=name)["Policy"])
    assert {"Deny"} == {statement["Effect"] for statement in policy["Statement"]}
    aws("s3").delete_bucket(Bucket=name)


def test_a_bucket_of_a_stack_that_stays_is_left_alone(aws: ClientFactory, ask: Any, standing: str) -> None:
    name = _bucket(aws, versioned=False)
    answer = ask("Delete", standing, BucketName=name)
    assert answer["Status"] == "SUCCESS"
    assert "left as it is: its stack stays" in answer["Reason"]
    assert aws("s3").list_objects_v2(Bucket=name)["KeyCount"] == 3


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_nothing_happens_before_the_end(aws: ClientFactory, ask: Any, standing: str, kind: str) -> None:
    name = _bucket(aws, versioned=False)
    answer = ask(kind, standing, BucketName=name)
    assert answer["Status"] == "SUCCESS"
    assert answer["PhysicalResourceId"] == "Cleanup"
    assert aws("s3").list_objects_v2(Bucket=name)["KeyCount"] == 3


def test_a_failure_is_answered_and_not_left_to_time_out(ask: Any, going: str, events: Any) -> None:
    def deny(model: Any, **_: object) -> tuple[Any, dict[str, Any]]:
        return SimpleNamespace(status_code=403), {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}

    events.register("before-call.s3.GetBucketPolicy", deny)
    answer = ask("Delete", going, BucketName="the-bucket-of-somebody-else")
    assert answer["Status"] == "FAILED"
    assert "AccessDenied" in answer["Reason"]


@pytest.mark.parametrize("subject", ["BucketName", "ModelPackageGroupName", "PipelineName"])
def test_what_was_deleted_by_hand_does_not_stop_a_destroy(ask: Any, going: str, subject: str) -> None:
    name = f"gone-{uuid.uuid4().hex[:8]}"
    answer = ask("Delete", going, **{subject: name})
    assert (answer["Status"], answer["Reason"]) == ("SUCCESS", f"{name} was deleted before")


@pytest.mark.parametrize("kept", [["folder/1"], ["folder/1", "folder/2"]])
def test_an_object_that_may_not_be_deleted_is_named_with_its_cure(
    aws: ClientFactory, ask: Any, going: str, events: Any, kept: list[str]
) -> None:
    name = _bucket(aws, versioned=False)

    def protect(parsed: dict[str, Any], **_: object) -> None:
        parsed["Errors"] = [{"Key": key, "Code": "AccessDenied", "Message": "Object Lock"} for key in kept]

    events.register("after-call.s3.DeleteObjects", protect)
    answer = ask("Delete", going, BucketName=name)
    assert answer["Status"] == "FAILED"
    assert f"folder/1 cannot be deleted from bucket {name}: AccessDenied Object Lock" in answer["Reason"]
    assert "then delete the stack again" in answer["Reason"]


def test_a_reason_in_letters_of_several_bytes_fits_into_an_answer(
    aws: ClientFactory, ask: Any, going: str, events: Any
) -> None:
    """CloudFormation reads 4,096 bytes at most, and tells of a longer answer that it is too long."""
    name, key = _bucket(aws, versioned=False), "\N{PACKAGE}" * 256

    def protect(parsed: dict[str, Any], **_: object) -> None:
        parsed["Errors"] = [{"Key": key, "Code": "AccessDenied", "Message": "\N{PACKAGE}" * 1000}]

    events.register("after-call.s3.DeleteObjects", protect)
    answer = ask("Delete", going, BucketName=name)
    assert answer["Status"] == "FAILED"
    assert f"{key} cannot be deleted from bucket {name}: AccessDenied" in answer["Reason"]


def test_an_execution_that_does_not_stop_fails_the_deletion_and_leaves_its_logs(
    aws: ClientFactory, ask: Any, going: str, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_STOP_SECONDS", -1.0)
    monkeypatch.setattr(leftovers, "delete_job_logs", pytest.fail)

    def stopping(model: Any, **_: object) -> tuple[Any, dict[str, Any]]:
        listed = [{"PipelineExecutionArn": "arn/one", "PipelineExecutionStatus": "Stopping"}]
        return SimpleNamespace(status_code=200), {"PipelineExecutionSummaries": listed}

    events.register("before-call.sagemaker.ListPipelineExecutions", stopping)
    answer = ask("Delete", going, PipelineName="bins-dev")
    assert answer["Status"] == "FAILED"
    assert "executions of bins-dev are still running" in answer["Reason"]
    assert "delete the stack again when they have stopped" in answer["Reason"]


def test_model_packages_go_and_their_group_can_be_deleted(aws: ClientFactory, ask: Any, going: str) -> None:
    sagemaker = aws("sagemaker")
    group = f"bins-{uuid.uuid4().hex[:8]}"
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    for _ in range(2):
        sagemaker.create_model_package(
            ModelPackageGroupName=group,
            ModelApprovalStatus="Approved",
            InferenceSpecification={
                "Containers": [{"Image": "image", "ModelDataUrl": "s3://bucket/model.tar.gz"}],
                "SupportedContentTypes": ["image/jpeg"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )
    answer = ask("Delete", going, ModelPackageGroupName=group)
    assert answer["Reason"] == f"{group}: 2 removed"
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)


def test_a_pipeline_without_executions_needs_nothing(aws: ClientFactory, ask: Any, going: str) -> None:
    name = f"bins-{uuid.uuid4().hex[:8]}"
    _pipeline(aws, name)
    assert ask("Delete", going, PipelineName=name)["Reason"] == f"{name}: 0 removed"


def test_the_logs_of_a_pipelines_jobs_go_with_it_and_others_stay(aws: ClientFactory, ask: Any, going: str) -> None:
    name = f"bins-{uuid.uuid4().hex[:8]}"
    _pipeline(aws, name)
    started = aws("sagemaker").start_pipeline_execution(PipelineName=name)["PipelineExecutionArn"]
    execution = started.rsplit("/", 1)[-1]
    logs = aws("logs")
    assert ask("Create", going, JobLogRetentionDays="7")["Status"] == "SUCCESS"
    ours = [f"pipelines-{execution}-Train-x/algo-1", f"{execution}-Tune-x-001/algo-1"]
    for group in JOB_LOG_GROUPS:
        for stream in (*ours, f"somebody-elses-{name}/algo-1"):
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
    transforms = [f"{name}-{purpose}-0123456789ab-1/i-0" for purpose in ("audit", "count")]
    for stream in transforms:
        logs.create_log_stream(logGroupName=TRANSFORM_GROUP, logStreamName=stream)
    assert ask("Delete", going, PipelineName=name)["Status"] == "SUCCESS"
    for group in JOB_LOG_GROUPS:
        left = {stream["logStreamName"] for stream in logs.describe_log_streams(logGroupName=group)["logStreams"]}
        assert not left & {*ours, *transforms}
        assert f"somebody-elses-{name}/algo-1" in left


def test_logs_for_which_the_function_has_no_time_are_named(
    aws: ClientFactory, ask: Any, going: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"bins-{uuid.uuid4().hex[:8]}"
    _pipeline(aws, name)
    logs = aws("logs")
    assert ask("Create", going, JobLogRetentionDays="7")["Status"] == "SUCCESS"
    for turn in range(2):
        logs.create_log_stream(logGroupName=TRANSFORM_GROUP, logStreamName=f"{name}-audit-{turn}/i-0")
    with monkeypatch.context() as late:
        late.setattr(leftovers, "_END_SECONDS", -1.0)
        answer = ask("Delete", going, PipelineName=name)
    assert answer["Status"] == "FAILED"
    assert f"2 or more log streams of group {TRANSFORM_GROUP} are left" in answer["Reason"]
    assert "delete the stack again" in answer["Reason"]
    assert ask("Delete", going, PipelineName=name)["Reason"] == f"{name}: 2 removed"


def test_job_logs_get_an_end_unless_the_account_has_decided(aws: ClientFactory, ask: Any, standing: str) -> None:
    logs = aws("logs")

    def kept() -> dict[str, int | None]:
        found = logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/")["logGroups"]
        return {group["logGroupName"]: group.get("retentionInDays") for group in found}

    first, second, _ = JOB_LOG_GROUPS
    for group in set(kept()) & set(JOB_LOG_GROUPS):
        logs.delete_log_group(logGroupName=group)
    with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):  # a job of another file has just ended
        logs.create_log_group(logGroupName=first)
    logs.put_retention_policy(logGroupName=first, retentionInDays=90)
    assert second in ask("Create", standing, JobLogRetentionDays="14")["Reason"]
    assert kept() | {first: 90, second: 14} == kept()
    assert "were there already" in ask("Update", standing, JobLogRetentionDays="30")["Reason"]
    assert kept() | {first: 90, second: 14} == kept()
    assert "stay" in ask("Delete", standing, JobLogRetentionDays="14")["Reason"]
    assert set(kept()) >= {first, second}


@pytest.mark.parametrize(("seconds", "status"), [(60.0, "SUCCESS"), (-1.0, "FAILED")], ids=["in time", "never"])
def test_a_right_that_iam_does_not_apply_yet_is_waited_for(
    ask: Any, standing: str, events: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, status: str
) -> None:
    """CloudFormation calls the function as soon as it has made the policy, which may take IAM some seconds."""
    asked: list[str] = []

    def answer(model: Any, **_: object) -> tuple[Any, dict[str, Any]]:
        asked.append(model.name)
        if len(asked) in {1, 2, 4}:
            denied = {"Code": "AccessDeniedException", "Message": "no identity-based policy allows it"}
            return SimpleNamespace(status_code=400), {"Error": denied}
        return SimpleNamespace(status_code=200), {}

    for operation in ("CreateLogGroup", "PutRetentionPolicy"):
        events.register(f"before-call.logs.{operation}", answer)
    monkeypatch.setattr(leftovers, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(leftovers, "_ALLOWED_SECONDS", seconds)
    found = ask("Create", standing, JobLogRetentionDays="14")
    assert found["Status"] == status, found["Reason"]
    made = ["CreateLogGroup", "PutRetentionPolicy"]
    expected = ["CreateLogGroup"] * 3 + ["PutRetentionPolicy"] * 2 + made * 2
    assert asked == (expected if status == "SUCCESS" else ["CreateLogGroup"])
    assert status == "SUCCESS" or "no identity-based policy allows it" in found["Reason"]
