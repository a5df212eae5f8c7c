"""Pipelines through boto3: definitions, parameters, steps, conditions, caching, failures, stopping, restarts."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws
from tests.contract.conftest import ClientFactory, connect
from tests.contract.jobs import BUCKET, IMAGE, ROLE, source, until
from tests.contract.pipelines import (
    REPORT,
    create,
    define,
    execute,
    finished_execution,
    get,
    join,
    json_get,
    output_of,
    processing_step,
    steps_of,
)


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)


def run(client: ClientFactory, name: str, *steps: dict[str, Any], **parameters: str) -> dict[str, dict[str, Any]]:
    create(client, name, *steps)
    arn = execute(client, name, **parameters)
    finished_execution(client, arn)
    return steps_of(client, arn)


def test_results_travel_from_step_to_step(client: ClientFactory) -> None:
    """Processing, tuning, training, a condition on a property file, and a registered model, in one execution."""
    train = """
        import json, os, pathlib, sys
        x = float(os.environ["SM_HP_X"])
        print(f"loss={(x - 0.3) ** 2}")
        (pathlib.Path(os.environ["SM_MODEL_DIR"]) / "x").write_text(str(x))
    """
    code = source(client, "spine", train)
    algorithm = {
        "TrainingImage": IMAGE,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.e-]+)"}],
    }
    common: dict[str, Any] = {
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 100},
        "InputDataConfig": [
            {
                "ChannelName": "data",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": output_of("Prepare")}},
            }
        ],
    }
    static = {"sagemaker_program": "train.py", "sagemaker_submit_directory": code}
    tune = {
        "Name": "Tune",
        "Type": "Tuning",
        "Arguments": {
            "HyperParameterTuningJobConfig": {
                "Strategy": "Random",
                "RandomSeed": 7,
                "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
                "ResourceLimits": {"MaxNumberOfTrainingJobs": get("Parameters.Trials"), "MaxParallelTrainingJobs": 2},
                "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]},
            },
            "TrainingJobDefinition": {**common, "AlgorithmSpecification": algorithm, "StaticHyperParameters": static},
        },
    }
    training = {
        "Name": "Train",
        "Type": "Training",
        "Arguments": {
            **common,
            "AlgorithmSpecification": algorithm,
            "HyperParameters": {**static, "x": get("Steps.Tune.BestTrainingJob.TunedHyperParameters['x']")},
        },
    }
    evaluation = json.dumps({"a": {"accuracy": [0.5, 0.9]}, "better": True})
    evaluate = processing_step(
        "Evaluate",
        f"echo '{evaluation}' > $out/report.json",
        get("Steps.Train.ModelArtifacts.S3ModelArtifacts"),
        **REPORT,
    )
    register = {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": "spine",
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [
                    {
                        "Image": IMAGE,
                        "ModelDataUrl": get("Steps.Train.ModelArtifacts.S3ModelArtifacts"),
                    }
                ],
                "SupportedContentTypes": ["image/jpeg"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
            "CustomerMetadataProperties": {"job": get("Steps.Train.TrainingJobName")},
        },
    }
    gate = {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [
                {
                    "Type": "GreaterThanOrEqualTo",
                    "LeftValue": json_get("Evaluate", "a.accuracy[1]"),
                    "RightValue": get("Parameters.Threshold"),
                },
                {"Type": "Equals", "LeftValue": json_get("Evaluate", "better"), "RightValue": True},
            ],
            "IfSteps": [register],
            "ElseSteps": [{"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}}],
        },
    }
    client("sagemaker").create_model_package_group(ModelPackageGroupName="spine")
    create(
        client,
        "spine",
        processing_step("Prepare", "echo 1 > $out/data.txt"),
        tune,
        training,
        evaluate,
        gate,
        parameters=[
            {"Name": "Trials", "Type": "Integer", "DefaultValue": 9},
            {"Name": "Threshold", "Type": "Float", "DefaultValue": 0.9},
        ],
    )
    arn = execute(client, "spine", Trials="2")
    execution = finished_execution(client, arn)
    steps = steps_of(client, arn)
    assert execution["PipelineExecutionStatus"] == "Succeeded", steps
    assert list(steps) == ["Prepare", "Tune", "Train", "Evaluate", "Gate", "Register"]
    assert steps["Gate"]["Metadata"] == {"Condition": {"Outcome": "True"}}
    package = client("sagemaker").describe_model_package(
        ModelPackageName=steps["Register"]["Metadata"]["RegisterModel"]["Arn"]
    )
    train_name = steps["Train"]["Metadata"]["TrainingJob"]["Arn"].rsplit("/", 1)[-1]
    assert package["CustomerMetadataProperties"] == {"job": train_name}
    tuning = client("sagemaker").describe_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=steps["Tune"]["Metadata"]["TuningJob"]["Arn"].rsplit("/", 1)[-1]
    )
    assert tuning["TrainingJobStatusCounters"]["Completed"] == 2
    best = tuning["BestTrainingJob"]["TunedHyperParameters"]["x"]
    assert client("sagemaker").describe_training_job(TrainingJobName=train_name)["HyperParameters"]["x"] == best
    listed = client("sagemaker").list_pipeline_executions(PipelineName="spine")["PipelineExecutionSummaries"]
    assert [item["PipelineExecutionStatus"] for item in listed] == ["Succeeded"]
    definition = client("sagemaker").describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
    assert json.loads(definition["PipelineDefinition"])["Version"] == "2020-12-01"


def test_a_failing_step_fails_the_execution_and_what_needs_it(client: ClientFactory) -> None:
    steps = run(
        client,
        "failing",
        processing_step("Broken", "exit 9"),
        processing_step("After", "true", DependsOn=["Broken"]),
        processing_step("Beside", "true"),
    )
    assert {name: step["StepStatus"] for name, step in steps.items()} == {"Broken": "Failed", "Beside": "Succeeded"}
    assert steps["Broken"]["FailureReason"].endswith("exit code: 9")


def test_a_fail_step_says_why(client: ClientFactory) -> None:
    fail = {"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": join("below ", get("Parameters.T"))}}
    gate = {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [{"Type": "LessThan", "LeftValue": get("Parameters.T"), "RightValue": 1}],
            "IfSteps": [],
            "ElseSteps": [fail],
        },
    }
    create(client, "refusing", gate, parameters=[{"Name": "T", "Type": "Float"}])
    arn = execute(client, "refusing", T="1.5")
    assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Failed"
    step = steps_of(client, arn)["Refuse"]
    assert (step["FailureReason"], step["Metadata"]) == ("below 1.5", {"Fail": {"ErrorMessage": "below 1.5"}})


def test_an_equal_step_is_taken_from_the_cache(client: ClientFactory) -> None:
    step = processing_step(
        "Count", "echo $1 > $out/n", get("Parameters.N"), CacheConfig={"Enabled": True, "ExpireAfter": "P1D"}
    )
    after = processing_step("After", "echo $1", output_of("Count"))
    create(client, "cached", step, after, parameters=[{"Name": "N", "Type": "String", "DefaultValue": "1"}])
    first = execute(client, "cached")
    assert finished_execution(client, first)["PipelineExecutionStatus"] == "Succeeded"
    again, other = execute(client, "cached"), execute(client, "cached", N="2")
    assert finished_execution(client, again)["PipelineExecutionStatus"] == "Succeeded"
    assert steps_of(client, again)["Count"]["CacheHitResult"] == {"SourcePipelineExecutionArn": first}
    assert steps_of(client, again)["Count"]["Metadata"] == steps_of(client, first)["Count"]["Metadata"]
    finished_execution(client, other)
    assert "CacheHitResult" not in steps_of(client, other)["Count"]

    client("sagemaker").delete_pipeline(PipelineName="cached", ClientRequestToken=uuid.uuid4().hex)
    create(client, "cached", step, parameters=[{"Name": "N", "Type": "String", "DefaultValue": "1"}])
    anew = execute(client, "cached")
    assert finished_execution(client, anew)["PipelineExecutionStatus"] == "Succeeded"
    assert "CacheHitResult" not in steps_of(client, anew)["Count"], "its executions are deleted with a pipeline"


def test_a_job_name_in_a_step_is_the_beginning_of_the_names_of_its_jobs(client: ClientFactory) -> None:
    """As with the SDK's `use_custom_job_prefix`; as the whole name it would be taken at the second execution."""
    step = processing_step("Count", "true")
    step["Arguments"]["ProcessingJobName"] = "Nightly-count"
    create(client, "prefixed", step)
    for _ in range(2):
        arn = execute(client, "prefixed")
        assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Succeeded", steps_of(client, arn)
        job = steps_of(client, arn)["Count"]["Metadata"]["ProcessingJob"]["Arn"].rpartition("/")[2]
        assert job.startswith(f"nightly-count-{arn.rpartition('/')[2]}-count-") and len(job) <= 63


