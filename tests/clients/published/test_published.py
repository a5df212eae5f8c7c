"""The calls of published notebooks on this dataset, with this project's scripts, image and endpoint.

Runs in the rehearsal of docs/notebook.md, after its cells. The docstring of a test is the first column of a row of the
page's table; the test holds what the other column says.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import boto3
import numpy
import pytest
import sagemaker
from botocore.exceptions import ClientError, ProxyConnectionError
from sagemaker import ModelPackage
from sagemaker.debugger import (
    DebuggerHookConfig,
    FrameworkProfile,
    ProfilerConfig,
    ProfilerRule,
    Rule,
    rule_configs,
)
from sagemaker.deserializers import JSONDeserializer
from sagemaker.exceptions import UnexpectedStatusException
from sagemaker.predictor import Predictor
from sagemaker.pytorch import PyTorch, PyTorchModel
from sagemaker.serializers import IdentitySerializer
from sagemaker.tuner import CategoricalParameter, ContinuousParameter, HyperparameterTuner

from binventory.client import fetch_photo

ENVIRONMENT = "binventory-dev"
ADDRESS = "https://aft-vbi-pds.s3.amazonaws.com/bin-images/00101.jpg"


def files_of(uri: str) -> set[str]:
    """The names in a model archive."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return {member.name.removeprefix("./") for member in archive.getmembers() if member.isfile()}


def trained(client: Any, machines: int, **hyperparameters: str) -> dict[str, Any]:
    """The newest training on so many machines with these hyperparameters: the page's estimator has made it."""
    names = client.list_training_jobs(NameContains="pytorch-", SortBy="CreationTime", SortOrder="Descending")
    for summary in names["TrainingJobSummaries"]:
        found: dict[str, Any] = client.describe_training_job(TrainingJobName=summary["TrainingJobName"])
        wanted = {name.replace("_", "-"): value for name, value in hyperparameters.items()}
        fits = wanted.items() <= found["HyperParameters"].items()
        if fits and found["ResourceConfig"]["InstanceCount"] == machines and "TuningJobArn" not in found:
            return found
    raise AssertionError(f"the page has trained nothing on {machines} machines with {hyperparameters}")


def test_who_asks(session: Any, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """`sagemaker.get_execution_role()`"""
    assert boto3.client("iam").get_role(RoleName=job["RoleArn"].rpartition("/")[2])["Role"]["Arn"] == job["RoleArn"]
    caller = boto3.client("sts").get_caller_identity()["Arn"]
    assert ":role/" not in caller
    assert ":assumed-role/" not in caller
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there, so nothing leaves
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ProxyConnectionError, match=r"127\.0\.0\.1:9"):
        sagemaker.get_execution_role(session)


def test_photos_one_by_one(tmp_path: Any) -> None:
    """`s3.download_file("aft-vbi-pds", ...)` in a loop over a list of ids"""
    s3 = boto3.client("s3")
    for name in ("00101.jpg", "00102.jpg"):
        s3.download_file("aft-vbi-pds", f"bin-images/{name}", str(tmp_path / name))
    assert all(path.read_bytes().startswith(b"\xff\xd8") for path in tmp_path.iterdir())


def test_a_folder_goes_up(session: Any, tmp_path: Any, photo: bytes) -> None:
    """`session.upload_data("train_data")`"""
    for count in "12":
        (tmp_path / count).mkdir()
        (tmp_path / count / "00101.jpg").write_bytes(photo)
    uri = session.upload_data(str(tmp_path), key_prefix="train_data")
    listed = session.list_s3_files(session.default_bucket(), "train_data")
    assert uri == f"s3://{session.default_bucket()}/train_data"
    assert sorted(listed) == ["train_data/1/00101.jpg", "train_data/2/00101.jpg"]


@pytest.fixture(scope="module")
def by_framework(estimator: Any, channels: dict[str, str]) -> PyTorch:
    """A training as published notebooks ask for it."""
    found: PyTorch = estimator(image_uri=None, framework_version="1.4.0", py_version="py3")
    found.fit(channels, logs=False)
    return found


def test_an_image_by_its_framework(by_framework: PyTorch) -> None:
    """`PyTorch(framework_version="1.4.0", py_version="py3", ...)`"""
    ended = by_framework.latest_training_job.describe()
    assert ended["TrainingJobStatus"] == "Completed"
    assert "pytorch-training:1.4.0-cpu-py3" in ended["AlgorithmSpecification"]["TrainingImage"]


