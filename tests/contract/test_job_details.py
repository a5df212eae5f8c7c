"""Details of jobs and pipelines: channels, metrics, events, retries, functions."""

from __future__ import annotations

import io
import itertools
import json
import uuid
import zipfile
from typing import Any

import pytest

from tests.contract.conftest import ClientFactory
from tests.contract.jobs import BUCKET, IMAGE, ROLE, archive_members, finished_training, training_request, until
from tests.contract.pipelines import create, execute, finished_execution, get, processing_step, steps_of
from tests.contract.tunings import tuning_request

LIST_CHANNEL = """
    import json, os, pathlib
    folder = pathlib.Path(os.environ["SM_CHANNEL_DATA"])
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    name = os.environ["SM_CURRENT_HOST"] + ".json"
    pathlib.Path(os.environ["SM_MODEL_DIR"], name).write_text(json.dumps(found))
"""


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)
    for name in ("train/a.txt", "train/b.txt", "train-2/c.txt"):
        client("s3").put_object(Bucket=BUCKET, Key=f"data/{name}", Body=name.encode())
    manifest = [{"prefix": f"s3://{BUCKET}/data/"}, "train/b.txt", "train-2/c.txt"]
    client("s3").put_object(Bucket=BUCKET, Key="list.manifest", Body=json.dumps(manifest).encode())


def channel(kind: str, uri: str, distribution: str = "FullyReplicated") -> dict[str, Any]:
    return {
        "ChannelName": "data",
        "InputMode": "FastFile",
        "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": distribution}},
    }


def listed(client: ClientFactory, name: str, data: dict[str, Any], machines: int = 1) -> dict[str, list[str]]:
    """The files that each machine of a job sees in its channel."""
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": machines, "VolumeSizeInGB": 1}
    request = training_request(client, name, LIST_CHANNEL, InputDataConfig=[data], ResourceConfig=resources)
    client("sagemaker").create_training_job(**request)
    job = finished_training(client, name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    members = archive_members(client, job["ModelArtifacts"]["S3ModelArtifacts"])
    return {host.removesuffix(".json"): json.loads(text) for host, text in members.items()}


def test_prefixes_are_plain_text(client: ClientFactory) -> None:
    found = listed(client, "prefix", channel("S3Prefix", f"s3://{BUCKET}/data/train"))
    assert found == {"algo-1": ["a.txt", "b.txt", "train-2/c.txt"]}


def test_a_manifest_names_the_objects(client: ClientFactory) -> None:
    found = listed(client, "manifest", channel("ManifestFile", f"s3://{BUCKET}/list.manifest"))
    assert found == {"algo-1": ["train-2/c.txt", "train/b.txt"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[7]", "Invalid manifest"),
        (b"no JSON", "Data download failed"),
        (json.dumps([{"prefix": f"s3://{BUCKET}/data/"}, "train/a.txt", "train/a.txt"]).encode(), "have the path"),
    ],
)
def test_a_broken_manifest_fails_the_job_with_its_reason(client: ClientFactory, content: bytes, words: str) -> None:
    name = f"broken-{len(content)}"
    client("s3").put_object(Bucket=BUCKET, Key=name, Body=content)
    request = training_request(client, name, "pass", InputDataConfig=[channel("ManifestFile", f"s3://{BUCKET}/{name}")])
    client("sagemaker").create_training_job(**request)
    reason = finished_training(client, name)["FailureReason"]
    assert reason.startswith("ClientError: ") and words in reason


def test_sharded_objects_are_dealt_out(client: ClientFactory) -> None:
    found = listed(client, "sharded", channel("S3Prefix", f"s3://{BUCKET}/data/", "ShardedByS3Key"), machines=2)
    assert sorted(found) == ["algo-1", "algo-2"]
    assert sorted(found["algo-1"] + found["algo-2"]) == ["train-2/c.txt", "train/a.txt", "train/b.txt"]


def test_what_a_job_does_to_its_input_is_not_seen_by_the_next(client: ClientFactory) -> None:
    """Jobs share one download of an object; if one writes into it, the others get a fresh copy."""
    script = """
        import os, pathlib
        path = pathlib.Path(os.environ["SM_CHANNEL_DATA"], "x.txt")
        pathlib.Path(os.environ["SM_MODEL_DIR"], "x.txt").write_text(path.read_text())
        path.chmod(0o644)
        with path.open("a") as file:
            file.write(" spoilt")
    """
    client("s3").put_object(Bucket=BUCKET, Key="shared/x.txt", Body=b"whole")
    for name in ("spoiler", "successor"):
        data = channel("S3Prefix", f"s3://{BUCKET}/shared/")
        client("sagemaker").create_training_job(**training_request(client, name, script, InputDataConfig=[data]))
        job = finished_training(client, name)
        assert archive_members(client, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"x.txt": b"whole"}


def test_metrics_reach_cloudwatch_and_state_changes_the_event_bus(client: ClientFactory) -> None:
    sqs, events = client("sqs"), client("events")
    queue = sqs.create_queue(QueueName="changes")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="changes", EventPattern=json.dumps({"source": ["aws.sagemaker"]}))
    events.put_targets(Rule="changes", Targets=[{"Id": "queue", "Arn": arn}])
    request = training_request(client, "measured", "print('loss=0.5')")
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]
    client("sagemaker").create_training_job(**request)
    finished_training(client, "measured")
    seen: list[str] = []
    expected = {"Starting", "Downloading", "Training", "Uploading", "Completed"}

    def completed() -> bool:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            event = json.loads(message["Body"])
            assert event["detail-type"] == "SageMaker Training Job State Change"
            assert event["detail"]["TrainingJobName"] == "measured"
            seen.append(event["detail"]["SecondaryStatus"])
        return expected <= set(seen)

    until(completed)
    assert seen[0] == "Starting" and set(seen) == expected
    measured = {"Namespace": "/aws/sagemaker/TrainingJobs", "MetricName": "loss"}
    metrics = until(lambda: client("cloudwatch").list_metrics(**measured)["Metrics"])
    assert metrics[0]["Dimensions"] == [{"Name": "TrainingJobName", "Value": "measured"}]


