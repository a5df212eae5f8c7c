"""Money: arithmetic by hand-worked examples and properties, quantities from a real synthesized shape, prices dated."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from binventory.cli import run
from binventory.cost import assembly, prices, refresh
from binventory.cost.assembly import Assembly, Endpoint
from binventory.cost.definition import Job
from binventory.cost.estimate import SPOT_SHARE, estimate, serverless_count
from binventory.cost.machines import machine
from binventory.cost.text import difference, markdown, money
from binventory.cost.workload import HOURS_A_MONTH, JOB_OVERHEAD_SECONDS, Workload, seconds
from binventory.errors import Exit, Problem
from stacks.instances import CPU_JOB_INSTANCES, GPU_JOB_INSTANCES, SERVING_INSTANCES

US = prices.load("us-east-1")
WORK = Workload(photos=10_000, views=3, epochs=20)


def job(**changes: Any) -> Job:
    """A training job of one hour at most."""
    values = {
        "step": "Train",
        "instance_type": "ml.m5.xlarge",
        "instance_count": 1,
        "runs": 1,
        "parallel": 1,
        "spot": False,
        "max_seconds": 3600,
        "volume_gb": 30,
    }
    return Job(**{**values, **changes})


def environment(*jobs: Job, endpoint: Endpoint | None = None) -> Assembly:
    """An environment with these jobs."""
    return Assembly("dev", "us-east-1", jobs, {}, endpoint, keys=1, alarms=2, endpoint_alarms=3, dashboards=0)


@pytest.mark.parametrize("instance", sorted({*CPU_JOB_INSTANCES, *GPU_JOB_INSTANCES, *SERVING_INSTANCES}))
def test_every_instance_that_the_settings_allow_has_a_price_and_a_speed(instance: str) -> None:
    assert 0 < US.instance_hour(instance) < 50
    assert seconds("Embed", instance, 1, WORK) > JOB_OVERHEAD_SECONDS


@pytest.mark.parametrize("instance", [*CPU_JOB_INSTANCES, *GPU_JOB_INSTANCES])
def test_the_processor_is_read_from_the_family(instance: str) -> None:
    assert bool(machine(instance).gpus) == (instance in GPU_JOB_INSTANCES)


def test_a_hand_worked_month() -> None:
    found = estimate(environment(endpoint=Endpoint("ml.m5.large", 2, 4, False)), US, WORK, traffic=1000)
    assert found.serving_month == pytest.approx(2 * 0.115 * 730 + 3 * 0.10)
    # 0.3 GB of shards and 0.2 GB of models, 0.6 GB of image, 1 GB of logs, a key, two alarms
    assert found.idle_month == pytest.approx(0.5 * 0.023 + 0.6 * 0.1 + 0.03 + 1 + 0.2)


def test_a_hand_worked_execution() -> None:
    slow = job(step="Evaluate", max_seconds=60)  # its limit cuts it to a minute
    tune = job(step="Tune", runs=5, spot=True, max_seconds=120)
    volume = 30 * 0.14 / HOURS_A_MONTH
    found = estimate(environment(slow, tune), US, WORK, traffic=1000)
    assert [line.on_demand for line in found.execution] == pytest.approx([(0.23 + volume) / 60, (0.23 + volume) / 6])
    # Spot lowers the instance's price; the volume's stays.
    assert found.execution_expected == pytest.approx((0.23 + volume) / 60 + (0.23 * SPOT_SHARE + volume) / 6)
    assert found.execution_worst == pytest.approx((0.23 + volume) / 60 + (0.23 + volume) / 6)


def test_a_machine_with_a_disk_of_its_own_pays_for_no_volume() -> None:
    line = estimate(environment(job(instance_type="ml.g4dn.xlarge", volume_gb=500)), US, WORK, 1000).execution[0]
    assert line.worst == pytest.approx(0.7364)


instances = st.sampled_from([*CPU_JOB_INSTANCES, *GPU_JOB_INSTANCES])
jobs = st.builds(
    job,
    step=st.sampled_from(["Ingest", "Embed", "Tune", "Train", "Evaluate"]),
    instance_type=instances,
    instance_count=st.integers(1, 20),
    runs=st.integers(1, 100),
    spot=st.booleans(),
    max_seconds=st.integers(60, 400_000),
)


@given(jobs, st.integers(1, 600_000))
def test_spot_never_costs_more_and_the_limit_bounds_everything(some: Job, photos: int) -> None:
    line = estimate(environment(some), US, Workload(photos, 3, 20), 1000).execution[0]
    assert 0 < line.expected <= line.on_demand <= line.worst * (1 + 1e-9)
    if some.spot:
        assert line.expected < line.on_demand


@given(jobs, st.integers(1, 600_000))
def test_more_machines_never_take_longer_and_never_cost_less(some: Job, photos: int) -> None:
    work = Workload(photos, 3, 20)
    more = job(**{**vars(some), "instance_count": some.instance_count + 1})
    one, two = (estimate(environment(item), US, work, 1000).execution[0] for item in (some, more))
    assert two.minutes <= one.minutes
    assert two.expected >= one.expected * (1 - 1e-9)
    assert two.worst > one.worst


@given(st.integers(1, 600_000), st.integers(1, 600_000))
def test_more_photos_never_cost_less(few: int, many: int) -> None:
    few, many = sorted((few, many))
    totals = [estimate(environment(job()), US, Workload(n, 3, 20), 1000).execution_expected for n in (few, many)]
    assert totals[0] <= totals[1]


def test_at_the_break_even_the_endpoint_and_serverless_cost_the_same() -> None:
    endpoint = Endpoint("ml.m5.large", 1, 2, True)
    found = estimate(environment(endpoint=endpoint), US, WORK, traffic=1000)
    assert found.break_even * serverless_count(US) == pytest.approx(24 * 0.115)
    below, above = (
        {way.mode: way.month for way in estimate(environment(endpoint=endpoint), US, WORK, traffic).serving}
        for traffic in (found.break_even * 0.9, found.break_even * 1.1)
    )
    assert below["serverless"] < below["realtime"]
    assert above["serverless"] > above["realtime"]


@pytest.mark.parametrize("name", ["photos", "views", "epochs"])
def test_impossible_work_is_refused(name: str) -> None:
    with pytest.raises(Problem, match=f"--{name} 0"):
        Workload(**{"photos": 1, "views": 1, "epochs": 1, name: 0})


def test_a_missing_price_is_said_not_guessed() -> None:
    with pytest.raises(Problem, match=r"no price for ml\.x9\.large in us-east-1"):
        US.instance_hour("ml.x9.large")
    with pytest.raises(Problem, match="no prices for the region mars-north-1"):
        prices.load("mars-north-1")


def test_old_prices_say_so() -> None:
    assert US.warning(US.read + timedelta(days=prices.MAX_AGE_DAYS)) == ""
    assert "binventory cost --refresh" in US.warning(US.read + timedelta(days=prices.MAX_AGE_DAYS + 1))


def product(usage: str, *amounts: str, unit: str = "Hrs") -> str:
    """A product as GetProducts returns it."""
    dimensions = {str(n): {"unit": unit, "pricePerUnit": {"USD": text}} for n, text in enumerate(amounts)}
    document = {
        "product": {"attributes": {"usagetype": usage, "regionCode": "eu-west-1"}},
        "terms": {"OnDemand": {"term": {"priceDimensions": dimensions}}},
    }
    return json.dumps(document)


@pytest.fixture
def copied_table(tmp_path: Path) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(prices.TABLE.read_text())
    return path


def test_a_refresh_reads_all_pages_and_dates_the_table(copied_table: Path) -> None:
    pricing = boto3.client("pricing", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    first = [product("EU-Train:ml.m5.large", "0.128"), product("EU-Host:ml.m5.large", "0.130")]
    second = [
        product("EU-Processing:ml.c5.xlarge", "0.230"),
        product("EU-Notebk:ml.t3.medium", "0.05"),
        product("EU-Train:ml.m5.xlarge", "9.99", unit="GB-Mo"),
        product("EU-Host:ml.t2.medium", "0.0000"),
    ]
    with Stubber(pricing) as stub:
        stub.add_response("get_products", {"FormatVersion": "aws_v1", "PriceList": first, "NextToken": "more"})
        stub.add_response("get_products", {"FormatVersion": "aws_v1", "PriceList": second})
        today = date(2027, 1, 2)
        assert refresh.refresh(pricing, "eu-west-1", today, copied_table) == 2
    known = prices.load("eu-west-1", copied_table)
    assert known.instance_hour("ml.m5.large") == 0.130, "the highest of training and hosting"
    assert known.instance_hour("ml.c5.xlarge") == 0.230
    assert known.read == today
    with pytest.raises(Problem):
        known.instance_hour("ml.m5.xlarge")
    assert prices.load("us-east-1", copied_table).instance_hour("ml.m5.large") == 0.115


def test_a_refresh_that_finds_nothing_leaves_the_table(copied_table: Path) -> None:
    pricing = boto3.client("pricing", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    before = copied_table.read_text()
    with Stubber(pricing) as stub:
        stub.add_response("get_products", {"FormatVersion": "aws_v1", "PriceList": []})
        with pytest.raises(Problem, match="no SageMaker prices for eu-west-1"):
            refresh.refresh(pricing, "eu-west-1", date(2027, 1, 2), copied_table)
    assert copied_table.read_text() == before


def write_assembly(folder: Path, **changes: Any) -> Path:
    """A cloud assembly as small as one can be: a pipeline with tokens and parameters, an endpoint, alarms, a key."""
    values = {"instance": "ml.m5.xlarge", "state": "off", **changes}
    training = {
        "ResourceConfig": {
            "InstanceType": {"Get": "Parameters.TrainingInstanceType"},
            "InstanceCount": 1,
            "VolumeSizeInGB": 30,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
        "EnableManagedSpotTraining": True,
        "RoleArn": "TOKEN",
    }
    limits = {"MaxNumberOfTrainingJobs": {"Get": "Parameters.TuningJobs"}, "MaxParallelTrainingJobs": 2}
    cluster = {"InstanceType": "ml.c5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 30}
    evaluate = {
        "ProcessingResources": {"ClusterConfig": cluster},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    tune = {
        "HyperParameterTuningJobConfig": {"ResourceLimits": limits},
        "TrainingJobDefinition": training,
    }
    register = {"Name": "Register", "Type": "RegisterModel", "Arguments": {}}
    gate = {"IfSteps": [{"Name": "Evaluate", "Type": "Processing", "Arguments": evaluate}], "ElseSteps": [register]}
    definition = {
        "Parameters": [
            {"Name": "TrainingInstanceType", "Type": "String", "DefaultValue": values["instance"]},
            {"Name": "TuningJobs", "Type": "Integer", "DefaultValue": 7},
            {"Name": "LimitPerClass", "Type": "Integer", "DefaultValue": 100},
        ],
        "Steps": [
            {"Name": "Tune", "Type": "Tuning", "Arguments": tune},
            {"Name": "Gate", "Type": "Condition", "Arguments": gate},
        ],
    }
    before, after = json.dumps(definition).split("TOKEN")
    body = {"Fn::Join": ["", [before, {"Fn::GetAtt": ["Role", "Arn"]}, after]]}
    variant = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    resources = {
        "Pipeline": {
            "Type": "AWS::SageMaker::Pipeline",
            "Properties": {"PipelineDefinition": {"PipelineDefinitionBody": body}},
        },
        "Config": {"Type": "AWS::SageMaker::EndpointConfig", "Properties": {"ProductionVariants": [variant]}},
        "Scaling": {"Type": "AWS::ApplicationAutoScaling::ScalableTarget", "Properties": {"MaxCapacity": 3}},
        "Latency": {"Type": "AWS::CloudWatch::Alarm", "Condition": "On", "Properties": {}},
        "Failures": {"Type": "AWS::CloudWatch::Alarm", "Properties": {}},
        "Key": {"Type": "AWS::KMS::Key", "Properties": {}},
    }
    folder.mkdir()
    parameters = {"EndpointState": {"Type": "String", "Default": values["state"]}}
    (folder / "All.template.json").write_text(json.dumps({"Parameters": parameters, "Resources": resources}))
    stack = {
        "type": "aws:cloudformation:stack",
        "environment": "aws://unknown-account/us-east-1",
        "properties": {"templateFile": "All.template.json", "stackName": "binventory-dev-all"},
    }
    (folder / "manifest.json").write_text(json.dumps({"artifacts": {"All": stack, "Tree": {"type": "cdk:tree"}}}))
    return folder


def test_quantities_come_from_the_templates(tmp_path: Path) -> None:
    read = assembly.read(write_assembly(tmp_path / "out"))
    assert (read.environment, read.region) == ("dev", "us-east-1")
    assert [(item.step, item.instance_type, item.runs, item.spot, item.max_seconds) for item in read.jobs] == [
        ("Tune", "ml.m5.xlarge", 7, True, 3600),
        ("Evaluate", "ml.c5.xlarge", 1, False, 600),
    ]
    assert read.endpoint == Endpoint("ml.m5.large", 1, 3, on_by_default=False)
    assert (read.keys, read.alarms, read.endpoint_alarms, read.dashboards) == (1, 1, 1, 0)
    assert Workload.of(read.parameters, None).photos == 500


def test_the_command_prints_json_and_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write_assembly(tmp_path / "old")
    new = write_assembly(tmp_path / "new", instance="ml.m5.4xlarge")
    assert run(["cost", str(new), "--diff", str(old), "--json"]) == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert said["after"]["totals"]["execution_worst"] > said["before"]["totals"]["execution_worst"]
    assert said["after"]["totals"]["idle_month"] == said["before"]["totals"]["idle_month"]
    assert run(["cost", str(new), "--diff", str(old), "--markdown"]) == Exit.OK
    text = capsys.readouterr().out
    assert "| before | after | difference |" in text
    assert "| A month with the endpoint off | $" in text
    assert text.count("none") == 2, "only the execution changes"


def test_the_command_prints_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", str(write_assembly(tmp_path / "out")), "--traffic", "5000"]) == Exit.OK
    text = capsys.readouterr().out
    for expected in ("us-east-1", "Endpoint", "Tune", "7 spot", "serverless", "batch transform", "notebook way"):
        assert expected in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_folder_that_is_no_assembly_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cost", str(tmp_path)]) == Exit.USAGE
    assert "cdk synth" in capsys.readouterr().err


def test_amounts_read_well() -> None:
    assert [money(amount) for amount in (0, 0.0031, 0.421, 83.95, 1234.5)] == [
        "$0.00",
        "$0.0031",
        "$0.42",
        "$83.95",
        "$1,234.50",
    ]
    assert [difference(amount) for amount in (0.0, 2.0, -0.5)] == ["none", "+$2.00", "-$0.50"]


def test_markdown_without_a_comparison_has_one_column() -> None:
    found = estimate(environment(job()), US, WORK, 1000)
    assert "| | cost |" in markdown(found)
