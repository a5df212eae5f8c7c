"""Each serving mode: read from its template, priced before a deployment and before a start."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from binventory.core.aws import Aws
from binventory.cost import prices, quantities
from binventory.cost.estimate import estimate
from binventory.cost.launch import of_endpoint
from binventory.cost.quantities import BilledEndpoint
from binventory.cost.serving_modes import serverless_count
from binventory.cost.workload import Workload
from tests.conftest import NAMES
from tests.priced import nothing_but

US = prices.load("us-east-1")
WORK = Workload(photos=10_000, views=3, epochs=20)


def serving_template(variant: dict[str, Any], fewest: int | None = None, **properties: Any) -> dict[str, Any]:
    """The serving stack's template in one of the ways to serve."""
    config = {"ProductionVariants": [{"VariantName": "primary", **variant}], **properties}
    resources: dict[str, Any] = {"Config": {"Type": "AWS::SageMaker::EndpointConfig", "Properties": config}}
    if fewest is not None:
        scaling = {"MinCapacity": fewest, "MaxCapacity": 3}
        resources["Scaling"] = {"Type": "AWS::ApplicationAutoScaling::ScalableTarget", "Properties": scaling}
    return {"Parameters": {"EndpointState": {"Default": "off"}}, "Resources": resources}


MACHINE = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
SERVERLESS = serving_template({"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 10}})
ASYNC = serving_template(MACHINE, 0, AsyncInferenceConfig={"OutputConfig": {}})
ASYNC_ALWAYS = serving_template(MACHINE, 1, AsyncInferenceConfig={"OutputConfig": {}})


def test_a_serverless_endpoint_is_priced_by_its_counts() -> None:
    endpoint = quantities.endpoint_of([SERVERLESS])
    assert endpoint == BilledEndpoint("", 0, 0, False, "serverless", memory_gb=2, concurrency=10)
    found = estimate(nothing_but(endpoint=endpoint), US, WORK, traffic=24_000)
    assert found.serving_on[0].dollars == pytest.approx(24_000 * 730 / 24 * serverless_count(US, 2))


def test_an_asynchronous_endpoint_is_priced_by_what_never_goes_away() -> None:
    asleep, awake = quantities.endpoint_of([ASYNC]), quantities.endpoint_of([ASYNC_ALWAYS])
    assert asleep is not None
    assert awake is not None
    assert (asleep.mode, asleep.min_instances, awake.min_instances) == ("async", 0, 1)
    months = [
        estimate(nothing_but(endpoint=endpoint), US, WORK, 100).serving_on[0].dollars for endpoint in (asleep, awake)
    ]
    assert months[0] < months[1] / 10
    assert months[1] == pytest.approx(730 * 0.115)


@pytest.mark.parametrize(
    ("template", "expected", "worst", "said"),
    [
        (serving_template(MACHINE, 1), 730 * 0.115, 3 * 730 * 0.115, "an hour from now on"),
        (ASYNC, 0, 3 * 730 * 0.115, "nothing without requests"),
        (SERVERLESS, 0, 10 * 2 * 0.00002 * 3600 * 730, "by the count"),
    ],
    ids=["realtime", "async", "serverless"],
)
def test_the_launch_screen_of_every_way_to_serve(
    template: dict[str, Any], expected: float, worst: float, said: str
) -> None:
    aws = Aws(boto3.Session(region_name="us-east-1"))
    shown = of_endpoint(template, "on", names=NAMES, aws=aws)
    assert shown.expected == pytest.approx(expected)
    assert shown.worst == pytest.approx(worst)
    assert any(said in note for note in shown.notes)


@pytest.mark.parametrize("template", [SERVERLESS, ASYNC], ids=["serverless", "async"])
def test_the_launch_screen_without_prices_says_unknown(template: dict[str, Any]) -> None:
    shown = of_endpoint(template, "on", names=NAMES, aws=Aws(boto3.Session(region_name="sa-east-1")))
    assert shown.worst is None
    assert any("sa-east-1" in note and "--refresh" in note for note in shown.notes)


@pytest.mark.parametrize("template", [SERVERLESS, ASYNC], ids=["serverless", "async"])
def test_the_launch_screen_says_that_a_price_is_an_estimate(template: dict[str, Any]) -> None:
    shown = of_endpoint(template, "on", names=NAMES, aws=Aws(boto3.Session(region_name="eu-central-1")))
    assert shown.worst is not None and shown.worst > 0
    assert any("is an estimate: us-east-1's, times" in note for note in shown.notes)
