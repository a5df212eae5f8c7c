"""The size that a job needs: a worked example, and properties for any usage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from binventory.core.aws import Aws
from binventory.cost import prices, report
from binventory.cost.machines import machine
from binventory.cost.sizing import advise
from binventory.cost.spent import JobSpent, Spent, StepSpent
from binventory.cost.usage import Level, Usage, read, together
from stacks.settings.instances import CPU_JOB_INSTANCES, GPU_JOB_INSTANCES

US = prices.load("us-east-1")
JOBS = (*CPU_JOB_INSTANCES, *GPU_JOB_INSTANCES)


def used(cpu: float, memory: float = 5, gpu: float | None = None, busiest: float | None = None) -> Usage:
    """Per cent of one vCPU, of the memory, of one GPU."""
    return Usage(
        cpu=Level(cpu, busiest or cpu),
        memory=Level(memory, memory),
        disk=None,
        gpu=None if gpu is None else Level(gpu, gpu),
        gpu_memory=None,
    )


def test_a_fifth_of_four_vcpus_fits_on_the_smallest() -> None:
    found = advise("ml.c5.xlarge", used(80), (*CPU_JOB_INSTANCES, "ml.c5.large"), US)
    assert found.better == "ml.c5.large"
    assert found.saving == pytest.approx(1 - 0.102 / 0.204)
    assert found.text == "20% of 4 vCPU used: ml.c5.large would do, saving 50%"


def test_memory_can_keep_it_on_the_larger_one() -> None:
    found = advise("ml.m5.xlarge", used(80, memory=70), CPU_JOB_INSTANCES, US)
    assert found.better == "", "70% of 16 GiB fit no cheaper type"
    assert found.text == "20% of 4 vCPU used: the size fits"


def test_the_busiest_minute_counts_and_not_the_mean() -> None:
    assert advise("ml.c5.4xlarge", used(100, busiest=1500), CPU_JOB_INSTANCES, US).better == ""


def test_for_a_full_machine_more_is_recommended() -> None:
    assert "end sooner" in advise("ml.c5.xlarge", used(395), CPU_JOB_INSTANCES, US).text


def test_a_gpu_job_stays_in_its_family() -> None:
    found = advise("ml.g4dn.12xlarge", used(200, gpu=60), GPU_JOB_INSTANCES, US)
    assert found.better == "ml.g4dn.xlarge"
    assert found.text.startswith("15% of 4 GPU used")
    assert advise("ml.g4dn.12xlarge", used(200, gpu=300), GPU_JOB_INSTANCES, US).better == ""


def test_without_metrics_nothing_is_advised() -> None:
    nothing = Usage(cpu=None, memory=None, disk=None, gpu=None, gpu_memory=None)
    assert advise("ml.m5.xlarge", nothing, CPU_JOB_INSTANCES, US).better == ""
    assert together([]) == nothing


def test_an_unknown_machine_is_reported_and_not_measured_with() -> None:
    for name in ("ml.x9.large", "ml.m5.metal", "ml.p5.48xlarge"):
        assert advise(name, used(10), CPU_JOB_INSTANCES, US).text == f"Nothing is known about {name}"


@pytest.mark.parametrize(
    ("name", "vcpus", "gib", "gpus"),
    [
        ("ml.t2.medium", 2, 4, 0),
        ("ml.m7i.4xlarge", 16, 64, 0),
        ("ml.c5.9xlarge", 36, 72, 0),
        ("ml.r5.large", 2, 16, 0),
        ("ml.g4dn.12xlarge", 48, 192, 4),
        ("ml.g5.xlarge", 4, 16, 1),
        ("ml.p3.2xlarge", 8, 61, 1),
    ],
)
def test_machines_are_as_aws_lists_them(name: str, vcpus: int, gib: float, gpus: int) -> None:
    found = machine(name)
    assert (found.vcpus, found.memory_gib, found.gpus) == (vcpus, gib, gpus)


@given(st.sampled_from(JOBS), st.floats(0, 1), st.floats(0, 100), st.floats(0, 1))
def test_what_is_advised_holds_what_was_used_and_is_cheaper(
    name: str, processor: float, memory: float, gpu: float
) -> None:
    ran = machine(name)
    usage = used(processor * 100 * ran.vcpus, memory, gpu * 100 * ran.gpus if ran.gpus else None)
    found = advise(name, usage, JOBS, US)
    if not found.better:
        assert found.saving == 0
        return
    better = machine(found.better)
    assert US.instance_hour(found.better) < US.instance_hour(name)
    assert 0 < found.saving < 1
    assert better.vcpus >= processor * ran.vcpus
    assert better.memory_gib >= memory / 100 * ran.memory_gib
    assert better.gpus >= gpu * ran.gpus
    assert bool(better.gpus) == bool(ran.gpus)


@given(st.lists(st.floats(0, 400), min_size=1, max_size=8))
def test_several_jobs_are_as_busy_as_the_busiest(loads: list[float]) -> None:
    merged = together(used(load) for load in loads).cpu
    assert merged is not None
    assert merged.busiest == max(loads)
    assert min(loads) - 1e-9 <= merged.average <= max(loads) + 1e-9


@pytest.mark.parametrize(
    ("age", "period"), [(timedelta(hours=2), 60), (timedelta(days=20), 300), (timedelta(days=99), 3600)]
)
def test_old_jobs_are_asked_for_by_the_periods_that_cloudwatch_still_keeps(age: timedelta, period: int) -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    job = JobSpent(
        name="old",
        kind="TrainingJob",
        status="Completed",
        instance_type="ml.m5.xlarge",
        instance_count=2,
        spot=True,
        started=now - age,
        ended=now - age + timedelta(minutes=7),
        seconds=420,
        billable=168,
        on_demand=None,
        dollars=None,
    )
    session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")
    aws = Aws(session)
    hosts = [f"old/algo-{machine}" for machine in (1, 2)]
    asked: list[dict[str, Any]] = []

    def answer(params: dict[str, Any], **_: object) -> None:
        asked.extend(query["MetricStat"] for query in params["MetricDataQueries"])

    cloudwatch = aws.client("cloudwatch")
    cloudwatch.meta.events.register("provide-client-params.cloudwatch.GetMetricData", answer)
    with Stubber(cloudwatch) as stub:
        values = [{"Id": f"q{number}", "Values": [30.0, 50.0]} for number in (0, 5)]  # CPU of both machines
        stub.add_response("get_metric_data", {"MetricDataResults": values})
        found = read(aws, [job], now)["old"]
    assert {stat["Period"] for stat in asked} == {period}
    assert {stat["Metric"]["Dimensions"][0]["Value"] for stat in asked} == set(hosts)
    assert found.cpu == Level(40, 50)
    assert found.memory is None


def step_spent(step: str, instance_type: str, name: str) -> StepSpent:
    """A step of one job that took ten minutes."""
    job = JobSpent(
        name=name,
        kind="TrainingJob",
        status="Completed",
        instance_type=instance_type,
        instance_count=1,
        spot=False,
        started=None,
        ended=None,
        seconds=600,
        billable=600,
        on_demand=0.1,
        dollars=0.1,
    )
    return StepSpent(step, (job,))


@pytest.mark.parametrize(
    ("tune", "train", "take"),
    [
        (20.0, 300.0, {"Machine": "ml.c5.xlarge"}),  # the smaller one would hold Tune, but both hang on one parameter
        (20.0, 20.0, {"Machine": "ml.m5.large"}),
        (20.0, 800.0, {}),  # one of them needs what it has
    ],
)
def test_steps_that_share_a_parameter_get_a_size_that_holds_them_all(
    tune: float, train: float, take: dict[str, str]
) -> None:
    resources = {"InstanceType": {"Get": "Parameters.Machine"}}
    definition = {
        "Parameters": [
            {"Name": "Machine", "Type": "String", "EnumValues": ["ml.m5.large", "ml.c5.xlarge", "ml.m5.2xlarge"]}
        ],
        "Steps": [
            {"Name": "Tune", "Type": "Tuning", "Arguments": {"TrainingJobDefinition": {"ResourceConfig": resources}}},
            {"Name": "Train", "Type": "Training", "Arguments": {"ResourceConfig": resources}},
        ],
    }
    steps = (step_spent("Tune", "ml.m5.2xlarge", "a"), step_spent("Train", "ml.m5.2xlarge", "b"))
    made = report.make(Spent("arn", "us-east-1", steps), {"a": used(tune), "b": used(train, memory=1)}, definition, US)
    assert made.take == take
