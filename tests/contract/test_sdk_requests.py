"""The requests of the SageMaker Python SDK, and the members that it reads of the answers, as AWS has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from binventory.rehearsal import folder
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import BUCKET, finished_training, training_request
from tests.contract.pipelines import create, define, processing_step
from tests.contract.tunings import finished_tuning, tuning_request


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)


@pytest.mark.parametrize(
    "resources",
    [
        {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        {"InstanceConfigs": [{"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}]},
    ],
)
def test_a_tuner_sends_resources_of_its_own(client: ClientFactory, resources: dict[str, Any]) -> None:
    """`HyperparameterTuner.fit` of version 2 has no ResourceConfig; `attach` reads the objective and the key."""
    name = "sdk-one" if "InstanceType" in resources else "sdk-several"
    request = tuning_request(client, name, ResourceLimits={"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1})
    del request["TrainingJobDefinition"]["ResourceConfig"]
    request["TrainingJobDefinition"]["HyperParameterTuningResourceConfig"] = resources
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    tuning = finished_tuning(client, name)
    assert tuning["HyperParameterTuningJobStatus"] == "Completed", tuning.get("FailureReason")
    definition = tuning["TrainingJobDefinition"]
    assert definition["HyperParameterTuningResourceConfig"] == resources
    assert definition["ResourceConfig"] == resources.get("InstanceConfigs", [resources])[0]
    assert definition["StaticHyperParameters"]["_tuning_objective_metric"] == "validation:loss"
    assert definition["OutputDataConfig"]["KmsKeyId"] == ""
    trial = client("sagemaker").describe_training_job(TrainingJobName=tuning["BestTrainingJob"]["TrainingJobName"])
    wanted = resources.get("InstanceConfigs", [resources])[0]
    assert trial["ResourceConfig"] == wanted
    assert trial["OutputDataConfig"]["KmsKeyId"] == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "either ResourceConfig or"),
        ({"HyperParameterTuningResourceConfig": {"InstanceType": "ml.m5.large"}}, "InstanceCount is missing"),
    ],
)
def test_a_tuning_job_without_resources_is_refused(client: ClientFactory, changes: dict[str, Any], words: str) -> None:
    request = tuning_request(client, "refused")
    del request["TrainingJobDefinition"]["ResourceConfig"]
    request["TrainingJobDefinition"] |= changes
    with pytest.raises(ClientError, match=words):
        client("sagemaker").create_hyper_parameter_tuning_job(**request)


def test_an_upload_with_kms_and_no_key_takes_the_managed_key(client: ClientFactory) -> None:
    """`PyTorch(source_dir=...)` uploads its code so; with a key the key stays."""
    s3 = client("s3")
    put = s3.put_object(Bucket=BUCKET, Key="code", Body=b"x", ServerSideEncryption="aws:kms")
    assert put["ServerSideEncryption"] == "aws:kms"
    assert put["SSEKMSKeyId"].startswith("arn:aws:kms:us-east-1:123456789012:key/")
    assert s3.head_object(Bucket=BUCKET, Key="code")["SSEKMSKeyId"] == put["SSEKMSKeyId"]
    own = s3.put_object(Bucket=BUCKET, Key="own", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId="mine")
    assert own["SSEKMSKeyId"] == "mine"


def test_a_package_makes_its_group(client: ClientFactory) -> None:
    sagemaker = client("sagemaker")
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1"
    specification = {
        "Containers": [{"Image": image}],
        "SupportedContentTypes": ["image/jpeg"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    for version in (1, 2):
        arn = sagemaker.create_model_package(
            ModelPackageGroupName="MadeByItsPackage", InferenceSpecification=specification
        )["ModelPackageArn"]
        assert arn.endswith(f"/madebyitspackage/{version}")
    group = sagemaker.describe_model_package_group(ModelPackageGroupName="MadeByItsPackage")
    assert group["ModelPackageGroupName"] == "MadeByItsPackage"
    # An ARN has the name in lower case, and is found as it was written, too.
    capitals = group["ModelPackageGroupArn"].replace("madebyits", "MadeByIts")
    for wanted in (group["ModelPackageGroupArn"], capitals):
        found = sagemaker.describe_model_package_group(ModelPackageGroupName=wanted)
        assert found["ModelPackageGroupName"] == "MadeByItsPackage"


def test_a_pipeline_is_found_by_its_arn(client: ClientFactory) -> None:
    create(client, "WithCapitals", processing_step("Only", "true"))
    arn = client("sagemaker").describe_pipeline(PipelineName="WithCapitals")["PipelineArn"]
    assert arn.endswith("pipeline/withcapitals")
    for name in (arn, arn.replace("withcapitals", "WithCapitals")):
        found = client("sagemaker").describe_pipeline(PipelineName=name)
        assert found["PipelineName"] == "WithCapitals"
    started = client("sagemaker").start_pipeline_execution(PipelineName=arn)["PipelineExecutionArn"]
    listed = client("sagemaker").list_pipeline_executions(PipelineName=arn)["PipelineExecutionSummaries"]
    assert [item["PipelineExecutionArn"] for item in listed] == [started]


def condition(inner: dict[str, Any]) -> dict[str, Any]:
    return {"Name": "Check", "Type": "Condition", "Arguments": {"Conditions": [inner], "IfSteps": [], "ElseSteps": []}}


def test_not_has_a_condition(client: ClientFactory) -> None:
    """As the SDK writes `ConditionNot`; the name that AWS does not know is refused."""
    equal = {"Type": "Equals", "LeftValue": 1, "RightValue": 2}
    create(client, "with-not", condition({"Type": "Not", "Condition": equal}))
    with pytest.raises(ClientError, match="the condition Not needs Condition"):
        create(client, "with-expression", condition({"Type": "Not", "Expression": equal}))


def test_a_file_in_s3_as_a_condition_is_refused_when_the_pipeline_is_made(client: ClientFactory) -> None:
    """It would fail at run time only."""
    read = {"Std:JsonGet": {"S3Uri": "s3://bucket/file.json", "Path": "accuracy"}}
    step = condition({"Type": "GreaterThan", "LeftValue": read, "RightValue": 0.5})
    with pytest.raises(ClientError, match=r"Step Check: Std:JsonGet of an S3Uri does not run locally"):
        create(client, "with-file", step)
    assert "Std:JsonGet" in define(step)


def test_a_listing_has_ten_on_a_page_and_uses_every_filter(client: ClientFactory) -> None:
    for number in range(12):
        client("sagemaker").create_model_package_group(ModelPackageGroupName=f"page-{number:02}")
    page = client("sagemaker").list_model_package_groups(NameContains="page-")
    assert len(page["ModelPackageGroupSummaryList"]) == 10
    pages = client("sagemaker").get_paginator("list_model_package_groups").paginate(NameContains="page-")
    assert sum(len(page["ModelPackageGroupSummaryList"]) for page in pages) == 12
    for account, most in (("SameAccount", 10), ("CrossAccount", 0)):
        page = client("sagemaker").list_model_package_groups(CrossAccountFilterOption=account)
        assert len(page["ModelPackageGroupSummaryList"]) == most
    client("sagemaker").create_training_job(**training_request(client, "no-warm-pool", "print('done')"))
    finished_training(client, "no-warm-pool")
    assert client("sagemaker").list_training_jobs(WarmPoolStatusEquals="Available")["TrainingJobSummaries"] == []


def test_the_exports_of_a_kept_rehearsal_keep_the_sdk_at_home(tmp_path: Path) -> None:
    """The SDK would ask the real STS for the name of its bucket, and report its use."""
    exports = folder.write_exports(tmp_path, {"AWS_REGION": "us-east-1", "CDK_DEFAULT_ACCOUNT": "123456789012"})
    configuration = json.loads(Path(exports["SAGEMAKER_USER_CONFIG_OVERRIDE"]).read_text())
    assert f"SAGEMAKER_USER_CONFIG_OVERRIDE={tmp_path}" in (tmp_path / "environment.sh").read_text()
    modules = configuration["SageMaker"]["PythonSDK"]["Modules"]
    assert modules == {"Session": {"DefaultS3Bucket": "sagemaker-us-east-1-123456789012"}, "TelemetryOptOut": True}
    # As its own schema wants it.
    jsonschema = pytest.importorskip("jsonschema")
    schema = pytest.importorskip("sagemaker.core.config.config_schema").SAGEMAKER_PYTHON_SDK_CONFIG_SCHEMA
    jsonschema.validate(configuration, schema)
