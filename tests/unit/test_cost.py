"""Costs: worked examples, properties, quantities from a synthesized shape, and dated prices."""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binventory.core.errors import Problem
from binventory.cost import prices, quantities
from binventory.cost.alternatives import alternatives, seed_way
from binventory.cost.amounts import difference, money
from binventory.cost.estimate import estimate
from binventory.cost.growth import month, stored_gb
from binventory.cost.jobs import Job
from binventory.cost.lines import SPOT_SHARE, step_line
from binventory.cost.machines import machine
from binventory.cost.quantities import BatchMachines, BilledEndpoint, Quantities
from binventory.cost.serving_modes import break_evens, modes, serverless_count
from binventory.cost.text import markdown
from binventory.cost.workload import HOURS_A_MONTH, JOB_OVERHEAD_SECONDS, Workload, seconds
from stacks.settings.instances import (
    CPU_JOB_INSTANCES,
    EC2_INSTANCES,
    GPU_JOB_INSTANCES,
    SERVING_INSTANCES,
    BatchInstance,
)
from tests.conftest import REPOSITORY
from tests.priced import nothing_but

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


def environment(*jobs: Job, endpoint: BilledEndpoint | None = None) -> Quantities:
    """An environment with these jobs."""
    return nothing_but(
        jobs=jobs,
        endpoint=endpoint,
        keys=1,
        alarms=2,
        endpoint_alarms=3,
        dashboards=1,
        metrics=4,
        endpoint_metrics=11,
        interface_endpoints=2,
        nat_gateways=1,
    )


ALLOWED = {*CPU_JOB_INSTANCES, *GPU_JOB_INSTANCES, *SERVING_INSTANCES, *get_args(BatchInstance)}


@pytest.mark.parametrize("instance", sorted(ALLOWED))
def test_every_instance_that_the_settings_allow_has_a_price_and_a_speed(instance: str) -> None:
    assert 0 < US.instance_hour(instance) < 50
    assert seconds("Embed", instance, 1, WORK) > JOB_OVERHEAD_SECONDS


@pytest.mark.parametrize("instance", EC2_INSTANCES)
def test_every_ec2_machine_that_the_settings_allow_is_cheaper_than_the_same_at_sagemaker(instance: str) -> None:
    assert 0 < US.ec2_hour(instance) < US.instance_hour(f"ml.{instance}")


@pytest.mark.parametrize("instance", [*CPU_JOB_INSTANCES, *GPU_JOB_INSTANCES])
def test_the_processor_is_read_from_the_family(instance: str) -> None:
    assert bool(machine(instance).gpus) == (instance in GPU_JOB_INSTANCES)


def test_a_hand_worked_month() -> None:
    found = estimate(environment(endpoint=BilledEndpoint("ml.m5.large", 2, 4, False)), US, WORK, traffic=1000)
    assert found.serving_month == pytest.approx(2 * 0.115 * 730 + 3 * 0.10 + 11 * 0.30)
    # 0.3 GB of shards, 0.2788 GB of features (3.4 of 8.2 kB: each photo, and three views of eight in ten),
    # 0.2 GB of models, 0.6 GB of image, 1 GB of logs, which is written and stored;
    # a key, 2 alarms, 4 metrics, a dashboard;
    # two endpoints of a network and a gateway by the hour
    stored = 0.7788 * 0.023 + 0.6 * 0.1 + 0.5 + 0.03
    assert found.idle_month == pytest.approx(stored + 1 + 0.2 + 4 * 0.3 + 3 + (2 * 0.01 + 0.045) * 730)


def test_the_server_publishes_as_many_metrics_as_are_priced() -> None:
    source = (REPOSITORY / "inference_code/serving/telemetry.py").read_text()
    (units,) = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign | ast.Assign) and "_UNITS" in ast.unparse(node).split("=")[0]
    ]
    assert isinstance(units, ast.Dict)
    assert len(units.keys) == quantities.ENDPOINT_METRICS


