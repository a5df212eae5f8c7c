"""Data capture through boto3: requests and responses are in the bucket, in SageMaker's format."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, connect
from tests.contract.jobs import until
from tests.contract.serving import ask, create_config, push_image, start_endpoint
from tests.forked import ForkedAws

BUCKET = "captured"


@pytest.fixture(scope="module")
def model(local_aws: LocalAws, client: ClientFactory) -> str:
    """A model of the tiny server, and a bucket."""
    client("s3").create_bucket(Bucket=BUCKET)
    return create_config(client, "tiny", push_image(local_aws, client))


def serve(client: ClientFactory, name: str, model: str, **capture: Any) -> None:
    """An endpoint of that name which captures into its own prefix."""
    variant = {"VariantName": "primary", "ModelName": model, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    modes = [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]
    config = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{BUCKET}/{name}-traffic",
        "CaptureOptions": modes,
        **capture,
    }
    given = {member: value for member, value in config.items() if value is not None}
    client("sagemaker").create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant], DataCaptureConfig=given
    )
    assert start_endpoint(client, name, name)["EndpointStatus"] == "InService"


def test_an_endpoint_says_what_it_captures(client: ClientFactory, model: str) -> None:
    serve(client, "described", model, InitialSamplingPercentage=50)
    assert client("sagemaker").describe_endpoint(EndpointName="described")["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 50,
        "DestinationS3Uri": f"s3://{BUCKET}/described-traffic",
        "KmsKeyId": "",
    }


def keys(client: ClientFactory, name: str) -> list[str]:
    """The keys that were written for an endpoint."""
    return [
        item["Key"]
        for item in client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{name}-traffic/").get("Contents", [])
    ]


def events(client: ClientFactory, name: str) -> list[dict[str, Any]]:
    """Every exchange that was captured, in the order of the files."""
    bodies = [client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys(client, name)]
    return [json.loads(line) for body in bodies for line in body.splitlines()]


def test_every_exchange_of_a_full_sample_can_be_read_again(client: ClientFactory, model: str) -> None:
    serve(client, "full", model)
    photos = [b"\xff\xd8first", b"\xff\xd8second"]
    answers = [ask(client, "full", photos[0]), ask(client, "full", photos[1], InferenceId="bin-2")]
    found = until(lambda: events(client, "full") if len(events(client, "full")) == 2 else None)
    assert [base64.b64decode(event["captureData"]["endpointInput"]["data"]) for event in found] == photos
    assert found[0]["captureData"]["endpointInput"]["observedContentType"] == "image/jpeg"
    assert found[0]["captureData"]["endpointInput"]["encoding"] == "BASE64"
    assert [json.loads(event["captureData"]["endpointOutput"]["data"]) for event in found] == answers
    assert found[0]["captureData"]["endpointOutput"]["encoding"] == "JSON"
    assert len({event["eventMetadata"]["eventId"] for event in found}) == 2
    assert [event["eventMetadata"].get("inferenceId") for event in found] == [None, "bin-2"], "as ground truth names it"
    name = r"full-traffic/full/primary/\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl"
    assert all(re.fullmatch(name, key) for key in keys(client, "full"))


def test_what_was_captured_last_is_there_after_a_stop(tmp_path: Path) -> None:
    with ForkedAws(tmp_path) as aws:
        client = connect(aws)
        client("s3").create_bucket(Bucket=BUCKET)
        serve(client, "last", create_config(client, "tiny", push_image(aws, client)))
        ask(client, "last")
    with ForkedAws(tmp_path) as aws:
        assert len(events(connect(aws), "last")) == 1


def test_a_sample_takes_its_share_and_the_key_it_is_given(client: ClientFactory, model: str) -> None:
    key = client("kms").create_key()["KeyMetadata"]["Arn"]
    serve(client, "some", model, InitialSamplingPercentage=50, KmsKeyId=key, CaptureOptions=[{"CaptureMode": "Output"}])
    for _ in range(80):
        ask(client, "some")
    until(lambda: len(events(client, "some")) > 15)
    found = events(client, "some")
    assert len(found) < 65, "half of 80, within five standard deviations"
    assert all(set(event["captureData"]) == {"endpointOutput"} for event in found)
    head = client("s3").head_object(Bucket=BUCKET, Key=keys(client, "some")[0])
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)


def test_nothing_is_kept_of_what_failed_or_was_not_asked_for(client: ClientFactory, model: str) -> None:
    serve(client, "off", model, EnableCapture=False)
    serve(client, "errors", model)
    ask(client, "off")
    with pytest.raises(client("sagemaker-runtime").exceptions.ModelError):
        ask(client, "errors", b"refuse")
    ask(client, "errors")
    assert len(until(lambda: events(client, "errors"))) == 1
    assert keys(client, "off") == []


def test_one_mode_captures_both_sides_and_is_on_unless_it_is_off(client: ClientFactory, model: str) -> None:
    serve(client, "both", model, CaptureOptions=[{"CaptureMode": "InputAndOutput"}], EnableCapture=None)
    ask(client, "both", b"\xff\xd8photo")
    (event,) = until(lambda: events(client, "both"))
    assert {side: data["mode"] for side, data in event["captureData"].items()} == {
        "endpointInput": "INPUT",
        "endpointOutput": "OUTPUT",
    }
