"""Estimators, tuners and processors of version 2."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import boto3
import pytest
import sagemaker
from botocore.exceptions import ClientError, ProxyConnectionError
from sagemaker.analytics import HyperparameterTuningJobAnalytics, TrainingJobAnalytics
from sagemaker.debugger import Rule, rule_configs
from sagemaker.inputs import TrainingInput
from sagemaker.processing import ProcessingInput, ProcessingOutput, ScriptProcessor
from sagemaker.pytorch import PyTorch
from sagemaker.pytorch.processing import PyTorchProcessor
from sagemaker.s3 import S3Downloader
from sagemaker.tuner import ContinuousParameter, HyperparameterTuner, IntegerParameter
from sagemaker.utils import sts_regional_endpoint


def models(session: Any, uri: str, folder: Path) -> dict[str, Any]:
    """The JSON files of a model archive, by name."""
    S3Downloader.download(uri, str(folder), sagemaker_session=session)
    with tarfile.open(folder / "model.tar.gz") as archive:
        files = {member.name: archive.extractfile(member) for member in archive.getmembers() if member.isfile()}
        return {name.removeprefix("./"): json.loads(file.read()) for name, file in files.items() if file}


def test_the_session_stays_at_home(session: Any) -> None:
    """Without a call to the real STS: the exports name the bucket, and turn the report of use off."""
    assert session.default_bucket() == "sagemaker-us-east-1-123456789012"
    session.upload_string_as_file_body("kept", session.default_bucket(), "some/key", kms_key=None)
    assert session.read_s3_file(session.default_bucket(), "some/key") == "kept"


def test_the_sdk_asks_the_real_sts_for_its_role(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes the address itself, whatever the exports say; the local STS would name no role to it either."""
    assert sts_regional_endpoint("us-east-1") == "https://sts.us-east-1.amazonaws.com"
    assert ":role/" not in boto3.client("sts").get_caller_identity()["Arn"]
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there, so nothing leaves
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ProxyConnectionError, match=r"127\.0\.0\.1:9"):
        sagemaker.get_execution_role(session)


def test_fit_shows_the_log_and_stores_a_model(estimator, session, numbers, tmp_path, capfd) -> None:  # type: ignore[no-untyped-def]
    one = estimator()
    one.fit({"train": TrainingInput(numbers, content_type="text/csv")}, logs="All")
    said = capfd.readouterr().out
    assert "epoch=39 validation:loss=" in said
    assert "Debugger is no longer open to new customers: DebugHookConfig and ProfilerConfig" in said
    model = models(session, one.model_data, tmp_path)["algo-1.json"]
    assert model["slope"] == pytest.approx(2, abs=0.01)
    values = TrainingJobAnalytics(one.latest_training_job.name, ["validation:loss"]).dataframe()
    assert len(values) >= 1
    assert set(values["metric_name"]) == {"validation:loss"}
    again = PyTorch.attach(one.latest_training_job.name, sagemaker_session=session)
    assert again.model_data == one.model_data
    assert again.hyperparameters()["epochs"] == "40"


def test_two_machines_and_spot(estimator, session, numbers, tmp_path) -> None:  # type: ignore[no-untyped-def]
    two = estimator(
        instance_count=2, use_spot_instances=True, max_run=300, max_wait=600,
        checkpoint_s3_uri=f"s3://{session.default_bucket()}/checkpoints/two/",
    )  # fmt: skip
    two.fit({"train": numbers}, logs=False)
    found = models(session, two.model_data, tmp_path)
    assert sorted(found) == ["algo-1.json", "algo-2.json"]
    assert found["algo-1.json"]["hosts"] == ["algo-1", "algo-2"]


def test_a_script_that_fails_says_why(estimator) -> None:  # type: ignore[no-untyped-def]
    from sagemaker.exceptions import UnexpectedStatusException

    with pytest.raises(
        UnexpectedStatusException, match=r"No such file or directory: '/opt/ml/input/data/train/train.csv'"
    ):
        estimator(hyperparameters={"epochs": 1}).fit(logs=False)


def test_rules_of_the_debugger_are_refused_by_name(estimator, numbers) -> None:  # type: ignore[no-untyped-def]
    rules = [Rule.sagemaker(rule_configs.vanishing_gradient()), Rule.sagemaker(rule_configs.overfit())]
    with pytest.raises(ClientError, match="no longer open to new customers, and DebugRuleConfigurations"):
        estimator(rules=rules).fit({"train": numbers})


def test_a_role_that_does_not_exist_is_refused(estimator, numbers) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ClientError, match="Could not assume role"):
        estimator(role="arn:aws:iam::123456789012:role/nobody").fit({"train": numbers})


def test_a_tuner_and_its_analytics(estimator, session, numbers) -> None:  # type: ignore[no-untyped-def]
    tuner = HyperparameterTuner(
        estimator(), "validation:loss", {"lr": ContinuousParameter(0.001, 0.1), "epochs": IntegerParameter(1, 40)},
        metric_definitions=[{"Name": "validation:loss", "Regex": r"validation:loss=([0-9.]+);"}],
        objective_type="Minimize", max_jobs=3, max_parallel_jobs=2,
    )  # fmt: skip
    tuner.fit({"train": numbers}, wait=True)
    name = tuner.latest_tuning_job.name
    table = HyperparameterTuningJobAnalytics(name, sagemaker_session=session).dataframe()
    assert set(table["TrainingJobStatus"]) == {"Completed"}
    assert len(table) == 3
    best = table.sort_values("FinalObjectiveValue").iloc[0]
    assert tuner.best_training_job() == best["TrainingJobName"]
    again = HyperparameterTuner.attach(name, sagemaker_session=session)
    assert again.objective_metric_name == "validation:loss"
    assert float(again.best_estimator().hyperparameters()["lr"]) == pytest.approx(best["lr"])


def test_a_script_processor(session, role, bucket, scripts, training_image) -> None:  # type: ignore[no-untyped-def]
    processor = ScriptProcessor(
        image_uri=training_image, command=["python3"], role=role, instance_type="ml.m5.large", instance_count=1,
        sagemaker_session=session,
    )  # fmt: skip
    target = f"s3://{session.default_bucket()}/split"
    processor.run(
        code=str(scripts / "preprocess.py"), arguments=["--seed", "3"],
        inputs=[ProcessingInput(source=f"s3://{bucket}/bins/", destination="/opt/ml/processing/input")],
        outputs=[ProcessingOutput(output_name="train", source="/opt/ml/processing/train", destination=target)],
    )  # fmt: skip
    assert processor.latest_job.describe()["ProcessingJobStatus"] == "Completed"
    assert len(S3Downloader.read_file(f"{target}/train.csv", sagemaker_session=session).split()) == 24


def test_a_framework_processor_with_a_folder_of_code(session, role, bucket, scripts, training_image, capfd) -> None:  # type: ignore[no-untyped-def]
    processor = PyTorchProcessor(
        framework_version="2.1", py_version="py310", image_uri=training_image, role=role,
        instance_type="ml.m5.large", instance_count=1, sagemaker_session=session,
    )  # fmt: skip
    processor.run(
        code="preprocess.py", source_dir=str(scripts),
        inputs=[ProcessingInput(source=f"s3://{bucket}/bins/", destination="/opt/ml/processing/input")],
        outputs=[ProcessingOutput(output_name="test", source="/opt/ml/processing/test")],
    )  # fmt: skip
    assert "preprocessed 40 rows of 4 files" in capfd.readouterr().out
    output = processor.latest_job.describe()["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"]
    assert S3Downloader.list(output, sagemaker_session=session) == [f"{output}/test.csv"]
