"""Asynchronous endpoints through boto3: a queue, answers in S3, notices, and no instance while nothing waits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from binventory import cli, serving
from binventory.client import CountError, Queue, count_queued
from binventory.core import aws as connections
from binventory.core.errors import Exit, Problem
from local_aws.server import LocalAws
from tests.audited import write_bin
from tests.conftest import NAMES
from tests.contract.conftest import ClientFactory, connect
from tests.contract.jobs import text_of, until
from tests.contract.serving import ROLE, ask, push_image, put_artefact, start_endpoint, wait_while
from tests.forked import ForkedAws

BUCKET = "queued"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A local AWS whose five minutes take three seconds."""
    with ForkedAws(tmp_path_factory.mktemp("quick"), time_scale=0.01) as aws:
        yield aws


@pytest.fixture(scope="module")
def client(quick: LocalAws) -> ClientFactory:
    found = connect(quick)
    found("s3").create_bucket(Bucket=BUCKET)
    for name in ("good", "refuse"):
        found("s3").put_object(Bucket=BUCKET, Key=f"in/{name}", Body=name.encode())
    return found


@pytest.fixture(scope="module")
def image(quick: LocalAws, client: ClientFactory) -> str:
    return push_image(quick, client)


@pytest.fixture(scope="module")
def topics(client: ClientFactory) -> dict[str, str]:
    """Topics and, behind each, a queue of the same name."""
    found = {}
    for name in ("answers", "failures", "tries"):
        topic = client("sns").create_topic(Name=name)["TopicArn"]
        queue = client("sqs").create_queue(QueueName=name)["QueueUrl"]
        arn = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        found[name] = topic
    return found


@pytest.fixture(scope="module")
def endpoint(client: ClientFactory, image: str, topics: dict[str, str]) -> str:
    described = queued(client, image, "async", topics=topics)
    assert described["EndpointStatus"] == "InService", described.get("FailureReason")
    assert described["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"] == f"s3://{BUCKET}/out"
    return "async"


def test_a_queue_is_not_taken_from_an_endpoint(client: ClientFactory, endpoint: str) -> None:
    """In AWS's words: https://github.com/aws/sagemaker-python-sdk/pull/3124."""
    sagemaker = client("sagemaker")
    without = {key: value for key, value in config(endpoint).items() if key != "AsyncInferenceConfig"}
    sagemaker.create_endpoint_config(**{**without, "EndpointConfigName": "without-a-queue"})
    with pytest.raises(ClientError, match="AsyncInferenceConfig parameter cannot be removed from this endpoint"):
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName="without-a-queue")
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "InService"


def config(image_model: str, **output: Any) -> dict[str, Any]:
    return {
        "EndpointConfigName": image_model,
        "ProductionVariants": [
            {
                "VariantName": "primary",
                "ModelName": image_model,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
        ],
        "AsyncInferenceConfig": {
            "OutputConfig": {
                "S3OutputPath": f"s3://{BUCKET}/out",
                "S3FailurePath": f"s3://{BUCKET}/failed",
                **output,
            }
        },
    }


def queued(
    client: ClientFactory, image: str, name: str, topics: dict[str, str] | None = None, **behaviour: Any
) -> dict[str, Any]:
    container = {"Image": image, "ModelDataUrl": put_artefact(client, name, **behaviour)}
    client("sagemaker").create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    notices = (
        {"NotificationConfig": {"SuccessTopic": topics["answers"], "ErrorTopic": topics["failures"]}} if topics else {}
    )
    client("sagemaker").create_endpoint_config(**config(name, **notices))
    return start_endpoint(client, name, name)


def put(client: ClientFactory, endpoint: str, key: str = "good", **options: Any) -> dict[str, Any]:
    reply: dict[str, Any] = client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=endpoint, **({"InputLocation": f"s3://{BUCKET}/in/{key}", "ContentType": "image/jpeg"} | options)
    )
    return reply


def stored(client: ClientFactory, uri: str) -> str:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    until(lambda: client("s3").list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"], seconds=30)
    return text_of(client, uri)


def received(client: ClientFactory, name: str) -> list[dict[str, Any]]:
    """The notifications in a queue, which it then no longer has."""
    queue = client("sqs").get_queue_url(QueueName=name)["QueueUrl"]
    messages = client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    for message in messages:
        client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(json.loads(message["Body"])["Message"]) for message in messages]


