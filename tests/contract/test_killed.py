"""A local AWS that is killed outright forgets nothing that it has answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_aws.ministack.saving import Saver, finish_write
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, connect
from tests.contract.functions import make_function
from tests.contract.jobs import IMAGE, ROLE, log_lines, until
from tests.contract.serving import create_config, push_image

TEMPLATE = """
Parameters: {Waits: {Type: String, Default: 'no'}}
Conditions: {Hangs: !Equals [!Ref Waits, 'yes']}
Resources:
  Queue: {Type: 'AWS::SQS::Queue', Properties: {QueueName: made-by-the-stack}}
  Role:
    Type: AWS::IAM::Role
    Properties:
      RoleName: made-by-the-stack
      AssumeRolePolicyDocument:
        Version: '2012-10-17'
        Statement: [{Effect: Allow, Principal: {Service: lambda.amazonaws.com}, Action: 'sts:AssumeRole'}]
  Silent:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: made-by-the-stack
      Runtime: python3.11
      Handler: index.handler
      Role: !GetAtt Role.Arn
      Code: {ZipFile: "def handler(event, context): return None"}
  Waiting: {Type: 'Custom::Waiting', Condition: Hangs, Properties: {ServiceToken: !GetAtt Silent.Arn}}
"""


def kill(aws: LocalAws) -> None:
    for pid in aws.processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # a job may end meanwhile
            if "--state-dir" in psutil.Process(pid).cmdline():
                os.kill(pid, signal.SIGKILL)
    aws.stop()


def make_everything(aws: LocalAws, client: ClientFactory) -> None:
    """One resource of each kind; every request is answered, none is waited for."""
    client("cloudformation").create_stack(
        StackName="whole", TemplateBody=TEMPLATE, Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    client("cloudformation").get_waiter("stack_create_complete").wait(StackName="whole", WaiterConfig={"Delay": 1})
    client("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")
    make_function(client, "function", "return 41 + 1")
    client("cloudwatch").put_metric_alarm(
        AlarmName="alarm", Namespace="N", MetricName="M", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    client("events").put_rule(Name="rule", EventPattern='{"source": ["aws.sagemaker"]}')
    push_image(aws, client)
    client("s3").create_bucket(Bucket="bucket")
    client("s3").put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    client("sqs").create_queue(QueueName="queue")
    client("sns").create_topic(Name="topic")
    client("ssm").put_parameter(Name="/parameter", Value="value", Type="String")
    client("logs").create_log_group(logGroupName="group")
    client("logs").create_log_stream(logGroupName="group", logStreamName="stream")


def everything(client: ClientFactory) -> dict[str, Any]:
    """What there is of each kind."""
    answer = client("lambda").invoke(FunctionName="function", Payload=b"{}")["Payload"].read()
    repositories = client("ecr").describe_repositories()["repositories"]
    names = [item["repositoryName"] for item in repositories]
    stacks = client("cloudformation").describe_stacks()["Stacks"]
    return {
        "stacks": [(item["StackName"], item["StackStatus"]) for item in stacks],
        "resources": len(client("cloudformation").describe_stack_resources(StackName="whole")["StackResources"]),
        "roles": sorted(item["RoleName"] for item in client("iam").list_roles()["Roles"]),
        "functions": sorted(item["FunctionName"] for item in client("lambda").list_functions()["Functions"]),
        "answer": json.loads(answer),
        "alarms": [item["AlarmName"] for item in client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "rules": [item["Name"] for item in client("events").list_rules()["Rules"]],
        "images": {name: client("ecr").list_images(repositoryName=name)["imageIds"] for name in names},
        "versioning": client("s3").get_bucket_versioning(Bucket="bucket")["Status"],
        "queues": sorted(url.rpartition("/")[2] for url in client("sqs").list_queues()["QueueUrls"]),
        "topics": [item["TopicArn"] for item in client("sns").list_topics()["Topics"]],
        "parameter": client("ssm").get_parameter(Name="/parameter")["Parameter"]["Value"],
        "streams": [
            item["logStreamName"] for item in client("logs").describe_log_streams(logGroupName="group")["logStreams"]
        ],
    }


def test_everything_that_was_answered_survives_a_kill(state_dir: Path) -> None:
    """The kill comes the moment after the last answer."""
    aws = LocalAws(state_dir)
    aws.start()
    client = connect(aws)
    make_everything(aws, client)
    before = everything(client)
    client("iam").create_user(UserName="the-last")
    kill(aws)
    with LocalAws(state_dir) as again:
        client = connect(again)
        assert everything(client) == before
        assert client("iam").get_user(UserName="the-last")


def test_a_job_that_was_stopping_says_that_it_has_stopped(state_dir: Path) -> None:
    """A rule on its event must not wait for ever."""
    aws = LocalAws(state_dir)
    aws.start()
    client = connect(aws)
    events, sqs = client("events"), client("sqs")
    queue = sqs.create_queue(QueueName="ended")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["aws.sagemaker"], "detail": {"ProcessingJobStatus": ["Stopped"]}}
    events.put_rule(Name="ended", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="ended", Targets=[{"Id": "queue", "Arn": arn}])
    client("sagemaker").create_processing_job(
        ProcessingJobName="stubborn",
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}},
        AppSpecification={
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["/bin/bash", "-c", "trap '' TERM; echo deaf; while true; do sleep 1; done"],
        },
        RoleArn=ROLE,
    )

    def deaf() -> bool:
        try:
            return "deaf" in log_lines(client, "/aws/sagemaker/ProcessingJobs", "stubborn")
        except ClientError:
            return False

    until(deaf)
    client("sagemaker").stop_processing_job(ProcessingJobName="stubborn")
    kill(aws)
    with LocalAws(state_dir) as again:
        client = connect(again)
        found = until(lambda: client("sqs").receive_message(QueueUrl=queue).get("Messages"))
        event = json.loads(found[0]["Body"])
        assert event["detail-type"] == "SageMaker Processing Job State Change"
        assert event["detail"]["ProcessingJobName"] == "stubborn" and event["detail"]["ProcessingEndTime"]
        job = client("sagemaker").describe_processing_job(ProcessingJobName="stubborn")
        assert job["ProcessingJobStatus"] == "Stopped"


def test_what_was_deleted_and_changed_stays_so(state_dir: Path) -> None:
    """A state that only grows would bring back what was removed."""
    aws = LocalAws(state_dir)
    aws.start()
    client = connect(aws)
    make_everything(aws, client)
    client("lambda").delete_function(FunctionName="function")
    make_function(client, "function", "return 'new'")
    client("cloudwatch").delete_alarms(AlarmNames=["alarm"])
    client("events").delete_rule(Name="rule")
    client("cloudformation").delete_stack(StackName="whole")
    client("cloudformation").get_waiter("stack_delete_complete").wait(StackName="whole", WaiterConfig={"Delay": 1})
    client("sqs").delete_queue(QueueUrl=client("sqs").get_queue_url(QueueName="queue")["QueueUrl"])
    kill(aws)
    with LocalAws(state_dir) as again:
        client = connect(again)
        assert json.loads(client("lambda").invoke(FunctionName="function")["Payload"].read()) == "new"
        assert client("cloudwatch").describe_alarms()["MetricAlarms"] == []
        assert client("events").list_rules()["Rules"] == []
        assert client("cloudformation").describe_stacks()["Stacks"] == []
        assert client("sqs").list_queues().get("QueueUrls", []) == []
        with pytest.raises(ClientError):
            client("iam").get_role(RoleName="made-by-the-stack")


def test_log_lines_and_metrics_are_saved_within_seconds(state_dir: Path) -> None:
    aws = LocalAws(state_dir)
    aws.start()
    client = connect(aws)
    client("logs").create_log_group(logGroupName="group")
    client("logs").create_log_stream(logGroupName="group", logStreamName="stream")
    event = {"timestamp": int(time.time() * 1000), "message": "a line to keep"}
    client("logs").put_log_events(logGroupName="group", logStreamName="stream", logEvents=[event])
    client("cloudwatch").put_metric_data(Namespace="N", MetricData=[{"MetricName": "kept", "Value": 1}])
    saved = state_dir / "ministack"
    until(lambda: "a line to keep" in (saved / "cloudwatch_logs.json").read_text())
    until(lambda: (saved / "cloudwatch.json").is_file() and "kept" in (saved / "cloudwatch.json").read_text())
    kill(aws)
    with LocalAws(state_dir) as again:
        lines = connect(again)("logs").get_log_events(logGroupName="group", logStreamName="stream")["events"]
        assert [line["message"] for line in lines] == ["a line to keep"]


@pytest.mark.parametrize("begun", ["create", "update"])
def test_a_stack_that_was_changing_says_so_and_can_be_rolled_back_and_deleted(state_dir: Path, begun: str) -> None:
    aws = LocalAws(state_dir)
    aws.start()
    cloudformation = connect(aws)("cloudformation")
    stack = {"StackName": "cut", "TemplateBody": TEMPLATE, "Capabilities": ["CAPABILITY_NAMED_IAM"]}
    waits = {"Parameters": [{"ParameterKey": "Waits", "ParameterValue": "yes"}]}
    if begun == "create":
        cloudformation.create_stack(**stack, **waits)
    else:
        cloudformation.create_stack(**stack)
        cloudformation.get_waiter("stack_create_complete").wait(StackName="cut", WaiterConfig={"Delay": 1})
        cloudformation.update_stack(**stack, **waits)

    def hangs() -> bool:
        events = cloudformation.describe_stack_events(StackName="cut")["StackEvents"]
        return any(event["LogicalResourceId"] == "Waiting" for event in events)

    until(hangs)
    until(lambda: '"Waiting"' in (state_dir / "ministack" / "cloudformation.json").read_text())
    kill(aws)
    with LocalAws(state_dir) as again:
        client = connect(again)
        found = client("cloudformation").describe_stacks(StackName="cut")["Stacks"][0]
        assert found["StackStatus"] == f"{begun.upper()}_FAILED"
        assert "local AWS ended" in found["StackStatusReason"]
        if begun == "update":
            client("cloudformation").rollback_stack(StackName="cut")
            client("cloudformation").get_waiter("stack_rollback_complete").wait(
                StackName="cut", WaiterConfig={"Delay": 1}
            )
        client("cloudformation").delete_stack(StackName="cut")
        client("cloudformation").get_waiter("stack_delete_complete").wait(StackName="cut", WaiterConfig={"Delay": 1})
        assert client("sqs").list_queues().get("QueueUrls", []) == []


def test_an_endpoint_that_was_starting_belongs_to_its_stack(state_dir: Path) -> None:
    """SageMaker has stored it, and its stack would have recorded it when it answers, which it never does."""
    aws = LocalAws(state_dir)
    aws.start()
    client = connect(aws)
    ready = state_dir.parent / "ready"
    create_config(client, "slow", push_image(aws, client), ready=str(ready))
    endpoint = {"EndpointName": "starting", "EndpointConfigName": "slow"}
    template = {"Resources": {"Endpoint": {"Type": "AWS::SageMaker::Endpoint", "Properties": endpoint}}}
    client("cloudformation").create_stack(StackName="cut", TemplateBody=json.dumps(template))
    until(lambda: client("sagemaker").list_endpoints()["Endpoints"])
    kill(aws)
    with LocalAws(state_dir) as again:
        client = connect(again)
        (resource,) = client("cloudformation").describe_stack_resources(StackName="cut")["StackResources"]
        assert resource["PhysicalResourceId"].endswith("endpoint/starting")
        client("cloudformation").delete_stack(StackName="cut")
        ready.touch()  # an endpoint that is being created cannot be deleted: its stack waits
        client("cloudformation").get_waiter("stack_delete_complete").wait(StackName="cut", WaiterConfig={"Delay": 1})
        assert client("sagemaker").list_endpoints()["Endpoints"] == []


def test_those_who_wait_together_share_a_write_and_all_are_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that comes while a write runs is in the next write, never only in the one that began before."""
    from ministack.core import persistence

    monkeypatch.setattr(persistence, "STATE_DIR", str(tmp_path))
    saver, writes = Saver(), []
    stored: dict[str, int] = {}

    def state() -> dict[str, int]:
        writes.append(dict(stored))
        return dict(stored)

    def change(number: int, seen: Callable[[], Any]) -> None:
        stored[str(number)] = number
        saver.save("items", state)
        assert str(number) in seen()

    def on_disk() -> Any:
        return json.loads((tmp_path / "items.json").read_text())["payload"]

    threads = [threading.Thread(target=change, args=(number, on_disk)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert on_disk() == stored
    assert len(stored) == 40
    assert len(writes) <= 40


def test_a_stack_and_its_resources_are_saved_at_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both change in one step of the event loop; no write has the one without the other."""
    from ministack.core import persistence

    monkeypatch.setattr(persistence, "STATE_DIR", str(tmp_path))
    saver = Saver()
    resources: list[int] = []
    recorded: list[int] = []
    seen = []

    def saved(key: str) -> Any:
        return json.loads((tmp_path / f"{key}.json").read_text())["payload"]

    def others() -> str:
        time.sleep(0.002)  # as long as a deep copy of many resources
        return "others"

    def write_often() -> None:
        for _ in range(20):
            saver.sweep({"recorded": lambda: list(recorded), "others": others, "resources": lambda: list(resources)})
            seen.append((saved("recorded"), saved("resources")))

    async def make_resources() -> None:
        saver.loop = asyncio.get_running_loop()
        writing = asyncio.ensure_future(asyncio.to_thread(write_often))
        while not writing.done():
            resources.append(len(resources))
            recorded.append(len(recorded))
            await asyncio.sleep(0)
        await writing

    asyncio.run(make_resources())
    assert [one for one, _ in seen] == [other for _, other in seen]
    assert seen[0] != seen[-1]


@pytest.mark.parametrize("renames", range(4))
def test_a_kill_in_the_middle_of_a_write_leaves_all_files_old_or_all_new(tmp_path: Path, renames: int) -> None:
    """The kill comes before rename number `renames`: the first one names the files, the others put them in place."""
    program = """
import os, sys
from pathlib import Path
from ministack.core import persistence
from local_aws.ministack.saving import Saver, finish_write
persistence.STATE_DIR, left = sys.argv[1], int(sys.argv[2])
replace = Path.replace

def killed(path, target):
    global left
    if left == 0:
        os.kill(os.getpid(), 9)
    left -= 1
    return replace(path, target)

saver = Saver()
saver.sweep({"one": lambda: "old", "two": lambda: "old", "three": lambda: "same"})
Path.replace = killed
saver.sweep({"one": lambda: "new", "two": lambda: "new", "three": lambda: "same"})
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path), str(renames)], check=False)
    assert done.returncode == (-signal.SIGKILL if renames < 3 else 0)
    finish_write(tmp_path)
    found = {path.name: json.loads(path.read_text())["payload"] for path in tmp_path.iterdir()}
    expected = "old" if renames == 0 else "new"
    assert found == {"one.json": expected, "two.json": expected, "three.json": "same"}
