"""Batch Transform through boto3: real servers, real objects."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import log_lines, text_of, until
from tests.contract.serving import ROLE, push_image, put_artefact

DATA = "transforms"
LOG_GROUP = "/aws/sagemaker/TransformJobs"
LINES = [f"line {number}" for number in range(5)]


@pytest.fixture(scope="module")
def image(local_aws: LocalAws, client: ClientFactory) -> str:
    s3 = client("s3")
    s3.create_bucket(Bucket=DATA)
    for name in ("a", "deep/b", "deep/c"):
        s3.put_object(Bucket=DATA, Key=f"photos/{name}.jpg", Body=name.encode())
    s3.put_object(Bucket=DATA, Key="tables/lines.csv", Body="\n".join(LINES).encode() + b"\n")
    s3.put_object(Bucket=DATA, Key="mixed/bad.jpg", Body=b"refuse")
    s3.put_object(Bucket=DATA, Key="mixed/good.jpg", Body=b"good")
    return push_image(local_aws, client)


def model(client: ClientFactory, image: str, name: str, **behaviour: Any) -> str:
    container = {"Image": image, "ModelDataUrl": put_artefact(client, name, **behaviour)}
    client("sagemaker").create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    return name


def start(client: ClientFactory, name: str, model_name: str, prefix: str = "photos/", **changes: Any) -> None:
    request: dict[str, Any] = {
        "TransformJobName": name,
        "ModelName": model_name,
        "TransformInput": source(prefix, ContentType="image/jpeg"),
        "TransformOutput": {"S3OutputPath": f"s3://{DATA}/out/{name}/", "Accept": "application/json"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    client("sagemaker").create_transform_job(**request | changes)


def source(prefix: str, kind: str = "S3Prefix", **changes: Any) -> dict[str, Any]:
    return {"DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": f"s3://{DATA}/{prefix}"}}, **changes}


def start_chosen(client: ClientFactory, image: str, name: str, *photos: str) -> None:
    """Start a job on the photos that a manifest names."""
    lines = [{"prefix": f"s3://{DATA}/photos/"}, *photos]
    client("s3").put_object(Bucket=DATA, Key=f"{name}.json", Body=json.dumps(lines).encode())
    start(client, name, model(client, image, f"of-{name}"), TransformInput=source(f"{name}.json", "ManifestFile"))


def finished(client: ClientFactory, name: str) -> dict[str, Any]:
    def described() -> dict[str, Any] | None:
        job: dict[str, Any] = client("sagemaker").describe_transform_job(TransformJobName=name)
        return job if job["TransformJobStatus"] not in {"InProgress", "Stopping"} else None

    job: dict[str, Any] = until(described)
    return job


def outputs(client: ClientFactory, name: str) -> dict[str, Any]:
    listed = client("s3").list_objects_v2(Bucket=DATA, Prefix=f"out/{name}/").get("Contents", [])
    keys = [entry["Key"] for entry in listed]
    return {key.removeprefix(f"out/{name}/"): text_of(client, f"s3://{DATA}/{key}") for key in keys}


def test_every_object_of_a_prefix_is_answered_beside_its_name(client: ClientFactory, image: str) -> None:
    start(client, "prefix", model(client, image, "plain"), Environment={"MODE": "batch"}, Tags=[tag("team", "bins")])
    job = finished(client, "prefix")
    assert job["TransformJobStatus"] == "Completed", job
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"]
    answers = {path: json.loads(text) for path, text in outputs(client, "prefix").items()}
    assert set(answers) == {"a.jpg.out", "deep/b.jpg.out", "deep/c.jpg.out"}
    assert answers["deep/b.jpg.out"]["bytes"] == len("deep/b")
    assert answers["a.jpg.out"]["content_type"] == "image/jpeg"
    assert answers["a.jpg.out"]["environment"]["MODE"] == "batch"
    assert answers["a.jpg.out"]["batch"] == "true"
    assert "serving plain" in log_lines(client, LOG_GROUP, "prefix")
    assert client("sagemaker").list_tags(ResourceArn=job["TransformJobArn"])["Tags"] == [tag("team", "bins")]


def test_a_manifest_names_the_objects(client: ClientFactory, image: str) -> None:
    start_chosen(client, image, "manifest", "a.jpg", "deep/c.jpg")
    assert finished(client, "manifest")["TransformJobStatus"] == "Completed"
    assert set(outputs(client, "manifest")) == {"a.jpg.out", "deep/c.jpg.out"}


def test_an_object_is_answered_whatever_its_key_its_size_and_its_encryption(client: ClientFactory, image: str) -> None:
    """Small objects with plain keys are read and written without boto3; not all of these are."""
    s3, kms = client("s3"), client("kms").create_key()["KeyMetadata"]["Arn"]
    bodies = {
        "c.jpg": b"plain",
        "/c.jpg": b"a slash in front",
        "deep//b.jpg": b"a slash more",
        "ä %41 #1?.jpg": b"signs",
    }
    bodies |= {"large.jpg": b"-" * 9_000_000, "sealed.jpg": b"by kms"}
    for name, body in bodies.items():
        sealed = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms} if name == "sealed.jpg" else {}
        s3.put_object(Bucket=DATA, Key=name, Body=body, **sealed)
    s3.put_object(Bucket=DATA, Key="keys.json", Body=json.dumps([{"prefix": f"s3://{DATA}/"}, *bodies]).encode())
    start(
        client,
        "keys",
        model(client, image, "keys"),
        TransformInput=source("keys.json", "ManifestFile"),
        TransformOutput={"S3OutputPath": f"s3://{DATA}/out/keys/", "KmsKeyId": kms},
        MaxPayloadInMB=20,
    )
    assert finished(client, "keys")["TransformJobStatus"] == "Completed"
    sizes = {path: json.loads(text)["bytes"] for path, text in outputs(client, "keys").items()}
    assert sizes == {f"{name}.out": len(body) for name, body in bodies.items()}
    for path in sizes:
        written = s3.head_object(Bucket=DATA, Key=f"out/keys/{path}", ChecksumMode="ENABLED")
        assert (written["ServerSideEncryption"], written["SSEKMSKeyId"]) == ("aws:kms", kms)
        assert {"ChecksumSHA256", "ChecksumCRC32"} & written.keys(), "S3 keeps a checksum where the ETag is no MD5"


@pytest.mark.parametrize(
    ("name", "strategy", "payloads"),
    [("single", "SingleRecord", [7] * 5), ("multi", "MultiRecord", [35])],
)
def test_lines_are_sent_as_the_strategy_says(
    client: ClientFactory, image: str, name: str, strategy: str, payloads: list[int]
) -> None:
    where = {"S3OutputPath": f"s3://{DATA}/out/{name}", "AssembleWith": "Line"}
    lines = source("tables/", SplitType="Line")
    start(
        client,
        name,
        model(client, image, f"lines-{name}"),
        TransformInput=lines,
        TransformOutput=where,
        BatchStrategy=strategy,
        MaxConcurrentTransforms=3,
        MaxPayloadInMB=1,
    )
    assert finished(client, name)["TransformJobStatus"] == "Completed"
    answers = [json.loads(line) for line in outputs(client, name)["lines.csv.out"].splitlines()]
    assert [answer["bytes"] for answer in answers] == payloads


def test_gzip_is_unpacked_and_several_instances_share_the_work(client: ClientFactory, image: str) -> None:
    for number in range(8):
        client("s3").put_object(Bucket=DATA, Key=f"packed/{number}.gz", Body=gzip.compress(b"twelve bytes"))
    start(
        client,
        "packed",
        model(client, image, "unpacked", seconds=0.1),
        TransformInput=source("packed/", CompressionType="Gzip"),
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 2},
    )
    assert finished(client, "packed")["TransformJobStatus"] == "Completed"
    answers = [json.loads(text) for text in outputs(client, "packed").values()]
    assert {answer["bytes"] for answer in answers} == {12}
    assert len({answer["process"] for answer in answers}) == 2


def test_one_bad_object_fails_the_job_and_keeps_the_others(client: ClientFactory, image: str) -> None:
    start(client, "mixed", model(client, image, "half"), prefix="mixed/")
    job = finished(client, "mixed")
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: See job logs for more information")
    assert set(outputs(client, "mixed")) == {"good.jpg.out"}
    assert any("mixed/bad.jpg: Bad HTTP status returned from invoke: 400" in line for line in data_log(client, "mixed"))


def test_an_object_that_is_not_there_fails_in_the_words_of_s3(client: ClientFactory, image: str) -> None:
    start_chosen(client, image, "gone", "a.jpg", "gone.jpg")
    assert finished(client, "gone")["TransformJobStatus"] == "Failed"
    assert set(outputs(client, "gone")) == {"a.jpg.out"}
    refused = f"{DATA}/photos/gone.jpg: An error occurred (NoSuchKey) when calling the GetObject operation"
    assert any(line.startswith(refused) for line in data_log(client, "gone"))


def test_a_server_that_fails_is_asked_again_as_often_as_the_client_config_says(
    client: ClientFactory, image: str
) -> None:
    config = {"InvocationsMaxRetries": 1, "InvocationsTimeoutInSeconds": 1}
    start(client, "failing", model(client, image, "failing", status=500), ModelClientConfig=config)
    job = finished(client, "failing")
    assert job["FailureReason"].startswith("AlgorithmError")
    asked = [line for line in log_lines(client, LOG_GROUP, "failing") if "POST /invocations" in line]
    assert len(asked) == 2 * 3
    start(
        client, "slow", model(client, image, "slow", seconds=3), ModelClientConfig=config | {"InvocationsMaxRetries": 0}
    )
    assert "did not respond to /invocations" in finished(client, "slow")["FailureReason"]


def test_a_model_that_cannot_be_loaded_fails_the_job(client: ClientFactory, image: str) -> None:
    start(client, "broken", model(client, image, "broken", crash=True))
    job = finished(client, "broken")
    assert job["TransformJobStatus"] == "Failed"
    assert "did not pass the ping health check" in job["FailureReason"]
    assert outputs(client, "broken") == {}


def test_a_stopped_job_leaves_no_output(client: ClientFactory, image: str) -> None:
    for number in range(20):
        client("s3").put_object(Bucket=DATA, Key=f"many/{number}.jpg", Body=b"photo")
    start(client, "stopped", model(client, image, "unhurried", seconds=0.4), prefix="many/")
    until(lambda: outputs(client, "stopped"))
    client("sagemaker").stop_transform_job(TransformJobName="stopped")
    assert finished(client, "stopped")["TransformJobStatus"] == "Stopped"
    assert outputs(client, "stopped") == {}
    with pytest.raises(ClientError, match="ValidationException"):
        client("sagemaker").stop_transform_job(TransformJobName="stopped")


def test_nothing_to_transform_is_refused_and_no_manifest_fails_the_job(client: ClientFactory, image: str) -> None:
    with pytest.raises(ClientError, match="No S3 objects found under S3 URL"):
        start(client, "empty", model(client, image, "idle"), prefix="nowhere/")
    lines = source("tables/lines.csv", "ManifestFile")
    start(client, "no-manifest", "idle", TransformInput=lines)
    assert "cannot be read" in finished(client, "no-manifest")["FailureReason"]


def test_names_are_taken_once_and_listed(client: ClientFactory, image: str) -> None:
    start(client, "twice", model(client, image, "twice"))
    with pytest.raises(ClientError, match="ResourceInUse"):
        start(client, "twice", "twice")
    finished(client, "twice")
    listed = client("sagemaker").list_transform_jobs(NameContains="twice", StatusEquals="Completed")
    assert [job["TransformJobName"] for job in listed["TransformJobSummaries"]] == ["twice"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"MaxPayloadInMB": 20, "MaxConcurrentTransforms": 6}, "must be at most 100"),
        ({"MaxPayloadInMB": 101}, "must be at most 100"),
        ({"MaxPayloadInMB": 0}, "MaxPayloadInMB 0, a payload of any size in chunks, does not run locally"),
        ({"TransformOutput": {"S3OutputPath": "https://example.com/answers"}}, "Expected an S3 URI"),
        ({"ModelName": "no-such-model"}, "Could not find model"),
        ({"DataCaptureConfig": {"DestinationS3Uri": f"s3://{DATA}/x"}}, "DataCaptureConfig"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "JoinSource"),
        ({"DataProcessing": {"InputFilter": "$[1:]"}}, "InputFilter"),
        ({"TransformInput": source("photos/", SplitType="RecordIO")}, "RecordIO"),
        ({"TransformInput": source("photos/", "AugmentedManifestFile")}, "AugmentedManifestFile"),
        ({"TransformInput": source("photos/", SplitType="Word")}, "enum value set"),
        ({"TransformResources": {"InstanceType": "ml.huge", "InstanceCount": 1}}, "enum value set"),
    ],
)
def test_what_cannot_be_is_refused(client: ClientFactory, image: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ClientError, match=said):
        start(client, "refused", **{"model_name": "idle"} | changes)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        client("sagemaker").describe_transform_job(TransformJobName="refused")


def data_log(client: ClientFactory, name: str) -> list[str]:
    return [line for line in log_lines(client, LOG_GROUP, name) if line.startswith(f"{DATA}/")]


def tag(key: str, value: str) -> dict[str, str]:
    return {"Key": key, "Value": value}
