"""Trainers, tuners, processors, pipelines and resources of version 3."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from sagemaker.core.parameter import ContinuousParameter
from sagemaker.core.processing import ScriptProcessor
from sagemaker.core.resources import Endpoint, EndpointConfig, Model, ModelPackage, TrainingJob
from sagemaker.core.shapes import (
    ContainerDefinition,
    ProcessingInput,
    ProcessingOutput,
    ProcessingS3Input,
    ProcessingS3Output,
    ProductionVariant,
)
from sagemaker.core.training.configs import InputData
from sagemaker.core.workflow.conditions import ConditionLessThanOrEqualTo
from sagemaker.core.workflow.functions import JsonGet
from sagemaker.core.workflow.parameters import ParameterFloat
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.core.workflow.properties import PropertyFile
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.model_step import ModelStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import CacheConfig, ProcessingStep, TrainingStep
from sagemaker.serve.model_builder import ModelBuilder
from sagemaker.train.tuner import HyperparameterTuner


def stored(uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def slope(uri: str) -> float:
    """Of the line that a training has fitted."""
    with tarfile.open(fileobj=io.BytesIO(stored(uri))) as archive:
        (member,) = (item for item in archive.getmembers() if item.name.endswith("algo-1.json"))
        file = archive.extractfile(member)
        assert file
        return float(json.loads(file.read())["slope"])


def made_package(group: str) -> str:
    """The ARN of the one package of a group."""
    listed = boto3.client("sagemaker").list_model_packages(ModelPackageGroupName=group)
    (package,) = listed["ModelPackageSummaryList"]
    return str(package["ModelPackageArn"])


def s3_input(name: str, uri: Any) -> ProcessingInput:
    place = ProcessingS3Input(
        s3_uri=uri, local_path=f"/opt/ml/processing/{name}", s3_data_type="S3Prefix", s3_input_mode="File"
    )
    return ProcessingInput(input_name=name, s3_input=place)


def s3_output(name: str, uri: str) -> ProcessingOutput:
    place = ProcessingS3Output(s3_uri=uri, local_path=f"/opt/ml/processing/{name}", s3_upload_mode="EndOfJob")
    return ProcessingOutput(output_name=name, s3_output=place)


def test_a_trainer_with_logs(trainer, numbers, session, caplog) -> None:  # type: ignore[no-untyped-def]
    """This version hands the job's lines to a logger, which the caller shows."""
    caplog.set_level("INFO")
    one = trainer()
    one.train(input_data_config=[InputData(channel_name="train", data_source=numbers)], wait=True, logs=True)
    job = TrainingJob.get(one._latest_training_job.training_job_name)
    assert job.training_job_status == "Completed"
    assert "epoch=39 validation:loss=" in caplog.text
    assert slope(job.model_artifacts.s3_model_artifacts) == pytest.approx(2, abs=0.01)
    assert session.default_bucket() == "sagemaker-us-east-1-123456789012"


def test_a_role_that_does_not_exist_is_refused(trainer) -> None:  # type: ignore[no-untyped-def]
    """By the SDK already, which has IAM simulate what the job needs."""
    with pytest.raises(Exception, match=r"role/nobody' cannot be used for 'training' workloads"):
        trainer(role="arn:aws:iam::123456789012:role/nobody")


def test_a_tuner(trainer, numbers) -> None:  # type: ignore[no-untyped-def]
    tuner = HyperparameterTuner(
        trainer(), "validation:loss", {"lr": ContinuousParameter(0.01, 0.1)}, objective_type="Minimize", max_jobs=2,
        max_parallel_jobs=2, metric_definitions=[{"Name": "validation:loss", "Regex": r"validation:loss=([0-9.]+);"}],
    )  # fmt: skip
    tuner.tune(inputs=[InputData(channel_name="train", data_source=numbers)], wait=True)
    table = tuner.analytics().dataframe()
    assert list(table["TrainingJobStatus"]) == ["Completed"] * 2
    assert tuner.best_training_job() in set(table["TrainingJobName"])


def test_a_processor(session, role, bucket, scripts, training_image) -> None:  # type: ignore[no-untyped-def]
    processor = ScriptProcessor(
        image_uri=training_image, command=["python3"], role=role, instance_type="ml.m5.large", instance_count=1,
        sagemaker_session=session,
    )  # fmt: skip
    target = f"s3://{session.default_bucket()}/v3/split"
    processor.run(
        code=str(scripts / "preprocess.py"), arguments=["--seed", "2"],
        inputs=[s3_input("input", f"s3://{bucket}/bins/")], outputs=[s3_output("train", target)],
    )  # fmt: skip
    assert len(stored(f"{target}/train.csv").split()) == 24


