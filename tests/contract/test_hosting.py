"""Models, endpoint configurations and endpoints through boto3; server processes answer."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_aws.core.context import Context
from local_aws.hosting import live_endpoints
from local_aws.images.builder import ImageBuilder
from local_aws.images.docker_cli import put_image
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import until
from tests.contract.serving import (
    IMAGE_FOLDER,
    ROLE,
    ask,
    create_config,
    push_image,
    put_artefact,
    start_endpoint,
    wait_while,
)

Refused = Callable[..., ClientError]


@pytest.fixture(scope="module")
def image(local_aws: LocalAws, client: ClientFactory) -> str:
    """The tiny image's URI in the local registry."""
    return push_image(local_aws, client)


@pytest.fixture(scope="module")
def endpoint(client: ClientFactory, image: str) -> str:
    """An endpoint that is InService."""
    description = start_endpoint(client, "shared", create_config(client, "shared-config", image))
    assert description["EndpointStatus"] == "InService", description.get("FailureReason")
    return "shared"


def refusal(call: Callable[..., Any], **arguments: Any) -> ClientError:
    """The error of a call that must be refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value


def test_an_answer_comes_from_a_process_with_the_containers_environment(client: ClientFactory, endpoint: str) -> None:
    """ENV of the image, Environment of the model, the artefact and the request's headers all arrive."""
    reply = client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=b"12345", ContentType="image/png", CustomAttributes="trace=1"
    )
    assert reply["ContentType"] == "application/json"
    assert reply["InvokedProductionVariant"] == "primary"
    assert reply["CustomAttributes"] == "trace=1"
    answer = ask(client, endpoint, b"12345")
    assert answer["name"] == "shared-config"
    assert answer["bytes"] == 5
    assert answer["environment"] == {"GREETING": "hello", "MODE": "x", "MODEL_PACKAGE_ARN": None}
    assert psutil.pid_exists(answer["process"])


def test_describe_shows_what_runs(client: ClientFactory, endpoint: str, image: str) -> None:
    """Instance counts, weights and the image as it was resolved."""
    description = client("sagemaker").describe_endpoint(EndpointName=endpoint)
    (variant,) = description["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (1, 1)
    (deployed,) = variant["DeployedImages"]
    assert deployed["SpecifiedImage"] == image
    assert "@sha256:" in deployed["ResolvedImage"]
    listed = client("sagemaker").list_endpoints(NameContains="shar", StatusEquals="InService")["Endpoints"]
    assert [item["EndpointName"] for item in listed] == [endpoint]


def test_describe_shows_the_image_that_was_deployed_though_its_tag_has_moved(
    client: ClientFactory, endpoint: str, image: str
) -> None:
    ecr, repository = client("ecr"), image.rpartition("/")[2].partition(":")[0]
    (before,) = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": "1"}])["images"]
    deployed = client("sagemaker").describe_endpoint(EndpointName=endpoint)["ProductionVariants"][0]["DeployedImages"]
    manifest = json.loads(before["imageManifest"])
    manifest["config"]["digest"] = f"sha256:{'0' * 64}"
    ecr.put_image(repositoryName=repository, imageTag="1", imageManifest=json.dumps(manifest))
    try:
        (variant,) = client("sagemaker").describe_endpoint(EndpointName=endpoint)["ProductionVariants"]
    finally:
        ecr.put_image(repositoryName=repository, imageTag="1", imageManifest=before["imageManifest"])
    assert variant["DeployedImages"] == deployed


def test_an_error_of_the_container_is_a_model_error_with_its_words(client: ClientFactory, endpoint: str) -> None:
    """boto3 raises ModelError with the container's status and message."""
    error = refusal(ask, client=client, endpoint=endpoint, body=b"refuse")
    assert error.response["Error"]["Code"] == "ModelError"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error.response["OriginalStatusCode"] == 400  # type: ignore[typeddict-item]
    assert "refused" in error.response["OriginalMessage"]  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("name", "arguments", "code", "words"),
    [
        ("nowhere", {}, "ValidationError", "not found"),
        ("shared", {"TargetVariant": "other"}, "ValidationError", "no variant other"),
        ("shared", {"TargetModel": "one.tar.gz"}, "NotImplemented", "X-Amzn-SageMaker-Target-Model does not run"),
        ("shared", {"InferenceComponentName": "c"}, "NotImplemented", "Inference-Component does not run locally"),
        ("shared", {"EnableExplanations": "`true`"}, "NotImplemented", "Enable-Explanations does not run locally"),
        ("shared", {"SessionId": "NEW_SESSION"}, "NotImplemented", "Session-Id does not run locally"),
        ("shared", {"CustomAttributes": "x" * 1025}, "ValidationError", "customAttributes"),
        ("shared", {"Body": bytes(6_291_457)}, "ValidationError", "6291456"),
    ],
)
def test_what_cannot_be_invoked_says_why(
    client: ClientFactory, endpoint: str, name: str, arguments: dict[str, Any], code: str, words: str
) -> None:
    """An unknown endpoint or variant and a body over the limit."""
    invoke = client("sagemaker-runtime").invoke_endpoint
    error = refusal(invoke, **({"EndpointName": name, "Body": b"x"} | arguments))
    assert error.response["Error"]["Code"] == code
    assert words in error.response["Error"]["Message"]