def test_a_hand_worked_execution() -> None:
    slow = job(step="Evaluate", max_seconds=60)  # its limit cuts it to a minute
    tune = job(step="Tune", runs=5, spot=True, max_seconds=120)
    volume = 30 * 0.14 / HOURS_A_MONTH
    found = estimate(environment(slow, tune), US, WORK, traffic=1000)
    assert [line.on_demand for line in found.execution] == pytest.approx([(0.23 + volume) / 60, (0.23 + volume) / 6])
    # Spot lowers the instance's price; the volume's stays.
    assert found.execution_expected == pytest.approx((0.23 + volume) / 60 + (0.23 * SPOT_SHARE + volume) / 6)
    assert found.execution_worst == pytest.approx((0.23 + volume) / 60 + (0.23 + volume) / 6)


def test_a_job_that_needs_more_than_its_limit_is_a_warning() -> None:
    short, long = (job(step="Embed", max_seconds=limit) for limit in (60, 360_000))
    line = step_line(short, US, WORK)
    assert line.too_short
    assert line.minutes == 1, "it is stopped then, and costs no more"
    (note,) = estimate(environment(short), US, WORK, 1000).notes
    assert "Embed" in note
    assert "max_runtime_minutes" in note
    assert not step_line(long, US, WORK).too_short
    assert estimate(environment(long), US, WORK, 1000).notes == ()


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


@given(
    st.sampled_from(SERVING_INSTANCES),
    st.integers(1, 5),
    st.one_of(st.none(), st.builds(BatchMachines, instances, st.integers(1, 5))),
)
def test_at_a_break_even_two_ways_cost_the_same_and_change_places_there(
    name: str, fewest: int, batch: BatchMachines | None
) -> None:
    ways = {way.name: way for way in modes(BilledEndpoint(name, fewest, 9, True), batch, US)}
    for even in break_evens(tuple(ways.values())):
        below, above = ways[even.below], ways[even.above]
        assert below.day(even.counts_a_day) == pytest.approx(above.day(even.counts_a_day))
        assert below.day(even.counts_a_day * 0.9) < above.day(even.counts_a_day * 0.9)
        assert below.day(even.counts_a_day * 0.99) - above.day(even.counts_a_day * 0.99) < 1e-9


def test_a_hand_worked_break_even_of_the_endpoint_and_serverless() -> None:
    found = estimate(environment(endpoint=BilledEndpoint("ml.m5.large", 1, 2, True)), US, WORK, traffic=1000)
    (even,) = [e.counts_a_day for e in found.break_evens if (e.below, e.above) == ("serverless", "realtime")]
    assert even * serverless_count(US) == pytest.approx(24 * 0.115)


@given(st.sampled_from(SERVING_INSTANCES), st.floats(1, 1e8), st.floats(1, 1e8))
def test_more_counts_never_cost_less(name: str, few: float, many: float) -> None:
    few, many = sorted((few, many))
    for way in modes(BilledEndpoint(name, 1, 9, True), None, US):
        assert way.day(few) <= way.day(many) * (1 + 1e-12)


def test_a_thousand_counts_of_an_endpoint_are_its_day_shared_among_them() -> None:
    found = estimate(environment(endpoint=BilledEndpoint("ml.m5.large", 1, 2, True)), US, WORK, traffic=5000)
    realtime = {line.mode: line for line in found.serving}["realtime"]
    assert realtime.per_thousand == pytest.approx(24 * 0.115 / 5)
    assert realtime.month == pytest.approx(730 * 0.115)


@given(jobs, st.integers(1, 600_000))
def test_the_alternatives_keep_their_order(some: Job, photos: int) -> None:
    work = Workload(photos, 3, 20)
    on_demand, spot, ec2 = alternatives([replace(some, step="Train")], US, work)
    assert spot.dollars < on_demand.dollars
    assert ec2.dollars > 0
    assert alternatives([replace(some, step="Ingest")], US, work) == ()


def test_a_hand_worked_month_of_executions() -> None:
    slow = job(step="Evaluate", max_seconds=3600, volume_gb=0)
    one = step_line(slow, US, WORK).expected
    gb, dollars = month(environment(slow), US, WORK, executions=4)
    # 0.5788 GB an execution expire after 30 days; 0.2 GB of models an execution stay for a year, in a cheaper class.
    data, models = 4 * 0.5788 * 30 / (730 / 24), 4 * 12 * 0.2
    assert gb == pytest.approx(data + models)
    assert dollars == pytest.approx(4 * one + data * 0.023 + models * 0.0125)


