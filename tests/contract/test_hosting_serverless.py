"""Serverless endpoints through boto3: processes start with requests and end without them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from binventory.audit.counters import EndpointCounter, Pace, PhotoRefusedError
from binventory.client import CountError, count_photo
from binventory.core import aws as connections
from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, connect
from tests.contract.jobs import until
from tests.contract.serving import ROLE, ask, create_config, push_image, put_artefact, start_endpoint, wait_while
from tests.forked import ForkedAws


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A local AWS whose five warm minutes take three seconds."""
    with ForkedAws(tmp_path_factory.mktemp("quick"), time_scale=0.01) as aws:
        yield aws


@pytest.fixture(scope="module")
def client(quick: LocalAws) -> ClientFactory:
    return connect(quick)


@pytest.fixture(scope="module")
def image(quick: LocalAws, client: ClientFactory) -> str:
    return push_image(quick, client)


def serverless(client: ClientFactory, image: str, name: str, **behaviour: Any) -> dict[str, Any]:
    container = {"Image": image, "ModelDataUrl": put_artefact(client, name, **behaviour)}
    client("sagemaker").create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "primary",
        "ModelName": name,
        "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 2},
    }
    client("sagemaker").create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return start_endpoint(client, name, name)


def test_a_process_comes_with_a_request_and_goes_when_nothing_comes(
    client: ClientFactory, image: str, quick: LocalAws
) -> None:
    described = serverless(client, image, "cold")
    assert described["EndpointStatus"] == "InService", described.get("FailureReason")
    (variant,) = described["ProductionVariants"]
    assert variant["CurrentServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 2}
    assert ask(client, "cold", bytes(4 << 20))["bytes"] == 4 << 20
    large = bytes((4 << 20) + 1)
    with pytest.raises(ClientError, match=r"ValidationError.*has oversize body"):
        ask(client, "cold", large)
    with pytest.raises(CountError, match="it has 4194305 bytes; that is more") as refused:
        count_photo(large, endpoint="cold", runtime=client("sagemaker-runtime"))
    assert refused.value.reason == "too_many_bytes"
    with pytest.raises(PhotoRefusedError, match="it has 4194305 bytes") as set_aside:
        EndpointCounter(connections.connect(quick.environment()), "cold", Pace(None)).probabilities("1", large)
    assert set_aside.value.reason == "photo_too_large"
    first = ask(client, "cold")["process"]
    assert ask(client, "cold")["process"] == first, "warm"
    until(lambda: not psutil.pid_exists(first), seconds=30)
    again = ask(client, "cold")["process"]
    assert again != first
    with pytest.raises(ClientError, match="Variant primary is serverless: it takes no DesiredInstanceCount"):
        client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName="cold", DesiredWeightsAndCapacities=[{"VariantName": "primary", "DesiredInstanceCount": 2}]
        )


def test_requests_at_once_have_processes_of_their_own_up_to_the_limit(
    client: ClientFactory, image: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    serverless(client, image, "parallel", until=str(go))
    answers: list[object] = []
    lock = threading.Lock()

    def one() -> None:
        try:
            answer: object = ask(client, "parallel")["process"]
        except ClientError as error:
            answer = error.response["Error"]["Code"]
        with lock:
            answers.append(answer)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: answers)
    finally:
        go.touch()
    for thread in threads:
        thread.join()
    assert answers.count("ThrottlingException") == 1, "the third has to retry"
    assert len({answer for answer in answers if isinstance(answer, int)}) == 2, answers


def test_a_model_that_cannot_start_never_gets_in_service(client: ClientFactory, image: str) -> None:
    described = serverless(client, image, "broken", crash=True)
    assert described["EndpointStatus"] == "Failed"
    assert "ping health check" in str(described["FailureReason"])


SERVERLESS = {"VariantName": "primary", "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 2}}


@pytest.mark.parametrize(
    ("model", "config", "words"),
    [
        ({"EnableNetworkIsolation": True}, {}, "EnableNetworkIsolation of excluded-0 is not supported"),
        ({}, {"EnableNetworkIsolation": True}, "EnableNetworkIsolation of the configuration is not supported"),
        ({}, {"DataCaptureConfig": {"InitialSamplingPercentage": 1, "DestinationS3Uri": "s3://models/seen",
                                    "CaptureOptions": [{"CaptureMode": "Input"}]}}, "Data capture is not supported"),
        ({}, {"ProductionVariants": ["primary", "other"]}, "has one production variant, got 2"),
    ],
)  # fmt: skip
def test_what_serverless_endpoints_exclude_is_refused(
    client: ClientFactory, image: str, model: dict[str, Any], config: dict[str, Any], words: str
) -> None:
    name = f"excluded-{len(config)}" if model else f"excluded-{len(words)}"
    sagemaker = client("sagemaker")
    sagemaker.create_model(ModelName=name, PrimaryContainer={"Image": image}, ExecutionRoleArn=ROLE, **model)
    names = config.get("ProductionVariants", ["primary"])
    variants = [SERVERLESS | {"VariantName": variant, "ModelName": name} for variant in names]
    request = {"EndpointConfigName": name, **config, "ProductionVariants": variants}
    with pytest.raises(ClientError, match=words):
        sagemaker.create_endpoint_config(**request)


def test_instances_are_not_converted_to_serverless(client: ClientFactory, image: str) -> None:
    """The other way is open."""
    sagemaker, model = client("sagemaker"), create_config(client, "machines", image)
    sagemaker.create_endpoint_config(
        EndpointConfigName="functions", ProductionVariants=[SERVERLESS | {"ModelName": model}]
    )
    start_endpoint(client, "one-way", "functions")
    sagemaker.update_endpoint(EndpointName="one-way", EndpointConfigName="machines")
    assert wait_while(client, "one-way", "Updating")["EndpointConfigName"] == "machines"
    with pytest.raises(ClientError, match="cannot be converted to a serverless one"):
        sagemaker.update_endpoint(EndpointName="one-way", EndpointConfigName="functions")


def test_an_update_loses_no_request(client: ClientFactory, image: str) -> None:
    serverless(client, image, "before")
    container = {"Image": image, "ModelDataUrl": put_artefact(client, "after")}
    client("sagemaker").create_model(ModelName="after", PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {
        "VariantName": "primary",
        "ModelName": "after",
        "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 2},
    }
    client("sagemaker").create_endpoint_config(EndpointConfigName="after", ProductionVariants=[variant])
    client("sagemaker").update_endpoint(EndpointName="before", EndpointConfigName="after")
    until(lambda: ask(client, "before")["name"] == "after", seconds=30)
