"""Reads prices from the AWS Price List API into the table: prices of instances, and prices by unit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from binventory.core.errors import Problem
from binventory.core.outputs import write_text
from binventory.cost.prices import TABLE, load

SOURCE = "AWS Price List API, on demand, dollars"
# A usage type begins with the region's short name (EU-, APS3-), which us-east-1 may leave out.
_REGION = r"^(?:[A-Z]{2,4}\d?-)?"
_INSTANCE = re.compile(_REGION + r"(?:Train|Host|Processing|Tsform|AsyncInf):(?P<instance>ml\.[a-z0-9]+\.[a-z0-9]+)$")
_HOURS = frozenset({"hrs", "hours", "hour"})


@dataclass(frozen=True)
class Unit:
    """A price by unit, and its name in the Price List."""

    name: str
    service: str
    usage: re.Pattern[str]
    unit: str
    filters: tuple[tuple[str, str], ...] = ()


UNITS = (
    Unit("volume_gb_month", "AmazonSageMaker", re.compile(_REGION + r"Train:VolumeUsage\.gp2$"), "GB-Mo"),
    Unit("s3_gb_month", "AmazonS3", re.compile(_REGION + "TimedStorage-ByteHrs$"), "GB-Mo"),
    Unit("s3_infrequent_gb_month", "AmazonS3", re.compile(_REGION + "TimedStorage-SIA-ByteHrs$"), "GB-Mo"),
    Unit("registry_gb_month", "AmazonECR", re.compile(_REGION + "TimedStorage-ByteHrs$"), "GB-Mo"),
    Unit("log_gb_written", "AmazonCloudWatch", re.compile(_REGION + "DataProcessing-Bytes$"), "GB"),
    Unit("log_gb_stored_month", "AmazonCloudWatch", re.compile(_REGION + "TimedStorage-ByteHrs$"), "GB-Mo"),
    Unit(
        "ebs_gb_month",
        "AmazonEC2",
        re.compile(_REGION + r"EBS:VolumeUsage\.gp3$"),
        "GB-Mo",
        (("productFamily", "Storage"), ("volumeApiName", "gp3")),
    ),
    Unit(
        "ebs_snapshot_gb_month",
        "AmazonEC2",
        re.compile(_REGION + "EBS:SnapshotUsage$"),
        "GB-Mo",
        (("productFamily", "Storage Snapshot"),),
    ),
    Unit(
        "interface_endpoint_hour",
        "AmazonVPC",
        re.compile(_REGION + "VpcEndpoint-Hours$"),
        "Hrs",
        (("productFamily", "VpcEndpoint"),),
    ),
)
# What the table holds and no rule above finds: a refresh keeps it with its old date, and says so.
UNREAD = ("serverless_gb_second", "serverless_gb_processed", "nat_gateway_hour")


@dataclass(frozen=True)
class Refreshed:
    """The prices that a refresh found, and those that it did not."""

    instances: int
    units: tuple[str, ...]
    kept: tuple[str, ...]  # prices that stay as they were, with their old date
    estimated: tuple[str, ...]  # prices that the table now estimates from the region's EC2 prices
    unknown: tuple[str, ...]  # prices that the region does not have at all


def instance_prices(products: Iterable[str]) -> dict[str, float]:
    """Dollars an hour by instance type, from the JSON documents of GetProducts.

    Where training, processing and hosting differ, the highest counts: an estimate must not be too low.
    """
    prices: dict[str, float] = {}
    for usage, unit, dollars in _on_demand(products):
        match = _INSTANCE.match(usage)
        if match and unit in _HOURS:
            prices[match["instance"]] = max(dollars, prices.get(match["instance"], 0.0))
    return prices


def unit_price(wanted: Unit, products: Iterable[str]) -> float | None:
    """Dollars a unit; the first and dearest tier where a price falls with the quantity."""
    found = [
        dollars
        for usage, unit, dollars in _on_demand(products)
        if wanted.usage.match(usage) and unit == wanted.unit.lower()
    ]
    return max(found, default=None)


def refresh(pricing: Any, region: str, today: date, table: Path = TABLE) -> Refreshed:
    """Writes a region's prices into the table and dates them. `pricing` is a boto3 client.

    Raises:
        Problem: the API holds no instance of the region; the table stays as it was.
    """
    instances = instance_prices(_products(pricing, "AmazonSageMaker", region))
    if not instances:
        raise Problem(
            f"The AWS Price List holds no SageMaker prices for {region}",
            "it answered without an error, but without an instance",
            "check the name of the region",
        )
    document = json.loads(table.read_text())
    before = document["regions"].get(region, {})
    units = {
        wanted.name: price
        for wanted in UNITS
        if (price := unit_price(wanted, _products(pricing, wanted.service, region, dict(wanted.filters)))) is not None
    }
    machines = _ec2(
        pricing, region, sorted({name for item in document["regions"].values() for name in item["ec2_hour"]})
    )
    kept = _kept(before, {*units, *instances, *machines})
    document["regions"][region] = {
        **{name: value for name, value in before.items() if name in kept},
        "read": today.isoformat(),
        "source": SOURCE,
        "kept": kept,
        "estimated": {name: how for name, how in before.get("estimated", {}).items() if name not in instances},
        "instance_hour": dict(sorted({**before.get("instance_hour", {}), **instances}.items())),
        "ec2_hour": {**before.get("ec2_hour", {}), **machines},
        **units,
    }
    document["regions"] = dict(sorted(document["regions"].items(), key=lambda item: (item[0] != "us-east-1", item[0])))
    write_text(table, json.dumps(document, indent=2) + "\n")
    load.cache_clear()
    missing = {*(unit.name for unit in UNITS), *UNREAD} - set(units) - set(kept)
    now = load(region, table)
    estimated = {name for name in missing if now.estimated(name)}
    return Refreshed(
        len(instances),
        units=tuple(sorted(units)),
        kept=tuple(sorted(kept)),
        estimated=tuple(sorted(estimated)),
        unknown=tuple(sorted(missing - estimated)),
    )


def _kept(before: Mapping[str, Any], found: set[str]) -> dict[str, str]:
    """The prices that were known and were not found now, with the date on which they were read."""
    old = before.get("kept", {})
    names = {
        *(name for name, value in before.items() if isinstance(value, int | float)),
        *before.get("instance_hour", {}),
        *before.get("ec2_hour", {}),
    }
    return {name: old.get(name, before["read"]) for name in sorted(names - found)}


def _ec2(pricing: Any, region: str, instance_types: Iterable[str]) -> dict[str, float]:
    """Dollars an hour of plain Linux instances, for training on EC2."""
    found = {}
    for name in instance_types:
        usage = re.compile(_REGION + "BoxUsage:" + re.escape(name) + "$")
        plain = {"operatingSystem": "Linux", "preInstalledSw": "NA", "tenancy": "Shared", "capacitystatus": "Used"}
        products = _products(pricing, "AmazonEC2", region, {"instanceType": name, **plain})
        price = unit_price(Unit(name, "AmazonEC2", usage, "Hrs"), products)
        if price is not None:
            found[name] = price
    return found


def _products(pricing: Any, service: str, region: str, filters: Mapping[str, str] | None = None) -> Iterator[str]:
    wanted = {"regionCode": region, **(filters or {})}
    pages = pricing.get_paginator("get_products").paginate(
        ServiceCode=service,
        FormatVersion="aws_v1",
        Filters=[{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()],
    )
    for page in pages:
        yield from page["PriceList"]


def _on_demand(products: Iterable[str]) -> Iterator[tuple[str, str, float]]:
    """Usage type, unit in small letters, and dollars of every price that is above nothing."""
    for text in products:
        document: dict[str, Any] = json.loads(text)
        usage = str(document["product"]["attributes"].get("usagetype", ""))
        for term in document.get("terms", {}).get("OnDemand", {}).values():
            for dimension in term["priceDimensions"].values():
                dollars = float(dimension["pricePerUnit"].get("USD", 0))
                if dollars > 0:
                    yield usage, dimension["unit"].lower(), dollars