def test_a_search_on_the_test_loss(estimator: Any, channels: dict[str, str]) -> None:
    """`HyperparameterTuner(estimator, "Test Loss", ...)`"""
    tuner = HyperparameterTuner(
        estimator(), "Test Loss",
        {"lr": ContinuousParameter(0.005, 0.1), "batch-size": CategoricalParameter([32, 64])},
        [{"Name": "Test Loss", "Regex": r"Testing Loss: ([0-9\.]+)"}],
        objective_type="Minimize", max_jobs=1, max_parallel_jobs=1,
    )  # fmt: skip
    with pytest.raises(UnexpectedStatusException, match=r"No objective metrics found after running 1 .*\(Test Loss\)"):
        tuner.fit(channels)


def test_what_a_search_found(client: Any, session: Any) -> None:
    """`tuner.best_estimator().hyperparameters()`"""
    listed = client.list_hyper_parameter_tuning_jobs(NameContains="pytorch-", StatusEquals="Completed")
    name = listed["HyperParameterTuningJobSummaries"][0]["HyperParameterTuningJobName"]
    best = HyperparameterTuner.attach(name, sagemaker_session=session).best_estimator()
    found = best.hyperparameters()
    assert 0.005 <= float(found["lr"]) <= 0.1
    assert int(found["batch-size"].replace('"', "")) in (32, 64)


def test_spot(estimator: Any, channels: dict[str, str], session: Any) -> None:
    """`use_spot_instances=True, max_wait=...`"""
    spot = estimator(
        use_spot_instances=True, max_run=600, max_wait=1200,
        checkpoint_s3_uri=f"s3://{session.default_bucket()}/checkpoints/spot/",
    )  # fmt: skip
    spot.fit(channels, logs=False)
    ended = spot.latest_training_job.describe()
    assert ended["EnableManagedSpotTraining"]
    assert ended["BillableTimeInSeconds"] <= ended["TrainingTimeInSeconds"]
    assert session.list_s3_files(session.default_bucket(), "checkpoints/spot/")


def test_several_machines(client: Any) -> None:
    """`PyTorch(instance_count=4, ...)`"""
    together, alone = trained(client, 4), trained(client, 1)
    assert together["TrainingJobStatus"] == "Completed"
    found = [files_of(each["ModelArtifacts"]["S3ModelArtifacts"]) for each in (together, alone)]
    assert {name for name in found[0] if name.endswith(".safetensors")} == {
        name for name in found[1] if name.endswith(".safetensors")
    }


def test_rules(estimator: Any, channels: dict[str, str]) -> None:
    """`rules=[Rule.sagemaker(...), ProfilerRule.sagemaker(...)]`"""
    rules = [
        Rule.sagemaker(rule_configs.vanishing_gradient()), Rule.sagemaker(rule_configs.overfit()),
        Rule.sagemaker(rule_configs.overtraining()), Rule.sagemaker(rule_configs.poor_weight_initialization()),
        ProfilerRule.sagemaker(rule_configs.ProfilerReport()),
    ]  # fmt: skip
    with pytest.raises(ClientError, match=r"DebugRuleConfigurations.* would do nothing .* watch and profile-steps"):
        estimator(rules=rules).fit(channels)


def test_a_hook(estimator: Any, channels: dict[str, str]) -> None:
    """`debugger_hook_config=DebuggerHookConfig(hook_parameters=...)`"""
    hook = DebuggerHookConfig(hook_parameters={"train.save_interval": "100", "eval.save_interval": "10"})
    with pytest.raises(ClientError, match=r"DebugHookConfig.HookParameters would do nothing .* watch and"):
        estimator(debugger_hook_config=hook).fit(channels)


def test_a_profiler(estimator: Any, channels: dict[str, str]) -> None:
    """`profiler_config=ProfilerConfig(framework_profile_params=...)`"""
    profiler = ProfilerConfig(
        system_monitor_interval_millis=500, framework_profile_params=FrameworkProfile(num_steps=10)
    )
    with pytest.raises(ClientError, match=r"ProfilerConfig.ProfilingParameters would do nothing .* profile-steps"):
        estimator(profiler_config=profiler, debugger_hook_config=False).fit(channels)


