"""The resources of sagemaker-core alone: jobs, a tuning job, a pipeline, the registry, an endpoint."""

from __future__ import annotations

import io
import json
import tarfile
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from sagemaker.core.resources import (
    Endpoint,
    EndpointConfig,
    HyperParameterTuningJob,
    Model,
    ModelPackage,
    ModelPackageGroup,
    Pipeline,
    PipelineExecution,
    ProcessingJob,
    TrainingJob,
)
from sagemaker.core.shapes import (
    AlgorithmSpecification,
    AppSpecification,
    Channel,
    ContainerDefinition,
    ContinuousParameterRange,
    DataSource,
    HyperParameterAlgorithmSpecification,
    HyperParameterTrainingJobDefinition,
    HyperParameterTuningJobConfig,
    HyperParameterTuningJobObjective,
    MetricDefinition,
    OutputDataConfig,
    ParameterRanges,
    ProcessingClusterConfig,
    ProcessingResources,
    ProductionVariant,
    ResourceConfig,
    ResourceLimits,
    S3DataSource,
    StoppingCondition,
)

METRIC = MetricDefinition(name="validation:loss", regex=r"validation:loss=([0-9.]+);")
RESOURCES = ResourceConfig(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=1)
LIMIT = StoppingCondition(max_runtime_in_seconds=300)


@pytest.fixture(scope="module")
def code(bucket: str, scripts: Path) -> dict[str, str]:
    """The hyperparameters of script mode for the public training script, which is packed and uploaded."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(scripts / "train.py", "train.py")
    boto3.client("s3").put_object(Bucket=bucket, Key="core/code.tar.gz", Body=packed.getvalue())
    return {"sagemaker_program": "train.py", "sagemaker_submit_directory": f"s3://{bucket}/core/code.tar.gz"}


@pytest.fixture(scope="module")
def channels(bucket: str) -> list[Channel]:
    rows = "".join(f"{x},{2 * x}\n" for x in (1, 2, 3, 4))
    boto3.client("s3").put_object(Bucket=bucket, Key="core/numbers/train.csv", Body=rows.encode())
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{bucket}/core/numbers/")
    return [Channel(channel_name="train", data_source=DataSource(s3_data_source=source))]


def test_a_training_job(code, channels, role, training_image, bucket) -> None:  # type: ignore[no-untyped-def]
    job = TrainingJob.create(
        training_job_name="core", role_arn=role, hyper_parameters=code | {"epochs": "40"}, input_data_config=channels,
        algorithm_specification=AlgorithmSpecification(
            training_image=training_image, training_input_mode="File", metric_definitions=[METRIC]
        ),
        output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/core/models"), resource_config=RESOURCES,
        stopping_condition=LIMIT,
    )  # fmt: skip
    job.wait(poll=1)
    assert job.training_job_status == "Completed"
    assert [metric.metric_name for metric in job.final_metric_data_list] == ["validation:loss"]
    assert "core" in [found.training_job_name for found in TrainingJob.get_all(name_contains="cor")]


def test_a_processing_job(role, training_image) -> None:  # type: ignore[no-untyped-def]
    cluster = ProcessingClusterConfig(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=1)
    arguments = {
        "role_arn": role,
        "processing_resources": ProcessingResources(cluster_config=cluster),
        "app_specification": AppSpecification(image_uri=training_image, container_entrypoint=["true"]),
    }
    job = ProcessingJob.create(processing_job_name="core", **arguments)
    job.wait(poll=1)
    assert job.processing_job_status == "Completed"
    with pytest.raises(ClientError, match="core exists"):
        ProcessingJob.create(processing_job_name="core", **arguments)


def test_a_tuning_job(code, channels, role, training_image, bucket) -> None:  # type: ignore[no-untyped-def]
    definition = HyperParameterTrainingJobDefinition(
        algorithm_specification=HyperParameterAlgorithmSpecification(
            training_image=training_image, training_input_mode="File", metric_definitions=[METRIC]
        ),
        role_arn=role, input_data_config=channels, resource_config=RESOURCES, stopping_condition=LIMIT,
        output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/core/trials"), static_hyper_parameters=code,
    )  # fmt: skip
    job = HyperParameterTuningJob.create(
        hyper_parameter_tuning_job_name="core",
        hyper_parameter_tuning_job_config=HyperParameterTuningJobConfig(
            strategy="Random",
            resource_limits=ResourceLimits(max_number_of_training_jobs=2, max_parallel_training_jobs=2),
            hyper_parameter_tuning_job_objective=HyperParameterTuningJobObjective(
                type="Minimize", metric_name="validation:loss"
            ),
            parameter_ranges=ParameterRanges(
                continuous_parameter_ranges=[ContinuousParameterRange(name="lr", min_value="0.01", max_value="0.1")]
            ),
        ),
        training_job_definition=definition,
    )
    job.wait(poll=1)
    assert job.hyper_parameter_tuning_job_status == "Completed"
    assert job.training_job_status_counters.completed == 2
    assert job.best_training_job.tuned_hyper_parameters["lr"]


def test_a_pipeline(role) -> None:  # type: ignore[no-untyped-def]
    fail = {"Name": "Stop", "Type": "Fail", "Arguments": {"ErrorMessage": "as asked"}}
    made = Pipeline.create(
        pipeline_name="Core", client_request_token=uuid.uuid4().hex, role_arn=role,
        pipeline_definition=json.dumps({"Version": "2020-12-01", "Steps": [fail]}),
    )  # fmt: skip
    arn = boto3.client("sagemaker").start_pipeline_execution(PipelineName=made.pipeline_name)["PipelineExecutionArn"]
    execution = PipelineExecution.get(arn)
    execution.wait_for_status("Failed", poll=1)
    (step,) = execution.get_all_steps()
    assert step.metadata.fail.error_message == "as asked"


def test_the_registry_and_an_endpoint(role, image, model_data) -> None:  # type: ignore[no-untyped-def]
    # ModelPackage.create reads a member of the reply that AWS's model does not have.
    arn = boto3.client("sagemaker").create_model_package(
        ModelPackageGroupName="Core", ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": model_data}], "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]  # fmt: skip
    package = ModelPackage.get(arn)
    assert package.model_approval_status == "Approved"
    assert ModelPackageGroup.get("Core").model_package_group_status == "Completed"
    Model.create(
        model_name="core", execution_role_arn=role,
        primary_container=ContainerDefinition(model_package_name=package.model_package_arn),
    )  # fmt: skip
    variant = ProductionVariant(
        variant_name="one", model_name="core", instance_type="ml.m5.large", initial_instance_count=1
    )
    EndpointConfig.create(endpoint_config_name="core", production_variants=[variant])
    endpoint = Endpoint.create(endpoint_name="core", endpoint_config_name="core")
    endpoint.wait_for_status("InService", poll=1)
    answer = json.loads(endpoint.invoke(body=b"photo", content_type="image/jpeg").body.read())
    assert answer["environment"]["MODEL_PACKAGE_ARN"] == package.model_package_arn
    endpoint.delete()