def test_stopping_stops_the_jobs(client: ClientFactory) -> None:
    create(client, "stopping", processing_step("Long", "sleep 60"), processing_step("Next", "true", output_of("Long")))
    arn = execute(client, "stopping")
    until(lambda: "Metadata" in steps_of(client, arn).get("Long", {}))
    client("sagemaker").stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=uuid.uuid4().hex)
    assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Stopped"
    assert {name: step["StepStatus"] for name, step in steps_of(client, arn).items()} == {"Long": "Stopped"}


def test_a_failed_execution_can_be_retried(client: ClientFactory, tmp_path: Path) -> None:
    go = tmp_path / "go"
    second = processing_step("Second", f"test -e {go}", output_of("First"))
    create(client, "retried", processing_step("First", "true"), second)
    arn = execute(client, "retried")
    assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Failed"
    started = steps_of(client, arn)["First"]["StartTime"]
    go.touch()
    client("sagemaker").retry_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=uuid.uuid4().hex)
    assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Succeeded"
    assert steps_of(client, arn)["First"]["StartTime"] == started


def test_a_stop_and_a_retry_are_made_once_for_each_token(client: ClientFactory) -> None:
    """A client that gets no answer asks again."""
    sagemaker = client("sagemaker")
    again, other, stop, late = (uuid.uuid4().hex for _ in range(4))
    create(client, "once", {"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}})
    arn = execute(client, "once")
    finished_execution(client, arn)
    sagemaker.retry_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=again)
    first = finished_execution(client, arn)
    sagemaker.retry_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=again)
    assert finished_execution(client, arn)["LastModifiedTime"] == first["LastModifiedTime"], "it did not run again"
    sagemaker.retry_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=other)
    assert finished_execution(client, arn)["LastModifiedTime"] > first["LastModifiedTime"]

    create(client, "halted", processing_step("Long", "sleep 60"))
    arn = execute(client, "halted")
    until(lambda: "Metadata" in steps_of(client, arn).get("Long", {}))
    sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=stop)
    assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Stopped"
    sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=stop)
    with pytest.raises(ClientError, match=r"ConflictException.* is Stopped; only a running one"):
        sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=late)