def notice(client: ClientFactory, name: str) -> dict[str, Any]:
    """The one notification of an answer; tests of the topic are passed over."""
    (said,) = until(
        lambda: [item for item in received(client, name) if item["eventName"] == "InferenceResult"], seconds=10
    )
    found: dict[str, Any] = said
    return found


def test_the_topics_are_tried_when_an_endpoint_is_made_scaled_and_updated(
    client: ClientFactory, image: str, topics: dict[str, str]
) -> None:
    """By https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-create-endpoint-create-endpoint.html."""
    sagemaker, tried = client("sagemaker"), topics["tries"]
    queued(client, image, "tried", topics={"answers": tried, "failures": tried})
    test = [{"eventVersion": "1.0", "eventSource": "aws:sagemaker", "eventName": "TestNotification"}]
    assert until(lambda: received(client, "tries")) == test
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="tried", DesiredWeightsAndCapacities=[{"VariantName": "primary", "DesiredInstanceCount": 2}]
    )
    assert wait_while(client, "tried", "Updating")["EndpointStatus"] == "InService"
    assert until(lambda: received(client, "tries")) == test
    absent = tried.replace("tries", "absent")
    for name, topic in (("tried-again", tried), ("tried-in-vain", absent)):
        notified = config("tried", NotificationConfig={"ErrorTopic": topic})
        sagemaker.create_endpoint_config(**notified | {"EndpointConfigName": name})
        sagemaker.update_endpoint(EndpointName="tried", EndpointConfigName=name)
        described = wait_while(client, "tried", "Updating")
        assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "tried-again")
    assert f'has "sns:Publish" permissions for topic "{absent}"' in described["FailureReason"]
    assert until(lambda: received(client, "tries")) == test
    failed = start_endpoint(client, "in-vain", "tried-in-vain")
    assert failed["EndpointStatus"] == "Failed" and "sns:Publish" in failed["FailureReason"]
    for name in ("tried", "in-vain"):
        sagemaker.delete_endpoint(EndpointName=name)


def test_the_container_gets_the_content_type_of_the_object(client: ClientFactory, endpoint: str) -> None:
    """The SDK's asynchronous predictor says it when it uploads, and not in the request."""
    client("s3").put_object(Bucket=BUCKET, Key="in/typed", Body=b"typed", ContentType="application/x-npy")
    reply = client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=endpoint, InputLocation=f"s3://{BUCKET}/in/typed"
    )
    answer = json.loads(stored(client, reply["OutputLocation"]))
    assert answer["content_type"] == "application/x-npy"
    assert notice(client, "answers")


def test_an_answer_goes_to_s3_and_is_announced(client: ClientFactory, endpoint: str) -> None:
    reply = put(client, endpoint, InferenceId="mine", CustomAttributes="trace=1")
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert reply["InferenceId"] == "mine"
    answer = json.loads(stored(client, reply["OutputLocation"]))
    assert (answer["bytes"], answer["content_type"]) == (4, "image/jpeg")
    said = notice(client, "answers")
    assert said["invocationStatus"] == "Completed" and said["inferenceId"] == "mine"
    assert said["responseParameters"]["outputLocation"] == reply["OutputLocation"]


def test_it_publishes_the_metrics_of_aws_and_no_invocations(client: ClientFactory, endpoint: str) -> None:
    """By AWS's page on monitoring asynchronous endpoints, so that what looks at Invocations fails here, too."""
    stored(client, put(client, endpoint)["OutputLocation"])
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "primary"}]

    def published() -> set[str]:
        found = client("cloudwatch").list_metrics(Namespace="AWS/SageMaker", Dimensions=dimensions)["Metrics"]
        names = {metric["MetricName"] for metric in found}
        return names if "ModelLatency" in names else set()

    assert until(published) == {"InvocationsProcessed", "Invocation4XXErrors", "Invocation5XXErrors", "ModelLatency"}


def test_a_failure_goes_to_its_own_place(client: ClientFactory, endpoint: str) -> None:
    reply = put(client, endpoint, "refuse")
    assert "(400)" in stored(client, reply["FailureLocation"])
    assert notice(client, "failures")["invocationStatus"] == "Failed"
    missing = put(client, endpoint, "nowhere")
    assert "NoSuchKey" in stored(client, missing["FailureLocation"])
    assert "NoSuchKey" in notice(client, "failures")["failureReason"]