def test_a_crashed_instance_is_replaced(client: ClientFactory, endpoint: str) -> None:
    """The request that killed it fails, the next ones are answered by another process."""
    before = ask(client, endpoint)["process"]
    error = refusal(ask, client=client, endpoint=endpoint, body=b"die")
    assert error.response["Error"]["Code"] == "ModelError"
    assert error.response["OriginalStatusCode"] == 0, "the container gave none"  # type: ignore[typeddict-item]

    def answering() -> int | None:
        try:
            return int(ask(client, endpoint)["process"])
        except ClientError:
            return None

    assert until(answering) != before
    assert not psutil.pid_exists(before)


def test_logs_and_metrics_reach_the_local_cloudwatch(client: ClientFactory, endpoint: str) -> None:
    """One stream an instance, and the metrics that autoscaling and alarms read."""
    ask(client, endpoint)

    def messages() -> list[str]:
        try:
            events = client("logs").filter_log_events(logGroupName=f"/aws/sagemaker/Endpoints/{endpoint}")["events"]
        except ClientError:
            return []
        return [event["message"] for event in events if event["message"].startswith("serving")]

    def metrics() -> list[dict[str, Any]]:
        """Those of the endpoint, once all are there: they are sent twice a second, perhaps not all at once."""
        found: list[dict[str, Any]] = client("cloudwatch").list_metrics(Namespace="AWS/SageMaker")["Metrics"]
        wanted = {"Invocations", "InvocationsPerInstance", "Invocation4XXErrors", "Invocation5XXErrors", "ModelLatency"}
        return found if wanted <= {metric["MetricName"] for metric in found} else []

    assert until(messages)[0] == "serving shared-config"
    assert {"EndpointName": endpoint, "VariantName": "primary"} == {
        dimension["Name"]: dimension["Value"] for dimension in until(metrics)[0]["Dimensions"]
    }


def test_scaling_adds_and_removes_processes(client: ClientFactory, image: str) -> None:
    """UpdateEndpointWeightsAndCapacities to two instances and back; requests go to both."""
    start_endpoint(client, "scaled", create_config(client, "scaled-config", image))
    update = client("sagemaker").update_endpoint_weights_and_capacities
    seen: dict[int, set[int]] = {}
    for count in (2, 1):
        update(
            EndpointName="scaled",
            DesiredWeightsAndCapacities=[{"VariantName": "primary", "DesiredInstanceCount": count}],
        )
        description = wait_while(client, "scaled", "Updating")
        assert description["ProductionVariants"][0]["CurrentInstanceCount"] == count
        seen[count] = {ask(client, "scaled")["process"] for _ in range(30)}
    assert len(seen[2]) == 2
    assert len(seen[1]) == 1
    gone = seen[2] - seen[1]
    assert not any(psutil.pid_exists(pid) for pid in gone)
    error = refusal(
        update,
        EndpointName="scaled",
        DesiredWeightsAndCapacities=[{"VariantName": "other", "DesiredInstanceCount": 1}],
    )
    assert "no variant other" in error.response["Error"]["Message"]
    client("sagemaker").delete_endpoint(EndpointName="scaled")
    assert refusal(ask, client=client, endpoint="scaled").response["Error"]["Code"] == "ValidationError"