PARAMETERS = [
    {"Name": "Text", "Type": "String", "DefaultValue": "a", "EnumValues": ["a", "b"]},
    {"Name": "Count", "Type": "Integer", "DefaultValue": 1},
    {"Name": "Needed", "Type": "Float"},
    {"Name": "Flag", "Type": "Boolean", "DefaultValue": False},
]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "need a value: Needed"),
        ({"Needed": "much"}, "must be of type Float"),
        ({"Needed": "1", "Count": "1.5"}, "must be of type Integer"),
        ({"Needed": "nan"}, "must be of type Float"),
        ({"Needed": "1", "Count": "1_000"}, "must be of type Integer"),
        ({"Needed": "1", "Flag": "yes"}, "must be true or false"),
        ({"Needed": "1", "Text": "c"}, r"must be one of \[a, b\]"),
        ({"Needed": "1", "Nobody": "c"}, "is not in the pipeline definition"),
    ],
)
def test_parameters_are_checked_before_anything_starts(
    client: ClientFactory, given: dict[str, str], words: str
) -> None:
    name = "parameters"
    if not client("sagemaker").list_pipelines(PipelineNamePrefix=name)["PipelineSummaries"]:
        create(client, name, processing_step("Never", "true"), parameters=PARAMETERS)
    with pytest.raises(ClientError, match=words):
        execute(client, name, **given)
    twice = [{"Name": "Needed", "Value": value} for value in ("1", "2")]
    with pytest.raises(ClientError, match="given more than once: Needed"):
        client("sagemaker").start_pipeline_execution(PipelineName=name, PipelineParameters=twice)


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("{", "it is not JSON"),
        ("{}", "Version must be"),
        (define(), "no Steps"),
        (define(processing_step("A", "true"), processing_step("A", "true")), "must be unique"),
        (define(processing_step("A", "true", get("Steps.B.X"))), "do not exist: B"),
        (define(processing_step("A", "true", get("Parameters.P"))), "parameter 'P', which does not exist"),
        (
            define(processing_step("A", "true", output_of("B")), processing_step("B", "true", output_of("A"))),
            "wait for each other",
        ),
        (define({"Name": "A", "Type": "Sing", "Arguments": {}}), "unknown type 'Sing'"),
        (define({"Name": "A", "Type": "Transform", "Arguments": {}}), "do not run locally"),
        (
            define({"Name": "A", "Type": "Condition", "Arguments": {"Conditions": [{"Type": "Is"}]}}),
            "unknown condition",
        ),
        (define({"Name": "A b", "Type": "Fail", "Arguments": {}}), "step name 'A b'"),
        (
            define(processing_step("A", "true", DependOn=["B"])),
            "step A has unknown members: DependOn; known: Arguments, CacheConfig, DependsOn",
        ),
        (
            json.dumps({"Version": "2020-12-01", "Step": [], "Steps": [processing_step("A", "true")]}),
            "the definition has unknown members: Step",
        ),
        (
            json.dumps(
                {
                    "Version": "2020-12-01",
                    "MlflowConfig": {"MlflowResourceArn": "arn"},
                    "Steps": [processing_step("A", "true")],
                }
            ),
            "MlflowConfig does not run locally",
        ),
        (
            define(processing_step("A", "true"), parameters=[{"Name": "N", "Type": "Integer", "DefaultValue": "1"}]),
            "parameter N is of type Integer, and '1' is not",
        ),
        (
            define(processing_step("A", "true"), parameters=[{"Name": "B", "Type": "Boolean", "DefaultValue": 1}]),
            "parameter B is of type Boolean, and 1 is not",
        ),
        (
            define(
                processing_step("A", "true"), parameters=[{"Name": "S", "Type": "String", "EnumValues": ["a", True]}]
            ),
            "parameter S is of type String, and True is not",
        ),
        (
            define(processing_step("A", "true"), parameters=[{"Name": "N", "Type": "String"}] * 2),
            "parameter names must be unique, found more than once: N",
        ),
        (
            define(processing_step("A", "true"), parameters=[{"Name": "N", "Type": "String", "Default": "a"}]),
            "parameter N has unknown members: Default; known: DefaultValue",
        ),
        (define(processing_step("A", "true", DependsOn="B")), "DependsOn must be a list of step names, got 'B'"),
        (
            define(processing_step("A", "true", DependsOn=[{"Step": "B", "Trigger": "Any"}])),
            "a condition in DependsOn does not run locally",
        ),
        (define({"Name": "A", "Type": "ForEach", "Arguments": {}}), "steps of type ForEach do not run locally"),
        (
            define(processing_step("A", "true", CacheConfig={"Enabled": "false"})),
            "CacheConfig.Enabled must be true or false, got 'false'",
        ),
        (
            define(processing_step("A", "true", CacheConfig={"Enabled": True, "ExpiresAfter": "P1D"})),
            "CacheConfig of step A has unknown members: ExpiresAfter",
        ),
        (
            define({"Name": "A", "Type": "Fail", "Arguments": {}, "CacheConfig": {"Enabled": True}}),
            "CacheConfig is for steps of type Lambda, Processing, Training, Tuning, not Fail",
        ),
        (
            define(
                processing_step(
                    "A",
                    "true",
                    PropertyFiles=[{"PropertyFileName": "r", "OutputName": "report", "FilePath": "r.json"}],
                )
            ),
            "is in the output 'report', which the step does not have; it has: out",
        ),
        (define(processing_step("A", "true", get("Execution.Nothing"))), "an execution has here: CurrentDateTime"),
        (
            define(processing_step("A", "true", get("Execution.TrainingJobName"))),
            "TrainingJobName does not run locally",
        ),
        (define(processing_step("A", "true", get("Step.B.X"))), "which is no parameter, step or execution"),
        (
            define(processing_step("A", "true", **REPORT), processing_step("B", "true", json_get("A", "x"))).replace(
                "PropertyFiles.report", "PropertyFiles.reports"
            ),
            "of step A, whose property files are: report",
        ),
        (
            define(processing_step("A", "true", RetryPolicies=[{"ExceptionType": ["Step.FAULT"]}])),
            "step A: RetryPolicies: ExceptionType must be a list of one or more of Step.SERVICE_FAULT",
        ),
    ],
)
def test_definitions_are_checked_when_they_are_made(client: ClientFactory, definition: str, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        client("sagemaker").create_pipeline(
            PipelineName="wrong", PipelineDefinition=definition, RoleArn=ROLE, ClientRequestToken=uuid.uuid4().hex
        )


def test_a_request_that_aws_refuses_fails_the_step(client: ClientFactory) -> None:
    step = processing_step("Odd", "true")
    step["Arguments"]["ProcessingResources"]["ClusterConfig"]["InstanceType"] = get("Parameters.Machine")
    machine = {"Name": "Machine", "Type": "String", "DefaultValue": "ml.abacus"}
    create(client, "odd", step, parameters=[machine])
    arn = execute(client, "odd")
    finished_execution(client, arn)
    steps = steps_of(client, arn)
    assert "Failed to invoke sagemaker:CreateProcessingJob" in steps["Odd"]["FailureReason"]
    assert "Value 'ml.abacus'" in steps["Odd"]["FailureReason"]


def changed_step(*path: str, to: Any) -> dict[str, Any]:
    """A step of which one argument is another, or is one more; `None` leaves it out."""
    step = processing_step("Odd", "true")
    place = step["Arguments"]
    for part in path[:-1]:
        place = place[part]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return step


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (changed_step("AppSpecifikation", to={}), "Arguments of step Odd has unknown members: AppSpecifikation"),
        (changed_step("AppSpecification", "Image", to="any"), "Unknown member 'appSpecification.image'"),
        (changed_step("AppSpecification", to=None), "Value null at 'appSpecification'"),
        (
            changed_step("ProcessingResources", "ClusterConfig", "InstanceType", to="ml.abacus"),
            "Model Validation failed: step Odd: Value 'ml.abacus' at 'processingResources.clusterConfig.instanceType'",
        ),
        (
            changed_step("AppSpecification", "ContainerArguments", to=["a" * 257]),
            "Member must have length less than or equal to 256",
        ),
        (changed_step("AppSpecification", "ContainerArguments", to=get("Parameters.P") | {"X": 1}), "must be a list"),
        (
            {"Name": "Kept", "Type": "RegisterModel", "Arguments": {"ModelPackageName": "bins"}},
            "Arguments of step Kept has unknown members: ModelPackageName",
        ),
    ],
)
def test_arguments_that_no_request_may_have_are_refused_with_the_definition(
    client: ClientFactory, step: dict[str, Any], words: str
) -> None:
    """Also of a step that would never run, so that a deployment fails and not the first execution."""
    sagemaker, name = client("sagemaker"), f"bins-{uuid.uuid4().hex[:8]}"
    conditions = [{"Type": "Equals", "LeftValue": 1, "RightValue": 1}]
    branches = {"Conditions": conditions, "IfSteps": [], "ElseSteps": [step]}
    wrong = {"Name": "Choice", "Type": "Condition", "Arguments": branches}
    with pytest.raises(ClientError, match="Unable to parse pipeline definition") as caught:
        create(client, name, wrong)
    assert words in str(caught.value)
    create(client, name, processing_step("Fine", "true"))
    with pytest.raises(ClientError, match="Unable to parse pipeline definition"):
        sagemaker.update_pipeline(PipelineName=name, PipelineDefinition=define(wrong))