@pytest.mark.parametrize(
    ("behaviour", "photo", "words"),
    [
        ({"status": 500}, b"count 3", r'^Received server error \(500\) from primary with message "'),
        ({}, b"die", r"^Received server error \(0\) from primary"),
        ({"endless": True}, b"count 3", "^The response from container primary did not specify the required Content-Le"),
    ],
)
def test_a_container_that_fails_is_no_refusal(
    client: ClientFactory, image: str, behaviour: dict[str, Any], photo: bytes, words: str
) -> None:
    name = f"fails-{len(words)}"
    queued(client, image, name, **behaviour)
    queue = Queue(name, f"s3://{BUCKET}/photos/", client("sagemaker-runtime"), client("s3"))
    with pytest.raises(CountError, match=words) as failed:
        count_queued(photo, queue, pause=lambda seconds: queue.halted.wait(min(seconds, 0.05)))
    assert failed.value.reason == "failed"
    client("sagemaker").delete_endpoint(EndpointName=name)


def test_a_small_photo_may_come_with_the_request_and_choose_its_place(client: ClientFactory, endpoint: str) -> None:
    reply = client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=endpoint, Body=b"inside", ContentType="image/png", S3OutputPathExtension="day", Filename="a.json"
    )
    assert reply["OutputLocation"] == f"s3://{BUCKET}/out/day/a.json"
    assert json.loads(stored(client, reply["OutputLocation"]))["bytes"] == 6


def test_what_can_never_be_answered_is_refused(client: ClientFactory, endpoint: str, image: str) -> None:
    with pytest.raises(ClientError, match="InvokeEndpointAsync"):
        ask(client, endpoint)
    with pytest.raises(ClientError, match="not found"):
        put(client, "no-such-endpoint")
    with pytest.raises(ClientError, match="exactly one of"):
        client("sagemaker-runtime").invoke_endpoint_async(EndpointName=endpoint)
    both = config("async") | {"EndpointConfigName": "both"}
    both["ProductionVariants"] = [
        {
            "VariantName": "primary",
            "ModelName": "async",
            "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 1},
        }
    ]
    with pytest.raises(ClientError, match="both serverless and asynchronous"):
        client("sagemaker").create_endpoint_config(**both)


def test_machines_go_when_nothing_waits_and_come_back(client: ClientFactory, image: str) -> None:
    queued(client, image, "scaled", seconds=0.2)
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/scaled/variant/primary",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    client("application-autoscaling").register_scalable_target(**target, MinCapacity=0, MaxCapacity=2)

    def instances() -> int:
        described = client("sagemaker").describe_endpoint(EndpointName="scaled")
        return int(described["ProductionVariants"][0]["CurrentInstanceCount"])

    until(lambda: instances() == 0, seconds=30)
    replies = [put(client, "scaled") for _ in range(6)]
    for reply in replies:
        assert json.loads(stored(client, reply["OutputLocation"]))["name"] == "scaled"
    until(lambda: instances() == 0, seconds=30)