def test_scaling_that_fails_is_rolled_back(client: ClientFactory, image: str) -> None:
    """The counts and weights are those from before, and the endpoint can be scaled again."""
    start_endpoint(client, "short", create_config(client, "short", image))
    artefact = {"Bucket": "models", "Key": "short/model.tar.gz"}
    client("s3").copy_object(Bucket="models", Key="kept", CopySource=artefact)
    client("s3").delete_object(**artefact)
    desired = [{"VariantName": "primary", "DesiredInstanceCount": 2, "DesiredWeight": 0.5}]
    for count, reason in ((1, "Could not find model data"), (2, None)):
        client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName="short", DesiredWeightsAndCapacities=desired
        )
        description = wait_while(client, "short", "Updating", "RollingBack")
        (variant,) = description["ProductionVariants"]
        assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (count, count)
        assert variant["CurrentWeight"] == variant["DesiredWeight"] == 1.0 / count
        assert description["EndpointStatus"] == "InService"
        assert (reason or "None") in str(description.get("FailureReason"))
        client("s3").copy_object(**artefact, CopySource={"Bucket": "models", "Key": "kept"})
    client("sagemaker").delete_endpoint(EndpointName="short")


def test_an_instance_has_the_image_that_was_deployed_though_its_tag_has_moved(
    client: ClientFactory, image: str, tmp_path: Path
) -> None:
    """One that replaces a crashed one, and one that scaling adds; ResolvedImage is how the registry names it."""
    ecr, moved = client("ecr"), image.replace("/tiny:", "/moved:")
    ecr.create_repository(repositoryName="moved")
    (pushed,) = ecr.batch_get_image(repositoryName="tiny", imageIds=[{"imageTag": "1"}])["images"]
    ecr.put_image(repositoryName="moved", imageTag="1", imageManifest=pushed["imageManifest"])
    start_endpoint(client, "moved", create_config(client, "moved", moved))
    shutil.copytree(IMAGE_FOLDER, tmp_path / "other")
    recipe = tmp_path / "other" / "Dockerfile"
    recipe.write_text(recipe.read_text().replace("GREETING=hello", "GREETING=other"))
    put_image(ecr, "moved", "1", ImageBuilder(tmp_path / "other").build())
    (deployed,) = client("sagemaker").describe_endpoint(EndpointName="moved")["ProductionVariants"][0]["DeployedImages"]
    digest = deployed["ResolvedImage"].partition("@")[2]
    (found,) = ecr.batch_get_image(repositoryName="moved", imageIds=[{"imageDigest": digest}])["images"]
    assert found["imageManifest"] == pushed["imageManifest"]
    first = ask(client, "moved")
    refusal(ask, client=client, endpoint="moved", body=b"die")
    desired = [{"VariantName": "primary", "DesiredInstanceCount": 2}]
    client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="moved", DesiredWeightsAndCapacities=desired
    )
    wait_while(client, "moved", "Updating")
    until(lambda: counted(client, "moved") == 2)
    answers = [ask(client, "moved") for _ in range(30)]
    assert {answer["environment"]["GREETING"] for answer in answers} == {"hello"}
    assert len({answer["process"] for answer in answers} - {first["process"]}) == 2
    client("sagemaker").delete_endpoint(EndpointName="moved")


def counted(client: ClientFactory, endpoint: str) -> int:
    """How many instances serve."""
    (variant,) = client("sagemaker").describe_endpoint(EndpointName=endpoint)["ProductionVariants"]
    count: int = variant["CurrentInstanceCount"]
    return count