def test_a_definition_in_s3_is_read_in_the_version_that_is_named(client: ClientFactory) -> None:
    s3, key = client("s3"), "definition.json"
    s3.create_bucket(Bucket="definitions")
    s3.put_bucket_versioning(Bucket="definitions", VersioningConfiguration={"Status": "Enabled"})
    versions = [
        s3.put_object(Bucket="definitions", Key=key, Body=define(processing_step(name, "true")))["VersionId"]
        for name in ("Old", "New")
    ]
    client("sagemaker").create_pipeline(
        PipelineName="versioned",
        PipelineDefinitionS3Location={"Bucket": "definitions", "ObjectKey": key, "VersionId": versions[0]},
        RoleArn=ROLE,
        ClientRequestToken=uuid.uuid4().hex,
    )
    described = client("sagemaker").describe_pipeline(PipelineName="versioned")
    assert json.loads(described["PipelineDefinition"])["Steps"][0]["Name"] == "Old"


def test_tokens_make_requests_safe_to_repeat(client: ClientFactory) -> None:
    sagemaker, token = client("sagemaker"), uuid.uuid4().hex
    request = {"PipelineName": "token", "PipelineDefinition": define(processing_step("A", "true")), "RoleArn": ROLE}
    arns = {sagemaker.create_pipeline(**request, ClientRequestToken=token)["PipelineArn"] for _ in range(2)}
    assert len(arns) == 1
    with pytest.raises(ClientError, match="must be unique"):
        sagemaker.create_pipeline(**request, ClientRequestToken=uuid.uuid4().hex)
    executions = {
        sagemaker.start_pipeline_execution(PipelineName="token", ClientRequestToken=token)["PipelineExecutionArn"]
        for _ in range(2)
    }
    assert len(executions) == 1
    finished_execution(client, executions.pop())
    sagemaker.update_pipeline(PipelineName="token", PipelineDescription="counts")
    assert sagemaker.describe_pipeline(PipelineName="token")["PipelineDescription"] == "counts"
    sagemaker.delete_pipeline(PipelineName="token", ClientRequestToken=uuid.uuid4().hex)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        sagemaker.describe_pipeline(PipelineName="token")


def test_an_execution_goes_on_after_a_restart(state_dir: Path) -> None:
    """The job that ran is run again, the step that had ended is not."""
    go = state_dir.parent / "go"
    with LocalAws(state_dir) as aws:
        client = connect(aws)
        client("s3").create_bucket(Bucket=BUCKET)
        create(
            client,
            "resumed",
            processing_step("First", "true"),
            processing_step("Second", f"until [ -e {go} ]; do sleep 0.1; done", output_of("First")),
        )
        arn = execute(client, "resumed")
        until(lambda: "Metadata" in steps_of(client, arn).get("Second", {}))
        before = steps_of(client, arn)
    assert aws.processes() == []
    with LocalAws(state_dir) as aws:
        client = connect(aws)
        go.touch()
        assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Succeeded"
        after = steps_of(client, arn)
    assert after["First"] == before["First"]
    assert after["Second"]["Metadata"] == before["Second"]["Metadata"]
