"""The cost of jobs from their descriptions: worked examples, upper bounds while they run, unknown without a price."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from binventory.core.aws import Aws
from binventory.cost import prices
from binventory.cost.spent import Meter, processing_job, so_far, training_job
from binventory.executions import Execution, ExecutionStep
from stacks.settings.instances import CPU_JOB_INSTANCES, GPU_JOB_INSTANCES

US = prices.load("us-east-1")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def described(**changes: Any) -> dict[str, Any]:
    """A spot training job on two machines that was billed for 400 of its 1,000 seconds."""
    job: dict[str, Any] = {
        "TrainingJobName": "train",
        "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/train",
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/model.tar.gz"},
        "TrainingJobStatus": "Completed",
        "SecondaryStatus": "Completed",
        "AlgorithmSpecification": {"TrainingInputMode": "File"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 73},
        "EnableManagedSpotTraining": True,
        "CreationTime": NOW - timedelta(seconds=2000),
        "TrainingStartTime": NOW - timedelta(seconds=1000),
        "TrainingEndTime": NOW,
        "TrainingTimeInSeconds": 1000,
        "BillableTimeInSeconds": 400,
    }
    return {name: value for name, value in {**job, **changes}.items() if value is not None}


def test_a_finished_spot_job_worked_by_hand() -> None:
    found = training_job(described(), US, NOW)
    hour = 2 * (0.23 + 73 * 0.14 / 730)  # two machines, each with its volume
    assert found.on_demand == pytest.approx(hour * 1000 / 3600)
    assert found.dollars == pytest.approx(hour * 400 / 3600)
    assert found.saved == pytest.approx(hour * 600 / 3600)
    assert not found.running


def test_a_running_job_is_bounded_by_the_clock_on_demand() -> None:
    running = described(
        TrainingJobStatus="InProgress", TrainingEndTime=None, TrainingTimeInSeconds=None, BillableTimeInSeconds=None
    )
    found = training_job(running, US, NOW + timedelta(seconds=500))
    assert found.running
    assert found.seconds == found.billable == 1500
    assert found.saved == 0, "nothing is promised before AWS has said it"


def test_a_job_that_waits_for_capacity_costs_nothing() -> None:
    waiting = described(
        TrainingStartTime=None, TrainingEndTime=None, TrainingTimeInSeconds=None, BillableTimeInSeconds=None
    )
    assert training_job(waiting, US, NOW).dollars == 0


def test_a_processing_job_is_billed_for_its_time_on_every_machine() -> None:
    cluster = {"InstanceType": "ml.m5.2xlarge", "InstanceCount": 4, "VolumeSizeInGB": 100}
    job = {
        "ProcessingJobName": "ingest",
        "ProcessingJobStatus": "Failed",
        "ProcessingResources": {"ClusterConfig": cluster},
        "ProcessingStartTime": NOW - timedelta(minutes=30),
        "ProcessingEndTime": NOW,
    }
    found = processing_job(job, US, NOW + timedelta(days=1))
    assert found.dollars == pytest.approx(4 * (0.461 + 100 * 0.14 / 730) / 2), "a failed job is billed too"
    assert found.saved == 0


@pytest.mark.parametrize("known", [US, None])
def test_without_a_price_nothing_is_guessed(known: prices.Prices | None) -> None:
    resources = {"InstanceType": "ml.x9.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    found = training_job(described(ResourceConfig=resources), known, NOW)
    assert found.dollars is None
    assert found.saved is None
    assert found.billable == 400, "the seconds are known all the same"


@given(
    st.sampled_from([*CPU_JOB_INSTANCES, *GPU_JOB_INSTANCES]),
    st.integers(1, 19),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
)
def test_spot_never_costs_more_and_more_machines_never_cost_less(
    instance: str, count: int, trained: int, billed: int
) -> None:
    def job(machines: int) -> Any:
        resources = {"InstanceType": instance, "InstanceCount": machines, "VolumeSizeInGB": 30}
        times = {"TrainingTimeInSeconds": trained, "BillableTimeInSeconds": billed}
        return training_job(described(ResourceConfig=resources, **times), US, NOW)

    one, more = job(count), job(count + 1)
    assert 0 < one.dollars <= one.on_demand
    assert one.saved >= 0
    assert more.dollars > one.dollars


def test_a_job_that_has_ended_is_asked_for_once() -> None:
    aws = Aws(boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1"))
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/train"
    step = ExecutionStep("Train", "Executing", NOW, None, "", "TrainingJob", arn)
    execution = Execution("arn:aws:sagemaker:us-east-1:123456789012:pipeline/p/execution/e", "Executing", "", (step,))
    running = described(
        TrainingJobStatus="InProgress", TrainingEndTime=None, TrainingTimeInSeconds=None, BillableTimeInSeconds=None
    )
    with Stubber(aws.client("sagemaker")) as stub:
        stub.add_response("describe_training_job", running, {"TrainingJobName": "train"})
        stub.add_response("describe_training_job", described(), {"TrainingJobName": "train"})
        meter = Meter(aws)
        assert so_far(meter.read(execution)).startswith("at most $")
        for _ in range(3):
            assert so_far(meter.read(execution)) == "$0.05, spot saved $0.08"
        stub.assert_no_pending_responses()


def test_steps_without_jobs_cost_nothing() -> None:
    aws = Aws(boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1"))
    gate = ExecutionStep("Gate", "Succeeded", NOW, NOW, "", "Condition", "True")
    spent = Meter(aws).read(Execution("arn", "Executing", "", (gate,)))
    assert spent.steps == ()
    assert spent.dollars == 0
    assert so_far(spent) == "$0.00"