def test_the_event_of_a_step_names_its_job_as_awss_does(client: ClientFactory) -> None:
    """In events of pipelines the names of all members begin with small letters, as on AWS's page on events."""
    sqs, events = client("sqs"), client("events")
    queue = sqs.create_queue(QueueName="steps")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"currentStepStatus": ["Succeeded"], "metadata": {"processingJob": {"arn": [{"exists": True}]}}}
    events.put_rule(Name="steps", EventPattern=json.dumps({"source": ["aws.sagemaker"], "detail": pattern}))
    events.put_targets(Rule="steps", Targets=[{"Id": "queue", "Arn": arn}])
    create(client, "eventful", processing_step("Only", "true"))
    execution = execute(client, "eventful")
    finished_execution(client, execution)
    (message,) = until(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"))
    detail = json.loads(message["Body"])["detail"]
    job = steps_of(client, execution)["Only"]["Metadata"]["ProcessingJob"]["Arn"]
    assert (detail["stepName"], detail["metadata"]["processingJob"]["arn"]) == ("Only", job)


def test_a_new_job_of_every_kind_is_announced_as_in_progress(client: ClientFactory) -> None:
    sqs, events, sagemaker = client("sqs"), client("events"), client("sagemaker")
    queue = sqs.create_queue(QueueName="begun")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    kinds = ("ProcessingJob", "HyperParameterTuningJob")
    pattern = {"$or": [{f"{kind}Status": ["InProgress"]} for kind in kinds]}
    events.put_rule(Name="begun", EventPattern=json.dumps({"source": ["aws.sagemaker"], "detail": pattern}))
    events.put_targets(Rule="begun", Targets=[{"Id": "queue", "Arn": arn}])
    sagemaker.create_processing_job(
        ProcessingJobName="announced",
        ProcessingResources={"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}},
        AppSpecification={"ImageUri": IMAGE, "ContainerEntrypoint": ["/bin/true"]},
        RoleArn=ROLE,
    )
    limits = {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1}
    sagemaker.create_hyper_parameter_tuning_job(**tuning_request(client, "announced", ResourceLimits=limits))
    seen: dict[str, dict[str, Any]] = {}

    def all_said() -> bool:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            event = json.loads(message["Body"])
            seen.setdefault(event["detail-type"], event)
        return len(seen) == len(kinds)

    until(all_said)
    begun = seen["SageMaker Processing Job State Change"]
    assert begun["detail"]["ProcessingJobName"] == "announced" and "ProcessingStartTime" not in begun["detail"]
    assert begun["resources"] == [sagemaker.describe_processing_job(ProcessingJobName="announced")["ProcessingJobArn"]]
    tuned = seen["SageMaker HyperParameter Tuning Job State Change"]["detail"]
    assert tuned["HyperParameterTuningJobName"] == "announced"
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="announced")


def test_a_step_is_retried_as_its_policy_says(client: ClientFactory) -> None:
    """Errors that its policy names are retried (here a limit of the account); a script that fails is not."""
    policy = {"ExceptionType": ["SageMaker.RESOURCE_LIMIT"], "IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 2}
    request = tuning_request(
        client, "too-many", ResourceLimits={"MaxNumberOfTrainingJobs": 500, "MaxParallelTrainingJobs": 200}
    )
    del request["HyperParameterTuningJobName"]
    limited = {"Name": "Limited", "Type": "Tuning", "Arguments": request, "RetryPolicies": [policy]}
    create(client, "retries", limited, processing_step("Failing", "exit 1", RetryPolicies=[policy]))
    arn = execute(client, "retries")
    finished_execution(client, arn)
    steps = steps_of(client, arn)
    assert "At most 100 training jobs" in steps["Limited"]["FailureReason"]
    assert {name: step["AttemptCount"] for name, step in steps.items()} == {"Limited": 3, "Failing": 1}


def test_a_function_step_hands_its_answer_on(client: ClientFactory) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", "def handler(event, context):\n    return {'doubled': event['n'] * 2}\n")
    function = client("lambda").create_function(
        FunctionName="double",
        Runtime="python3.12",
        Role=ROLE,
        Handler="index.handler",
        Code={"ZipFile": packed.getvalue()},
    )["FunctionArn"]
    step = {
        "Name": "Double",
        "Type": "Lambda",
        "FunctionArn": function,
        "Arguments": {"n": get("Parameters.N")},
        "OutputParameters": [{"OutputName": "doubled", "OutputType": "Integer"}],
    }
    gate = {
        "Name": "Gate",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [
                {
                    "Type": "Equals",
                    "LeftValue": get("Steps.Double.OutputParameters['doubled']"),
                    "RightValue": 42,
                }
            ],
            "IfSteps": [],
            "ElseSteps": [],
        },
    }
    create(client, "function", step, gate, parameters=[{"Name": "N", "Type": "Integer", "DefaultValue": 21}])
    arn = execute(client, "function")
    assert finished_execution(client, arn)["PipelineExecutionStatus"] == "Succeeded", steps_of(client, arn)
    steps = steps_of(client, arn)
    assert steps["Gate"]["Metadata"]["Condition"]["Outcome"] == "True"
    assert steps["Double"]["Metadata"]["Lambda"]["OutputParameters"] == [{"Name": "doubled", "Value": "42"}]


def test_parallel_steps_can_be_limited(client: ClientFactory) -> None:
    create(client, "narrow", *(processing_step(name, "true") for name in ("A", "B", "C")))
    arn = client("sagemaker").start_pipeline_execution(
        PipelineName="narrow",
        ClientRequestToken=uuid.uuid4().hex,
        ParallelismConfiguration={"MaxParallelExecutionSteps": 1},
    )["PipelineExecutionArn"]
    finished_execution(client, arn)
    steps = sorted(steps_of(client, arn).values(), key=lambda step: step["StartTime"])
    assert [step["StepName"] for step in steps] == ["A", "B", "C"]
    assert all(one["EndTime"] <= two["StartTime"] for one, two in itertools.pairwise(steps))
