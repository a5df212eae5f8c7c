"""The cheapest mode of serving is recommended at the traffic seen, with the setting that takes it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from binventory.core.aws import Aws
from binventory.cost import prices, text, traffic
from binventory.cost.estimate import estimate
from binventory.cost.quantities import BilledEndpoint
from binventory.cost.serving_advice import advise
from binventory.cost.serving_modes import modes, serverless_count
from binventory.cost.workload import Workload
from binventory.doctor.serving import examine_mode
from stacks.settings.serving import ServerlessSettings, ServingSettings
from tests.conftest import NAMES
from tests.priced import nothing_but

US = prices.load("us-east-1")
REALTIME = BilledEndpoint("ml.m5.large", 1, 3, on_by_default=True)
SERVERLESS = BilledEndpoint("", 0, 0, on_by_default=True, mode="serverless", memory_gb=3.0, concurrency=10)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Account:
    """An account with a serving stack and calls a day; a stand-in for `Aws`."""

    region = "us-east-1"

    def __init__(self, *calls: float, stack: bool = True, metric: tuple[str, str] = ("Invocations", "Sum")) -> None:
        self.calls = calls
        self.metric = metric
        self.stack = stack
        self.asked: dict[str, Any] = {}

    def client(self, service: str) -> Account:
        return self

    def get_template(self, **request: str) -> dict[str, Any]:
        if not self.stack:
            error = {"Error": {"Code": "ValidationError", "Message": f"{request['StackName']} does not exist"}}
            raise ClientError(error, "GetTemplate")  # type: ignore[arg-type]
        variant = {"VariantName": "primary", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        config = {"Type": "AWS::SageMaker::EndpointConfig", "Properties": {"ProductionVariants": [variant]}}
        return {"TemplateBody": json.dumps({"Resources": {"Config": config}})}

    def get_metric_statistics(self, **request: Any) -> dict[str, Any]:
        self.asked = request
        name, statistic = self.metric
        if (request["MetricName"], request["Statistics"]) != (name, [statistic]):
            return {"Datapoints": []}
        days = range(len(self.calls), 0, -1)
        points = zip(days, self.calls, strict=True)
        return {"Datapoints": [{"Timestamp": NOW - timedelta(days=day), statistic: calls} for day, calls in points]}


def test_serverless_is_compared_with_the_memory_that_the_setting_has_by_default() -> None:
    ways = {way.name: way for way in modes(REALTIME, None, US)}
    gigabytes = ServerlessSettings().memory_mb / 1024
    assert ways["serverless"].note.startswith(f"{gigabytes:g} GB")
    assert ways["serverless"].per_count == serverless_count(US, gigabytes)


def test_little_traffic_is_served_cheapest_without_machines() -> None:
    found = advise(REALTIME, US, 10_000)
    assert found is not None and found.change
    assert (found.mode, found.best) == ("realtime", "serverless")
    assert found.month == pytest.approx(0.115 * 730)
    assert found.best_month < 0.05 * found.month
    assert found.cure("dev").startswith("serving.mode: serverless in settings/dev.yaml")
    assert "data_capture_percent: 0" in found.cure("dev")


def test_much_traffic_is_served_cheapest_by_machines() -> None:
    found = advise(SERVERLESS, US, 3_000_000)
    assert found is not None and found.change
    assert found.best == "realtime"


def test_nothing_is_recommended_that_saves_little() -> None:
    found = advise(SERVERLESS, US, 100)
    assert found is not None and not found.change
    assert found.cure("dev") == "" and "no other mode is much cheaper" in found.compared


def test_every_mode_that_is_recommended_can_be_set() -> None:
    named = {found.best for counts in (1, 10_000, 3_000_000) if (found := advise(REALTIME, US, counts)) is not None}
    assert named <= set(ServingSettings.model_fields["mode"].annotation.__args__)  # type: ignore[union-attr]


def test_the_estimate_recommends_it_at_its_traffic() -> None:
    found = estimate(nothing_but(endpoint=REALTIME), US, Workload(1000, 1, 1), 10_000)
    (note,) = text.notes(found)
    assert note.startswith("At 10,000 counts a day serverless costs") and "serving.mode: serverless" in note
    assert text.to_json(found)["advice"]["best"] == "serverless"


@pytest.mark.parametrize(("calls", "a_day"), [((70.0, 0.0, 30.0), 100 / 3), ((50.0,), 50)])
@pytest.mark.parametrize("metric", [("Invocations", "Sum"), ("ModelLatency", "SampleCount")], ids=["", "asynchronous"])
def test_the_traffic_seen_counts_from_the_first_call(
    calls: tuple[float, ...], a_day: float, metric: tuple[str, str]
) -> None:
    """An asynchronous endpoint publishes no Invocations."""
    account: Any = Account(*calls, metric=metric)
    found = traffic.seen(account, "binventory-dev", "primary", NOW)
    assert found is not None and found.a_day == pytest.approx(a_day)
    assert account.asked["EndTime"] - account.asked["StartTime"] == timedelta(days=traffic.DAYS)
    assert {"Name": "EndpointName", "Value": "binventory-dev"} in account.asked["Dimensions"]


def test_the_doctor_recommends_it_without_failing() -> None:
    account: Any = Account(100.0, 100.0)
    check = examine_mode(account, NAMES)
    assert check.state == "unknown", "it is advice: nothing is missing"
    assert "serverless costs" in check.found and "serving.mode: serverless" in check.cure


@pytest.mark.parametrize("account", [Account(), Account(stack=False)], ids=["no call", "no stack"])
def test_the_doctor_has_nothing_to_compare(account: Aws) -> None:
    check = examine_mode(account, NAMES)
    assert check.state == "good" and check.cure == ""