@given(jobs, st.integers(1, 300_000), st.integers(0, 300_000), st.integers(1, 60), st.integers(0, 60))
def test_more_photos_or_executions_never_make_a_month_cheaper(
    some: Job, photos: int, more_photos: int, times: int, more_times: int
) -> None:
    _, less = month(environment(some), US, Workload(photos, 3, 20), times)
    _, more = month(environment(some), US, Workload(photos + more_photos, 3, 20), times + more_times)
    assert less <= more * (1 + 1e-12)


def test_the_notebook_way_worked_by_hand() -> None:
    tuning, training, again, ec2, endpoint = seed_way(US)
    assert tuning.expected == pytest.approx(5 * 7 / 60 * 0.461)
    assert training.expected == pytest.approx(4 * 0.461)
    assert again.expected == pytest.approx(2 * 0.204)
    assert ec2.expected == pytest.approx(0.3328 * SPOT_SHARE)
    assert endpoint.expected == pytest.approx(730 * 0.115)


@pytest.mark.parametrize(("name", "least"), [("photos", 1), ("views", 0), ("epochs", 1)])
def test_impossible_work_is_refused(name: str, least: int) -> None:
    sizes: dict[str, Any] = {"photos": 1, "views": 1, "epochs": 1}
    Workload(**{**sizes, name: least})
    with pytest.raises(Problem, match=f"--{name} {least - 1}"):
        Workload(**{**sizes, name: least - 1})


def test_a_fine_tuned_network_costs_what_its_epochs_take_and_writes_no_features() -> None:
    """4 photos a second and vCPU: a step is three forward passes, of which a vCPU makes twelve a second."""
    work = Workload.of({"Strategy": "full", "Views": 3, "Epochs": 20}, 10_000, 224)
    overhead = JOB_OVERHEAD_SECONDS
    for step in ("Tune", "Train"):
        assert seconds(step, "ml.m5.xlarge", 1, work) == pytest.approx(overhead + 10_000 * 0.8 * 20 / (4 * 4))
        assert seconds(step, "ml.g4dn.xlarge", 2, work) == pytest.approx(overhead + 10_000 * 0.8 * 20 / (2 * 300))
    assert seconds("Embed", "ml.m5.xlarge", 1, work) == overhead, "it only says so"
    line = step_line(job(), US, work)
    assert line.too_short and "Train is expected to need 169 minutes and is stopped after 60" in line.too_short_note
    assert stored_gb(work) == pytest.approx(10_000 * 30e-6 + 0.2), "shards and a model"
    assert Workload.of({"Strategy": "head", "Views": 3, "Epochs": 20}, 10_000, 224) == WORK


def test_every_view_is_another_pass_of_the_backbone_over_the_training_split() -> None:
    once, twice = (seconds("Embed", "ml.c5.4xlarge", 1, Workload(100_000, views, 1)) for views in (0, 1))
    assert (twice - JOB_OVERHEAD_SECONDS) / (once - JOB_OVERHEAD_SECONDS) == pytest.approx(1.8)


def test_a_missing_price_is_reported_not_guessed() -> None:
    with pytest.raises(Problem, match=r"no price for ml\.x9\.large in us-east-1"):
        US.instance_hour("ml.x9.large")
    with pytest.raises(Problem, match="no prices for the region mars-north-1"):
        prices.load("mars-north-1")


def test_old_prices_say_so() -> None:
    assert US.warning(US.read + timedelta(days=prices.MAX_AGE_DAYS)) == ""
    assert "binventory cost --refresh" in US.warning(US.read + timedelta(days=prices.MAX_AGE_DAYS + 1))
    ireland = prices.load("eu-west-1")
    assert ireland.instance_hour("ml.m5.xlarge") > US.instance_hour("ml.m5.xlarge")
    assert "2023" in ireland.warning(US.read), "each region has its date"


def test_an_estimated_price_is_marked_as_one() -> None:
    found = estimate(environment(job(instance_type="ml.m7i.xlarge"), job()), US, WORK, 1000)
    (note,) = found.notes
    assert "ml.m7i.xlarge is an estimate" in note


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