def test_the_command_line_waits_for_its_answers(
    client: ClientFactory, image: str, quick: LocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(client, image, "counting", counts=[1, 2, 3, 4, 5])
    client("sagemaker").create_endpoint(EndpointName="binventory-dev", EndpointConfigName="counting")
    wait_while(client, "binventory-dev", "Creating")
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {"AsyncInputUri": {"Value": f"s3://{BUCKET}/photos/"}, "AsyncExpireDays": {"Value": "9"}},
    }
    client("cloudformation").create_stack(StackName="binventory-dev-serving", TemplateBody=json.dumps(template))
    until(lambda: "COMPLETE" in client("cloudformation").describe_stacks()["Stacks"][0]["StackStatus"])
    for name, value in quick.environment().items():
        monkeypatch.setenv(name, value)
    photos = []
    for count in (2, 5):
        photos.append(str(tmp_path / f"{count}.jpg"))
        Path(photos[-1]).write_bytes(f"count {count}".encode())
    said = StringIO()
    with redirect_stdout(said):
        assert cli.run(["count", *photos, "--json"]) == Exit.OK
    assert [answer["count"] for answer in json.loads(said.getvalue()).values()] == [2, 5]
    assert client("s3").list_objects_v2(Bucket=BUCKET, Prefix="photos/")["KeyCount"] == 0
    for name, recorded in (("a", 2), ("b", 4), ("bad", 1)):
        shown = b"refuse" if name == "bad" else b"count 2"
        write_bin(tmp_path / "bins", name, recorded, photo=shown)
    said = StringIO()
    with redirect_stdout(said):
        arguments = ["audit", str(tmp_path / "bins"), "--output", str(tmp_path / "out"), "--format", "csv", "--json"]
        assert cli.run(arguments) == Exit.OK
    assert (json.loads(said.getvalue())["counted"], json.loads(said.getvalue())["not_audited"]) == (2, 1)
    refused = tmp_path / "refuse.jpg"
    refused.write_bytes(b"refuse")
    assert cli.run(["count", str(refused)]) == Exit.FAILED
    assert client("s3").list_objects_v2(Bucket=BUCKET, Prefix="photos/")["KeyCount"] == 0
    # Without the right to delete a photo the counts stand, and one line names the photos that stay.
    for name in ("count", "audit"):
        own = connections.connect(quick.environment())
        own.client("s3").meta.events.register("before-call.s3.DeleteObject", lambda **given: _denied())
        monkeypatch.setattr(f"binventory.cli.{name}.connect", lambda environment, own=own: own)
    for command in (["count", *photos, "--json"], [*arguments, "--restart"]):
        said, problems = StringIO(), StringIO()
        with redirect_stdout(said), redirect_stderr(problems):
            assert cli.run(command) == Exit.OK
        (line,) = [line for line in problems.getvalue().splitlines() if "Left behind" in line]
        found = re.fullmatch(
            r"Left behind: (\d) photos below (s3://queued/photos/\w+/), which S3 deletes after 9 days "
            r"\(.*AccessDenied.*\)\. Remove it: aws s3 rm --recursive (.*)",
            line,
        )
        assert found and found[2] == found[3], line
        below = client("s3").list_objects_v2(Bucket=BUCKET, Prefix=found[2].removeprefix(f"s3://{BUCKET}/"))
        assert int(found[1]) == below["KeyCount"] == (2 if command[0] == "count" else 3)
        for item in below["Contents"]:
            client("s3").delete_object(Bucket=BUCKET, Key=item["Key"])


def _denied() -> tuple[Any, dict[str, Any]]:
    error = {"Code": "AccessDenied", "Message": "Access Denied"}
    return SimpleNamespace(status_code=403), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": 403}}


def test_an_answer_that_does_not_come_is_late_and_what_is_missing_is_named(
    client: ClientFactory, image: str, quick: LocalAws, tmp_path: Path
) -> None:
    answers = tmp_path / "answers"
    queued(client, image, "slow", until=str(answers), counts=[1, 2, 3, 4, 5])
    queue = Queue("slow", f"s3://{BUCKET}/photos/", client("sagemaker-runtime"), client("s3"), patience=0.5)
    # An instance takes four requests; the fifth waits in the queue, and its photo in the bucket.
    promised = []
    for _ in range(5):
        with pytest.raises(CountError, match="it will be written to s3://") as late:
            count_queued(b"count 3", queue)
        promised.append(str(late.value).rpartition(" ")[2])
    answers.touch()
    assert [json.loads(stored(client, uri))["count"] for uri in promised] == [3] * 5
    assert late.value.reason == "late"
    aws = connections.connect(quick.environment())
    nowhere = Queue("slow", "s3://no-such-bucket/", client("sagemaker-runtime"), client("s3"))
    with pytest.raises(Problem, match="not counted"):
        serving.count(aws, NAMES, b"count 3", queue=nowhere)
    absent = Queue("absent", f"s3://{BUCKET}/photos/", client("sagemaker-runtime"), client("s3"))
    with pytest.raises(Problem, match="There is no endpoint"):
        serving.count(aws, NAMES, b"count 3", queue=absent)
    with pytest.raises(Problem, match="was not read"):
        serving.count(aws, NAMES, tmp_path / "absent.jpg", queue=queue)