def test_what_the_rules_found(client: Any) -> None:
    """`create_trial(estimator.latest_job_debugger_artifacts_path())`, the folder `rule-output`"""
    found = files_of(trained(client, 1, profile_steps="5")["ModelArtifacts"]["S3ModelArtifacts"])
    assert {"report.html", "watch.json", "profile.json", "metrics.json"} <= found


def test_a_training_is_not_deployed_as_it_is(by_framework: PyTorch, session: Any, job: dict[str, Any]) -> None:
    """`estimator.deploy(...)`, `PyTorchModel(entry_point="inference.py", ...).deploy(...)`"""
    words = r"pytorch-inference:{}.* does not run locally, only on AWS; .*serves what its Evaluate step packs"
    with pytest.raises(ClientError, match=words.format("1.4.0")):
        by_framework.deploy(1, "ml.m5.large")
    model = PyTorchModel(
        model_data=by_framework.model_data, role=job["RoleArn"], framework_version="2.6", py_version="py312",
        entry_point="inference.py", source_dir="inference_code", sagemaker_session=session,
    )  # fmt: skip
    with pytest.raises(ClientError, match=words.format("2.6")):
        model.deploy(1, "ml.m5.large")


class ImagePredictor(Predictor):  # type: ignore[misc]
    """As published notebooks write it."""

    def __init__(self, endpoint_name: str, sagemaker_session: Any) -> None:
        super().__init__(
            endpoint_name, sagemaker_session=sagemaker_session, serializer=IdentitySerializer("image/jpeg"),
            deserializer=JSONDeserializer(),
        )  # fmt: skip


@pytest.fixture(scope="module")
def predictor(client: Any, session: Any) -> Iterator[ImagePredictor]:
    """A registered model behind an endpoint for these tests alone."""
    configuration = client.describe_endpoint(EndpointName=ENVIRONMENT)["EndpointConfigName"]
    variants = client.describe_endpoint_config(EndpointConfigName=configuration)["ProductionVariants"]
    served = client.describe_model(ModelName=variants[0]["ModelName"])
    package = served["Containers"][0]["ModelPackageName"]
    mine = ModelPackage(
        role=served["ExecutionRoleArn"], model_package_arn=package, sagemaker_session=session,
        predictor_cls=ImagePredictor,
    )  # fmt: skip
    found = mine.deploy(1, "ml.m5.large", endpoint_name="as-published")
    assert isinstance(found, ImagePredictor)
    yield found
    mine.delete_model()


def test_a_photo_in_a_file(predictor: ImagePredictor, photo: bytes) -> None:
    """`predictor.predict(payload, initial_args={"ContentType": "image/jpeg"})`"""
    answer = predictor.predict(photo, initial_args={"ContentType": "image/jpeg"})
    assert answer["count"] in range(1, 6)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=0.001)


def test_a_photo_at_an_address(predictor: ImagePredictor, photo: bytes) -> None:
    """`predictor.predict(json.dumps({"url": ...}), initial_args={"ContentType": "application/json"})`"""
    asked = json.dumps({"url": ADDRESS})
    with pytest.raises(ClientError, match=r"fetch on your side with binventory.client.count_photo or .binventory co"):
        predictor.predict(asked, initial_args={"ContentType": "application/json"})
    fetched = fetch_photo(ADDRESS).photo
    assert fetched == photo
    asked_twice = [predictor.predict(each)["probabilities"] for each in (fetched, photo)]
    assert asked_twice[0] == asked_twice[1]


def test_the_likeliest_count(predictor: ImagePredictor, photo: bytes) -> None:
    """`numpy.argmax(response, 1)`"""
    answer = predictor.predict(photo)
    counts, shares = zip(*answer["probabilities"].items(), strict=True)
    assert counts == ("1", "2", "3", "4", "5")
    assert int(counts[numpy.argmax(shares)]) in range(1, 6)
    with pytest.raises(numpy.exceptions.AxisError):
        numpy.argmax(answer, 1)


def test_the_end(predictor: ImagePredictor, client: Any) -> None:
    """`predictor.delete_endpoint()`"""
    predictor.delete_endpoint()
    client.get_waiter("endpoint_deleted").wait(EndpointName="as-published", WaiterConfig={"Delay": 1})
