"""What names something that does not exist is refused when it is asked for, as on AWS, and nothing is stored."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import ClientFactory
from tests.contract.jobs import BUCKET, IMAGE, ROLE, finished_training, log_lines, training_request
from tests.contract.serving import push_image, put_artefact
from tests.contract.tunings import tuning_request

OWN = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
FOREIGN = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312"
MISSING_ROLE = "arn:aws:iam::123456789012:role/never-made"


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)
    iam = client("iam")
    iam.create_role(RoleName="for-functions", AssumeRolePolicyDocument='{"Version":"2012-10-17","Statement":[]}')
    anybody = '{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}}'
    iam.create_role(RoleName="for-anybody", AssumeRolePolicyDocument=anybody)


def channel(uri: str, kind: str = "S3Prefix") -> list[dict[str, Any]]:
    source = {"S3DataType": kind, "S3Uri": uri}
    return [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}]


def network(client: ClientFactory, **changes: Any) -> dict[str, Any]:
    ec2 = client("ec2")
    subnets = [item["SubnetId"] for item in ec2.describe_subnets()["Subnets"][:1]]
    groups = [item["GroupId"] for item in ec2.describe_security_groups()["SecurityGroups"][:1]]
    return {"Subnets": subnets, "SecurityGroupIds": groups} | changes


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"RoleArn": MISSING_ROLE}, "ValidationException", "Could not assume role .*never-made"),
    ({"RoleArn": ROLE.replace("jobs", "for-functions")}, "ValidationException", "allows principal 'sagemaker.amazo"),
    (
        {"RoleArn": ROLE.replace("jobs", "for-anybody")},
        "ValidationException",
        "allows principal 'sagemaker.amazonaws.com",
    ),
    ({"Image": f"{OWN}/mine:1"}, "ValidationException", "Requested image .*mine:1 not found"),
    (
        {"Image": IMAGE.replace("pytorch-training", "tensorflow-training")},
        "NotImplemented",
        "one of AWS's PyTorch imag",
    ),
    ({"Input": f"s3://{BUCKET}/nothing/"}, "ValidationException", r"No S3 objects found under S3 URL .*/nothing/"),
    ({"Input": "s3://no-such-bucket/x"}, "ValidationException", "No S3 objects found .*bucket does not exist"),
    ({"Subnets": ["subnet-0123456789abcdef0"]}, "ValidationException", "VpcConfig: .*subnet-0123456789abcdef0"),
    ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "ValidationException", "VpcConfig: .*sg-0123456789abcdef0"),
]


@pytest.mark.parametrize(("wrong", "code", "words"), REFUSED)
def test_a_training_job(client: ClientFactory, wrong: dict[str, Any], code: str, words: str) -> None:
    changes: dict[str, Any] = {}
    for name, value in wrong.items():
        if name == "Image":
            changes["AlgorithmSpecification"] = {"TrainingImage": value, "TrainingInputMode": "File"}
        elif name == "Input":
            changes["InputDataConfig"] = channel(value)
        elif name in {"Subnets", "SecurityGroupIds"}:
            changes["VpcConfig"] = network(client, **{name: value})
        else:
            changes[name] = value
    request = training_request(client, "refused", "print('never')", **changes)
    with pytest.raises(ClientError, match=words) as refused:
        client("sagemaker").create_training_job(**request)
    assert refused.value.response["Error"]["Code"] == code
    assert client("sagemaker").list_training_jobs(NameContains="refused")["TrainingJobSummaries"] == []


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        ("loss=[0-9.]+", r"Invalid Regex for metric validation:loss: no part of loss=\[0-9.\]\+ stands in parentheses"),
        (r"loss=\([0-9.]+\)", "stands in parentheses"),
        ("loss=(?:[0-9.]+)", "stands in parentheses"),
        ("loss=([0-9.]+", "Invalid Regex for metric validation:loss: missing \\)"),
    ],
)
def test_a_metric_that_never_has_a_value(client: ClientFactory, regex: str, words: str) -> None:
    metrics = [{"Name": "validation:loss", "Regex": regex}]
    request = training_request(client, "valueless", "print('never')")
    request["AlgorithmSpecification"]["MetricDefinitions"] = metrics
    search = tuning_request(client, "valueless")
    search["TrainingJobDefinition"]["AlgorithmSpecification"]["MetricDefinitions"] = metrics
    sagemaker = client("sagemaker")
    for create, asked in (
        (sagemaker.create_training_job, request),
        (sagemaker.create_hyper_parameter_tuning_job, search),
    ):
        with pytest.raises(ClientError, match=words) as refused:
            create(**asked)
        assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert sagemaker.list_training_jobs(NameContains="valueless")["TrainingJobSummaries"] == []


@pytest.mark.parametrize(("wrong", "code", "words"), REFUSED)
def test_a_processing_job(client: ClientFactory, wrong: dict[str, Any], code: str, words: str) -> None:
    source = {"S3DataType": "S3Prefix", "S3InputMode": "File", "LocalPath": "/opt/ml/processing/input"}
    request: dict[str, Any] = {
        "ProcessingJobName": "refused",
        "AppSpecification": {"ImageUri": wrong.get("Image", IMAGE), "ContainerEntrypoint": ["true"]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
        },
        "RoleArn": wrong.get("RoleArn", ROLE),
    }
    if "Input" in wrong:
        request["ProcessingInputs"] = [{"InputName": "in", "S3Input": source | {"S3Uri": wrong["Input"]}}]
    if {"Subnets", "SecurityGroupIds"} & wrong.keys():
        request["NetworkConfig"] = {"VpcConfig": network(client, **wrong)}
    with pytest.raises(ClientError, match=words) as refused:
        client("sagemaker").create_processing_job(**request)
    assert refused.value.response["Error"]["Code"] == code
    assert client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"] == []


def create_processing_job(client: ClientFactory, machines: dict[str, Any], role: str) -> None:
    """The request for a job on these machines, with this role."""
    client("sagemaker").create_processing_job(
        ProcessingJobName="refused",
        AppSpecification={"ImageUri": IMAGE, "ContainerEntrypoint": ["true"]},
        ProcessingResources={"ClusterConfig": machines},
        RoleArn=role,
    )


def test_a_processing_job_without_an_instance_type(client: ClientFactory) -> None:
    """botocore sends it: the model requires neither the type nor the number."""
    with pytest.raises(ClientError, match="ClusterConfig must have InstanceType and InstanceCount"):
        create_processing_job(client, {"VolumeSizeInGB": 1}, ROLE)


@pytest.mark.parametrize(
    ("instance_type", "asked", "refused"),
    [
        ("ml.g4dn.xlarge", 126, True),
        ("ml.g4dn.xlarge", 125, False),
        ("ml.r5d.large", 76, True),
        ("ml.g6e.2xlarge", 451, True),
        ("ml.g6e.2xlarge", 450, False),
        ("ml.g7e.2xlarge", 1901, True),
        ("ml.p5.4xlarge", 3801, True),
        ("ml.p3.2xlarge", 9000, False),
    ],
)
def test_a_volume_larger_than_the_local_disk(
    client: ClientFactory, instance_type: str, asked: int, refused: bool
) -> None:
    machines = {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": asked}
    changes: dict[str, Any] = {"ResourceConfig": machines, "RoleArn": MISSING_ROLE}
    sagemaker = client("sagemaker")
    said = f"VolumeSizeInGB {asked} is greater than the local storage of" if refused else "Could not assume role"
    with pytest.raises(ClientError, match=said):
        sagemaker.create_training_job(**training_request(client, "refused", "print('never')", **changes))
    group = {"InstanceGroupName": "all", "InstanceType": instance_type, "InstanceCount": 1}
    changes["ResourceConfig"] = {"InstanceGroups": [group], "VolumeSizeInGB": asked}
    with pytest.raises(ClientError, match=said):
        sagemaker.create_training_job(**training_request(client, "refused", "print('never')", **changes))
    with pytest.raises(ClientError, match=said):
        create_processing_job(client, machines, MISSING_ROLE)


def test_the_local_disk_of_every_type_of_a_training_job_is_known(client: ClientFactory) -> None:
    """A request for more than any disk: only a type whose disk's size is not known takes it."""
    types = client("sagemaker").meta.service_model.shape_for("TrainingInstanceType").enum
    taken = []
    for name in types:
        machines = {"InstanceType": name, "InstanceCount": 1, "VolumeSizeInGB": 1, "VolumeKmsKeyId": "alias/mine"}
        with_key = training_request(client, "refused", "", ResourceConfig=machines, RoleArn=MISSING_ROLE)
        with pytest.raises(ClientError) as refused:
            client("sagemaker").create_training_job(**with_key)
        if "VolumeKmsKeyId is not supported" not in str(refused.value):
            continue
        machines = {"InstanceType": name, "InstanceCount": 1, "VolumeSizeInGB": 30_401}
        large = training_request(client, "refused", "", ResourceConfig=machines, RoleArn=MISSING_ROLE)
        with pytest.raises(ClientError) as refused:
            client("sagemaker").create_training_job(**large)
        if "is greater than the local storage of" not in str(refused.value):
            taken.append(name)
    assert taken == ["ml.p6e-gb200.36xlarge"]


