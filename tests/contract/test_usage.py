"""Jobs publish usage metrics as SageMaker does, and a spot job is billed for less than its time."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from binventory.cost.lines import SPOT_SHARE
from local_aws.core.disks import disk_gb
from local_aws.jobs.training_run import billable_seconds
from local_aws.jobs.usage import Watched, _Sampler
from tests.contract.conftest import ClientFactory
from tests.contract.jobs import BUCKET, IMAGE, ROLE, finished_training, training_request, until

BUSY = """
import os, time
block = bytearray(50 * 1024 * 1024)
with open(os.path.join(os.environ["SM_MODEL_DIR"], "weights"), "wb") as file:
    file.write(os.urandom(30 * 1024 * 1024))
end = time.monotonic() + 2.5
while time.monotonic() < end:
    pass
"""


@pytest.fixture(scope="module", autouse=True)
def bucket(client: ClientFactory) -> None:
    client("s3").create_bucket(Bucket=BUCKET)


def values(client: ClientFactory, kind: str, metric: str, host: str) -> list[float]:
    """The values of one metric of one machine in CloudWatch."""
    now = datetime.now(UTC)
    query: dict[str, Any] = {
        "Metric": {
            "Namespace": f"/aws/sagemaker/{kind}",
            "MetricName": metric,
            "Dimensions": [{"Name": "Host", "Value": host}],
        },
        "Period": 60,
        "Stat": "Maximum",
    }
    reply = client("cloudwatch").get_metric_data(
        MetricDataQueries=[{"Id": "m", "MetricStat": query}],
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
    )
    found: list[float] = reply["MetricDataResults"][0]["Values"]
    return found


def test_a_training_job_publishes_and_spot_is_billed_for_less(client: ClientFactory) -> None:
    stopping = {"MaxRuntimeInSeconds": 120, "MaxWaitTimeInSeconds": 200}
    client("sagemaker").create_training_job(
        **training_request(client, "busy", BUSY, EnableManagedSpotTraining=True, StoppingCondition=stopping)
    )
    job = finished_training(client, "busy")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert 0 < job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]
    busiest = until(lambda: values(client, "TrainingJobs", "CPUUtilization", "busy/algo-1"))
    assert 10 < max(busiest) <= 220, "one core, in per cent of a core, or less where others want it too"
    # One value for each minute of the clock in which the job ran.
    memory = until(lambda: values(client, "TrainingJobs", "MemoryUtilization", "busy/algo-1"))
    assert 0 < min(memory) <= max(memory) < 100
    disk = until(lambda: values(client, "TrainingJobs", "DiskUtilization", "busy/algo-1"))
    assert 0 <= min(disk) <= max(disk) < 100
    assert values(client, "TrainingJobs", "CPUUtilization", "busy/algo-2") == []


def test_a_volume_of_no_size_has_no_usage_of_its_disk(tmp_path: Path) -> None:
    """SageMaker's model allows 0; a division by it would end the metrics of the whole job."""
    sampled = dict(_Sampler(Watched("job/algo-1", os.getpid(), tmp_path, disk_gb=0)).sample(with_disk=True))
    assert sampled.keys() == {"CPUUtilization", "MemoryUtilization"}


def test_the_usage_of_a_local_disk_is_a_share_of_that_disk() -> None:
    """SageMaker gives a job the whole disk, whatever volume its request names."""
    assert disk_gb({"InstanceType": "ml.g5.xlarge", "VolumeSizeInGB": 30}) == 250
    assert disk_gb({"InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}) == 30


def test_spot_is_billed_at_the_share_that_an_estimate_expects() -> None:
    """So the costs of a rehearsal are those that `binventory cost` announces."""
    assert billable_seconds({"EnableManagedSpotTraining": True}, 1000) == 1000 * SPOT_SHARE
    assert billable_seconds({"EnableManagedSpotTraining": False}, 1000) == 1000


def test_each_machine_of_a_processing_job_publishes(client: ClientFactory) -> None:
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    client("sagemaker").create_processing_job(
        ProcessingJobName="both",
        ProcessingResources={"ClusterConfig": cluster},
        AppSpecification={"ImageUri": IMAGE, "ContainerEntrypoint": ["/bin/bash", "-c", "sleep 3"]},
        RoleArn=ROLE,
    )
    for host in ("both/algo-1", "both/algo-2"):
        found = until(partial(values, client, "ProcessingJobs", "CPUUtilization", host))
        assert min(found) >= 0, "a sleeping machine uses next to nothing"
        assert max(found) < 50