def test_a_public_template_runs_to_the_registry_or_fails_by_a_parameter(  # type: ignore[no-untyped-def]
    role, bucket, scripts, training_image, trainer, image
) -> None:
    """Preprocess, train, evaluate, and register if the error is small, with paths below /opt/ml."""
    session = PipelineSession()
    threshold = ParameterFloat("MseThreshold", default_value=6.0)
    processor = ScriptProcessor(
        image_uri=training_image, command=["python3"], role=role, instance_type="ml.m5.large", instance_count=1,
        sagemaker_session=session,
    )  # fmt: skip
    kept = f"s3://{session.default_bucket()}/v3/pipeline"
    preprocess = ProcessingStep(
        "Preprocess", cache_config=CacheConfig(enable_caching=True, expire_after="P1D"),
        step_args=processor.run(
            code=str(scripts / "preprocess.py"), inputs=[s3_input("input", f"s3://{bucket}/bins/")],
            outputs=[s3_output(name, f"{kept}/{name}") for name in ("train", "validation", "test")],
        ),
    )  # fmt: skip
    outputs = preprocess.properties.ProcessingOutputConfig.Outputs
    train = TrainingStep(
        "Train",
        step_args=trainer(sagemaker_session=session).train(
            input_data_config=[InputData(channel_name="train", data_source=outputs["train"].S3Output.S3Uri)]
        ),
    )
    report = PropertyFile("Report", output_name="evaluation", path="evaluation.json")
    evaluate = ProcessingStep(
        "Evaluate", property_files=[report],
        step_args=processor.run(
            code=str(scripts / "evaluate.py"),
            inputs=[
                s3_input("model", train.properties.ModelArtifacts.S3ModelArtifacts),
                s3_input("test", outputs["test"].S3Output.S3Uri),
            ],
            outputs=[s3_output("evaluation", f"{kept}/evaluation")],
        ),
    )  # fmt: skip
    model = ModelBuilder(
        image_uri=image, s3_model_data_url=train.properties.ModelArtifacts.S3ModelArtifacts, role_arn=role,
        sagemaker_session=session,
    )  # fmt: skip
    register = ModelStep(
        "Register",
        step_args=model.register(
            content_types=["text/csv"], response_types=["application/json"], inference_instances=["ml.m5.large"],
            transform_instances=["ml.m5.large"], model_package_group_name="VersionThree",
            approval_status="PendingManualApproval",
        ),
    )  # fmt: skip
    error = JsonGet(step_name="Evaluate", property_file=report, json_path="regression_metrics.mse.value")
    check = ConditionStep(
        "CheckMse", conditions=[ConditionLessThanOrEqualTo(left=error, right=threshold)], if_steps=[register],
        else_steps=[FailStep("TooBad", error_message="the error is too great")],
    )  # fmt: skip
    made = Pipeline(
        "VersionThree", parameters=[threshold], steps=[preprocess, train, evaluate, check], sagemaker_session=session
    )
    made.create(role_arn=role)
    made.upsert(role_arn=role)  # this version knows what AWS says of a second create since September 2026
    execution = made.start()
    execution.wait(delay=1, max_attempts=240)
    steps = {step["StepName"]: step["StepStatus"] for step in execution.list_steps()}
    (registered,) = steps.keys() - {"Preprocess", "Train", "Evaluate", "CheckMse"}
    assert registered.startswith("Register")
    assert set(steps.values()) == {"Succeeded"}
    package = ModelPackage.get(made_package("VersionThree"))
    assert package.model_approval_status == "PendingManualApproval"
    assert slope(package.inference_specification.containers[0].model_data_url) == pytest.approx(2, abs=0.01)
    failing = made.start(parameters={"MseThreshold": -1.0})
    with pytest.raises(Exception, match=r"failed|Failed|terminal"):
        failing.wait(delay=1, max_attempts=240)
    steps = {step["StepName"]: step for step in failing.list_steps()}
    assert steps["TooBad"]["Metadata"]["Fail"]["ErrorMessage"] == "the error is too great"
    assert steps["Preprocess"]["CacheHitResult"]


def test_an_endpoint_of_resources(role, image, model_data) -> None:  # type: ignore[no-untyped-def]
    container = ContainerDefinition(image=image, model_data_url=model_data)
    model = Model.create(model_name="v3", primary_container=container, execution_role_arn=role)
    variant = ProductionVariant(
        variant_name="one", model_name="v3", instance_type="ml.m5.large", initial_instance_count=1
    )
    EndpointConfig.create(endpoint_config_name="v3", production_variants=[variant])
    endpoint = Endpoint.create(endpoint_name="v3", endpoint_config_name="v3")
    endpoint.wait_for_status("InService")
    answer = json.loads(endpoint.invoke(body=b"photo", content_type="image/jpeg").body.read())
    assert (answer["name"], answer["bytes"], answer["content_type"]) == ("served", 5, "image/jpeg")
    endpoint.delete()
    model.delete()
    with pytest.raises(ClientError, match="Could not find"):
        Model.get("v3")