def test_a_volume_larger_than_the_local_disk_of_any_of_a_search_s_machines(client: ClientFactory) -> None:
    tuning = tuning_request(client, "refused")
    definition = tuning["TrainingJobDefinition"]
    del definition["ResourceConfig"]
    roomy, small = (
        {"InstanceType": name, "InstanceCount": 1, "VolumeSizeInGB": 200} for name in ("ml.g5.xlarge", "ml.g4dn.xlarge")
    )
    definition["HyperParameterTuningResourceConfig"] = {"InstanceConfigs": [roomy, small]}
    with pytest.raises(ClientError, match=r"VolumeSizeInGB 200 is greater than the local storage of ml\.g4dn\.xlarge"):
        client("sagemaker").create_hyper_parameter_tuning_job(**tuning)


@pytest.mark.parametrize(
    ("instance_type", "refused"), [("ml.g5.xlarge", True), ("ml.g4dn.xlarge", True), ("ml.p3.2xlarge", False)]
)
def test_a_key_for_a_local_disk(client: ClientFactory, instance_type: str, refused: bool) -> None:
    machines = {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": 1, "VolumeKmsKeyId": "alias/mine"}
    changes: dict[str, Any] = {"ResourceConfig": machines, "RoleArn": MISSING_ROLE}
    training = training_request(client, "refused", "print('never')", **changes)
    tuning = tuning_request(client, "refused")
    tuning["TrainingJobDefinition"].update(changes)
    sagemaker = client("sagemaker")
    said = "VolumeKmsKeyId is not supported for" if refused else "Could not assume role"
    with pytest.raises(ClientError, match=said):
        sagemaker.create_training_job(**training)
    with pytest.raises(ClientError, match=said):
        sagemaker.create_hyper_parameter_tuning_job(**tuning)
    with pytest.raises(ClientError, match=said):
        create_processing_job(client, machines, MISSING_ROLE)


def test_a_tag_key_that_is_given_twice(client: ClientFactory) -> None:
    """Nothing of the request is stored: no job that never runs keeps the name."""
    sagemaker, tags = client("sagemaker"), [{"Key": "team", "Value": value} for value in ("a", "b")]
    for create, request in (
        (sagemaker.create_training_job, training_request(client, "refused", "pass")),
        (sagemaker.create_hyper_parameter_tuning_job, tuning_request(client, "refused")),
        (sagemaker.create_model_package_group, {"ModelPackageGroupName": "refused"}),
    ):
        with pytest.raises(ClientError, match="Duplicate tag keys found: team") as refused:
            create(**request, Tags=tags)
        assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert sagemaker.list_training_jobs(NameContains="refused")["TrainingJobSummaries"] == []
    assert sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []
    assert sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"] == []


def test_a_job_in_a_network_that_exists_runs(client: ClientFactory) -> None:
    request = training_request(client, "connected", "print('done')", VpcConfig=network(client))
    client("sagemaker").create_training_job(**request)
    assert finished_training(client, "connected")["TrainingJobStatus"] == "Completed"


def test_a_tuning_job_whose_trials_would_all_be_refused(client: ClientFactory) -> None:
    request = tuning_request(client, "refused")
    request["TrainingJobDefinition"]["RoleArn"] = MISSING_ROLE
    with pytest.raises(ClientError, match="Could not assume role"):
        client("sagemaker").create_hyper_parameter_tuning_job(**request)
    assert client("sagemaker").list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []


def test_a_model(client: ClientFactory, local_aws: Any) -> None:
    sagemaker = client("sagemaker")
    role = ROLE.replace("jobs", "serving")

    def refused(**changes: Any) -> tuple[str, str]:
        container = {"Image": FOREIGN} | changes.pop("Container", {})
        request = {"ModelName": "refused", "PrimaryContainer": container, "ExecutionRoleArn": role} | changes
        with pytest.raises(ClientError) as error:
            sagemaker.create_model(**request)
        assert sagemaker.list_models()["Models"] == []
        return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]

    code, message = refused()
    assert code == "NotImplemented"
    assert "deploying this project's stacks pushes its serving image" in message
    image = push_image(local_aws, client)
    code, message = refused()
    assert f"There is {image}" in message
    assert refused(Container={"Image": f"{OWN}/tiny:2"})[1].startswith(f"Requested image {OWN}/tiny:2 not found")
    assert refused(ExecutionRoleArn=MISSING_ROLE)[1].startswith("Could not assume role")
    put_artefact(client, "there")
    for data in (
        {"ModelDataUrl": "s3://models/never/model.tar.gz"},
        {"ModelDataUrl": "s3://no-such-bucket/model.tar.gz"},
        {
            "ModelDataSource": {
                "S3DataSource": {"S3Uri": "s3://models/no/", "S3DataType": "S3Prefix", "CompressionType": "None"}
            }
        },
    ):
        assert refused(Container={"Image": image} | data)[1].startswith("Could not find model data at s3://")
    unfinished = {"S3Uri": "s3://models/there", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": image, "ModelDataSource": {"S3DataSource": unfinished}}
    assert "must end with a forward slash" in refused(Container=container)[1]
    multiple = refused(Container={"Image": image, "Mode": "MultiModel"})
    assert multiple == ("NotImplemented", multiple[1]) and "PrimaryContainer.Mode does not run locally" in multiple[1]
    two = [{"Image": image}, {"Image": image}]
    request = {"ModelName": "refused", "Containers": two, "ExecutionRoleArn": role}
    with pytest.raises(ClientError, match="A model of several containers does not run locally, only on AWS") as error:
        sagemaker.create_model(**request)
    assert error.value.response["Error"]["Code"] == "NotImplemented"
    container = {"Image": image, "ModelDataUrl": "s3://models/there/model.tar.gz"}
    sagemaker.create_model(ModelName="taken", PrimaryContainer=container, ExecutionRoleArn=role)


RULE = {"RuleConfigurationName": "VanishingGradient", "RuleEvaluatorImage": "503895931360.dkr.ecr/rules:latest"}


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"DebugRuleConfigurations": [RULE]}, "DebugRuleConfigurations"),
        ({"ProfilerRuleConfigurations": [RULE]}, "ProfilerRuleConfigurations"),
        (
            {
                "DebugHookConfig": {
                    "S3OutputPath": "s3://b/x",
                    "CollectionConfigurations": [{"CollectionName": "losses"}],
                }
            },
            "DebugHookConfig.CollectionConfigurations",
        ),
        (
            {"ProfilerConfig": {"S3OutputPath": "s3://b/x", "ProfilingParameters": {"LocalPath": "/opt/ml/output"}}},
            "ProfilerConfig.ProfilingParameters",
        ),
        ({"TensorBoardOutputConfig": {"S3OutputPath": "s3://b/x"}}, "TensorBoardOutputConfig"),
    ],
)
def test_rules_of_the_closed_debugger(client: ClientFactory, asked: dict[str, Any], named: str) -> None:
    request = training_request(client, "debugged", "print('never')", **asked)
    with pytest.raises(ClientError, match=f"no longer open to new customers, and {named} would do nothing") as refused:
        client("sagemaker").create_training_job(**request)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    hyperparameters = re.search(r"hyperparameters ([a-z-]+) and ([a-z-]+)\)", str(refused.value))
    assert hyperparameters
    training = (Path(__file__).resolve().parents[2] / "training_code" / "train.py").read_text()
    for name in hyperparameters.groups():
        assert f"\n    {name.replace('-', '_')}: " in training, f"train.py has no hyperparameter {name}"


def test_what_the_sdk_sends_unasked_is_named_in_the_log(client: ClientFactory) -> None:
    hook = {"S3OutputPath": f"s3://{BUCKET}/debug", "CollectionConfigurations": []}
    profiler = {"S3OutputPath": f"s3://{BUCKET}/debug", "DisableProfiler": False}
    request = training_request(client, "unasked", "print('done')", DebugHookConfig=hook, ProfilerConfig=profiler)
    client("sagemaker").create_training_job(**request)
    assert finished_training(client, "unasked")["TrainingJobStatus"] == "Completed"
    lines = log_lines(client, "/aws/sagemaker/TrainingJobs", "unasked")
    assert any("DebugHookConfig and ProfilerConfig of this job's request writes nothing" in line for line in lines)
