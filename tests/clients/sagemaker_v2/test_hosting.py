"""Endpoints and transform jobs of version 2, with every kind of predictor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy
import pytest
from botocore.exceptions import ClientError
from sagemaker.async_inference import AsyncInferenceConfig
from sagemaker.async_inference.waiter_config import WaiterConfig
from sagemaker.deserializers import JSONDeserializer
from sagemaker.model import Model
from sagemaker.model_monitor import DataCaptureConfig
from sagemaker.predictor import Predictor
from sagemaker.pytorch import PyTorchModel
from sagemaker.serializers import CSVSerializer, IdentitySerializer, JSONSerializer, NumpySerializer
from sagemaker.serverless import ServerlessInferenceConfig


@pytest.fixture(scope="module")
def make(session, role, image, model_data):  # type: ignore[no-untyped-def]
    def model(**changes: Any) -> Model:
        arguments = {"image_uri": image, "model_data": model_data, "role": role, "predictor_cls": Predictor}
        return Model(sagemaker_session=session, **(arguments | changes))

    return model


@pytest.fixture(scope="module")
def predictor(make, session) -> Iterator[Predictor]:  # type: ignore[no-untyped-def]
    found = make().deploy(1, "ml.m5.large", endpoint_name="of-v2", deserializer=JSONDeserializer())
    yield found
    found.delete_model()
    found.delete_endpoint()
    session.sagemaker_client.get_waiter("endpoint_deleted").wait(EndpointName="of-v2", WaiterConfig={"Delay": 1})


@pytest.mark.parametrize(
    ("serializer", "data", "content_type"),
    [
        (JSONSerializer(), {"bin": 1}, "application/json"),
        (CSVSerializer(), [[1, 2], [3, 4]], "text/csv"),
        (NumpySerializer(), numpy.arange(3), "application/x-npy"),
        (IdentitySerializer("image/jpeg"), b"photo", "image/jpeg"),
    ],
)
def test_predictions(predictor: Predictor, serializer: Any, data: Any, content_type: str) -> None:
    predictor.serializer = serializer
    answer = predictor.predict(data)
    assert (answer["name"], answer["content_type"]) == ("served", content_type)
    assert answer["bytes"] == len(serializer.serialize(data))


def test_an_endpoint_is_updated_and_keeps_answering(predictor: Predictor, session: Any) -> None:
    predictor.serializer = IdentitySerializer("image/jpeg")
    capture = DataCaptureConfig(True, 100, f"s3://{session.default_bucket()}/captured")
    predictor.update_endpoint(initial_instance_count=2, instance_type="ml.m5.large", data_capture_config_dict=None)
    assert session.describe_endpoint("of-v2")["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    predictor.update_data_capture_config(capture)
    shown = session.describe_endpoint("of-v2")["DataCaptureConfig"]
    assert (shown["EnableCapture"], shown["CurrentSamplingPercentage"]) == (True, 100)
    assert predictor.predict(b"photo")["bytes"] == 5


def test_a_serverless_endpoint(make) -> None:  # type: ignore[no-untyped-def]
    found = make().deploy(
        endpoint_name="serverless-v2", serverless_inference_config=ServerlessInferenceConfig(2048, 2),
        serializer=IdentitySerializer("image/jpeg"), deserializer=JSONDeserializer(),
    )  # fmt: skip
    assert found.predict(b"photo")["bytes"] == 5
    found.delete_endpoint()


def test_an_asynchronous_endpoint_gets_the_content_type_of_the_object(make, session) -> None:  # type: ignore[no-untyped-def]
    answers = f"s3://{session.default_bucket()}/answers"
    found = make().deploy(
        1, "ml.m5.large", endpoint_name="async-v2", async_inference_config=AsyncInferenceConfig(output_path=answers),
        serializer=NumpySerializer(), deserializer=JSONDeserializer(),
    )  # fmt: skip
    # It looks for an answer and for a failure in two threads, and one of them looks until its attempts are used up.
    answer = found.predict(numpy.arange(3), waiter_config=WaiterConfig(max_attempts=30, delay=1))
    assert (answer["name"], answer["content_type"]) == ("served", "application/x-npy")
    found.delete_endpoint()


def test_a_transform_job(make, session, bucket) -> None:  # type: ignore[no-untyped-def]
    target = f"s3://{session.default_bucket()}/transformed"
    transformer = make(name="transformed").transformer(1, "ml.m5.large", output_path=target, accept="application/json")
    transformer.transform(f"s3://{bucket}/bins/", content_type="text/plain", wait=True, logs=False)
    found = session.sagemaker_client.describe_transform_job(TransformJobName=transformer.latest_transform_job.name)
    assert found["TransformJobStatus"] == "Completed"
    listed = session.list_s3_files(session.default_bucket(), "transformed")
    assert sorted(name.rpartition("/")[2] for name in listed) == [f"{number}.txt.out" for number in range(4)]


def test_aws_own_serving_image_is_refused_when_the_model_is_made(session, role, model_data, scripts) -> None:  # type: ignore[no-untyped-def]
    """Not after thirty seconds of an endpoint that fails; the message names the image that is here."""
    model = PyTorchModel(
        model_data=model_data, role=role, entry_point="train.py", source_dir=str(scripts), framework_version="2.6",
        py_version="py312", sagemaker_session=session,
    )  # fmt: skip
    with pytest.raises(ClientError, match=r"pytorch-inference:2.6.* does not run locally, only on AWS; .*/tiny:1"):
        model.deploy(1, "ml.m5.large", endpoint_name="never")


def test_an_artefact_that_does_not_exist_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ClientError, match="Could not find model data"):
        make(model_data="s3://photos/never/model.tar.gz").deploy(1, "ml.m5.large")