def test_two_variants_share_by_weight_and_can_be_addressed(client: ClientFactory, image: str) -> None:
    """A weight of nothing gets no request unless it is named."""
    for name in ("left", "right"):
        container = {"Image": image, "ModelDataUrl": put_artefact(client, name)}
        client("sagemaker").create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variants = [
        {"VariantName": name, "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        | {"InitialVariantWeight": weight}
        for name, weight in (("left", 1.0), ("right", 0.0))
    ]
    client("sagemaker").create_endpoint_config(EndpointConfigName="both", ProductionVariants=variants)
    start_endpoint(client, "both", "both")
    assert {ask(client, "both")["name"] for _ in range(10)} == {"left"}
    assert ask(client, "both", TargetVariant="right")["name"] == "right"
    client("sagemaker").delete_endpoint(EndpointName="both")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [({"crash": True}, "cannot load the model"), ({"artefact": "missing"}, "Could not find model data")],
)
def test_an_endpoint_that_cannot_start_fails_with_the_reason(
    client: ClientFactory, image: str, behaviour: dict[str, Any], reason: str
) -> None:
    """A server that crashes at load and an artefact that is not there."""
    name = f"broken-{len(reason)}"
    create_config(client, name, image, **behaviour)
    if "artefact" in behaviour:
        client("s3").delete_object(Bucket="models", Key=f"{name}/model.tar.gz")
    description = start_endpoint(client, name, name)
    assert description["EndpointStatus"] == "Failed"
    assert reason in description["FailureReason"]
    client("sagemaker").delete_endpoint(EndpointName=name)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (("weights", "weights/part1"), "both a file 'weights' and a folder"),
        (("weights", "saved/"), "'saved/' has ''"),
        (("", "weights"), "'' has ''"),
        (("deep/./weights",), "'deep/./weights' has '.'"),
    ],
)
def test_a_model_of_objects_that_are_no_files_fails_with_the_reason(
    local_aws: LocalAws, client: ClientFactory, image: str, keys: tuple[str, ...], reason: str
) -> None:
    """As AWS documents for uncompressed models; nothing of it stays on this computer."""
    name = f"objects-{len(reason)}"
    client("s3").create_bucket(Bucket=name)
    for key in keys:
        client("s3").put_object(Bucket=name, Key=f"model/{key}", Body=b"weights")
    source = {"S3Uri": f"s3://{name}/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": image, "ModelDataSource": {"S3DataSource": source}}
    client("sagemaker").create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client("sagemaker").create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    description = start_endpoint(client, name, name)
    assert description["EndpointStatus"] == "Failed" and reason in description["FailureReason"]
    assert list((local_aws.state_dir / "endpoints" / name).iterdir()) == []
    client("sagemaker").delete_endpoint(EndpointName=name)


