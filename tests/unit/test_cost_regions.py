"""The prices of every region that the settings allow: read, or estimated from EC2 prices and marked as that."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from binventory.core.errors import Problem
from binventory.cost import prices, refresh
from binventory.cost.estimating import estimate
from stacks.settings.instances import CPU_JOB_INSTANCES, REGIONS, SERVING_INSTANCES, BatchInstance

WITHOUT_A_SOURCE = {"sa-east-1"}
PRICED = sorted(set(REGIONS) - WITHOUT_A_SOURCE)
UNITS = (*(unit.name for unit in refresh.UNITS), *refresh.UNREAD)
US = prices.load("us-east-1")


@pytest.mark.parametrize("region", PRICED)
def test_every_allowed_region_prices_every_type_without_a_gpu(region: str) -> None:
    known = prices.load(region)
    for name in {*CPU_JOB_INSTANCES, *SERVING_INSTANCES, *get_args(BatchInstance)}:
        assert 0.9 * US.instance_hour(name) < known.instance_hour(name) < 1.5 * US.instance_hour(name), name
    for name in UNITS:
        assert 0.9 * US.unit(name) < known.unit(name) < 1.5 * US.unit(name), name
    assert known.source and known.read


def test_the_region_without_a_source_has_no_price() -> None:
    for region in WITHOUT_A_SOURCE:
        with pytest.raises(Problem, match="no prices for the region"):
            prices.load(region)


@pytest.mark.parametrize("region", sorted(set(PRICED) - {"us-east-1"}))
def test_what_was_not_read_is_marked(region: str) -> None:
    known = prices.load(region)
    rows = json.loads(prices.TABLE.read_text())["regions"][region]
    for name in (*CPU_JOB_INSTANCES, *UNITS):
        read = name in rows["instance_hour"] or name in rows
        assert bool(known.estimated(name)) is not read, name


def test_estimates_are_close_to_what_was_read() -> None:
    document = json.loads(prices.TABLE.read_text())["regions"]
    compared = 0
    for region in ("ap-south-1", "eu-west-1"):
        for name, dollars in document[region]["instance_hour"].items():
            found = estimate(document[region], document["us-east-1"], "instance_hour", name)
            if found is not None:
                compared += 1
                assert found.dollars == pytest.approx(dollars, rel=0.03), (region, name)
        for name in UNITS:
            found = estimate(document[region], document["us-east-1"], "", name)
            if found is not None and name in document[region]:
                compared += 1
                # Some units cost the same everywhere: data processed, snapshots.
                assert found.dollars == pytest.approx(document[region][name], rel=0.12), (region, name)
    assert compared >= 10


def test_a_gpu_is_estimated_from_its_family_only() -> None:
    frankfurt = prices.load("eu-central-1")
    with pytest.raises(Problem, match=r"no price for ml\.g4dn\.xlarge in eu-central-1"):
        frankfurt.instance_hour("ml.g4dn.xlarge")
    assert frankfurt.instance_hour("ml.g5.xlarge") == pytest.approx(1.408 * 7.09282 / 5.672, rel=1e-3)
    assert "g5.12xlarge" in frankfurt.estimated("ml.g5.xlarge")
    india = prices.load("ap-south-1")
    assert india.instance_hour("ml.g4dn.2xlarge") == pytest.approx(0.94 * 0.828 / 0.752, rel=1e-3)
    assert "g4dn.2xlarge" in india.estimated("ml.g4dn.2xlarge")
    assert india.estimated("ml.g5.xlarge") == "", "this one was read"


def test_nothing_is_estimated_in_us_east_1() -> None:
    with pytest.raises(Problem):
        US.instance_hour("ml.x9.large")
    with pytest.raises(Problem):
        US.unit("no_such_unit")