def test_an_endpoint_that_is_being_deleted_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeleteEndpoint may come before a new local AWS has started the endpoints that it found."""
    context = Context(state_dir=tmp_path, port=1, account="123456789012", region="us-east-1")
    made: list[object] = []
    monkeypatch.setattr(live_endpoints, "Deployment", lambda *arguments: made.append(arguments))
    found = {"EndpointName": "going", "EndpointStatus": "Deleting", "EndpointConfigName": "c", "Plan": {"Variants": []}}
    context.table("Endpoint").put("going", found)
    live_endpoints.Endpoints(context).create("going")
    for thread in threading.enumerate():
        if thread.name == "endpoint going":
            thread.join()
    context.stop()
    assert not made


def test_an_endpoints_name_is_taken_in_capitals_too(client: ClientFactory, endpoint: str) -> None:
    create = client("sagemaker").create_endpoint
    error = refusal(create, EndpointName=endpoint.upper(), EndpointConfigName="shared-config")
    assert "Cannot create already existing endpoint" in str(error)
    assert refusal(ask, client=client, endpoint=endpoint.upper()).response["Error"]["Code"] == "ValidationError"


def test_what_is_refused_names_the_field(client: ClientFactory, image: str) -> None:
    """Create checks the resources that a request refers to, before it starts a process."""
    sagemaker = client("sagemaker")
    variant = {"VariantName": "primary", "ModelName": "absent", "InstanceType": "ml.m5.large"}
    cases: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
        (sagemaker.create_endpoint, {"EndpointName": "x", "EndpointConfigName": "absent"}, "endpoint-config/absent"),
        (
            sagemaker.create_endpoint_config,
            {"EndpointConfigName": "x", "ProductionVariants": [variant | {"InitialInstanceCount": 1}]},
            "model/absent",
        ),
        (
            sagemaker.create_endpoint_config,
            {"EndpointConfigName": "x", "ProductionVariants": [variant | {"InstanceType": "ml.m5.huge"}]},
            "productionVariants.1.member.instanceType",
        ),
        (sagemaker.create_model, {"ModelName": "x", "ExecutionRoleArn": ROLE}, "PrimaryContainer"),
        (sagemaker.create_model, {"ModelName": "bad_name", "PrimaryContainer": {"Image": image}}, "modelName"),
        (
            sagemaker.create_model,
            {"ModelName": "x", "PrimaryContainer": {"Image": image.replace("us-east-1", "eu-west-1")}},
            "must be in this region, us-east-1",
        ),
        (sagemaker.describe_endpoint, {"EndpointName": "absent"}, "endpoint/absent"),
        (sagemaker.delete_endpoint, {"EndpointName": "absent"}, "endpoint/absent"),
        (sagemaker.delete_model, {"ModelName": "absent"}, "model/absent"),
        (sagemaker.describe_endpoint_config, {"EndpointConfigName": "absent"}, "endpoint-config/absent"),
    ]
    for call, arguments, words in cases:
        error = refusal(call, **arguments)
        assert error.response["Error"]["Code"] == "ValidationException"
        assert words in error.response["Error"]["Message"]


def test_an_endpoint_that_is_refused_for_its_tags_is_not_made(client: ClientFactory, image: str) -> None:
    create_config(client, "twice", image)
    names, twice = {"EndpointName": "twice", "EndpointConfigName": "twice"}, [{"Key": "a", "Value": "1"}] * 2
    assert "Tag keys must be unique" in str(refusal(client("sagemaker").create_endpoint, **names, Tags=twice))
    assert start_endpoint(client, "twice", "twice")["EndpointStatus"] == "InService"
    client("sagemaker").delete_endpoint(EndpointName="twice")


def test_a_package_is_served_only_when_approved(client: ClientFactory, image: str) -> None:
    """CreateModel by ModelPackageName: refused while pending; afterwards the server knows its package."""
    sagemaker = client("sagemaker")
    sagemaker.create_model_package_group(ModelPackageGroupName="served")
    arn = sagemaker.create_model_package(
        ModelPackageGroupName="served",
        InferenceSpecification={
            "Containers": [
                {"Image": image, "ModelDataUrl": put_artefact(client, "packaged"), "Environment": {"MODE": "packaged"}}
            ],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    create = {"ModelName": "packaged", "PrimaryContainer": {"ModelPackageName": arn}, "ExecutionRoleArn": ROLE}
    assert "PendingManualApproval" in str(refusal(sagemaker.create_model, **create))
    twice = {"ModelPackageName": arn, "Image": image}
    assert "leave out Image" in str(refusal(sagemaker.create_model, **create | {"PrimaryContainer": twice}))
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    sagemaker.create_model(**create)
    sagemaker.create_endpoint_config(
        EndpointConfigName="packaged",
        ProductionVariants=[
            {"VariantName": "v", "ModelName": "packaged", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        ],
    )
    start_endpoint(client, "packaged", "packaged")
    assert ask(client, "packaged")["environment"] == {
        "GREETING": "hello",
        "MODE": "packaged",
        "MODEL_PACKAGE_ARN": arn,
    }
    sagemaker.delete_endpoint(EndpointName="packaged")
