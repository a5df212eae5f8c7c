"""Reads instance prices from the AWS Price List API into the table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from binventory.cost.prices import TABLE, load
from binventory.errors import Problem

# For example USE1-Train:ml.m5.large; us-east-1's own usage types may lack the prefix.
_USAGE = re.compile(r"^(?:[A-Z0-9]+-)?(?:Train|Host|Processing):(?P<instance>ml\.[a-z0-9]+\.[a-z0-9]+)$")


def instance_prices(products: Iterable[str]) -> dict[str, float]:
    """Dollars an hour by instance type, from the JSON documents of GetProducts.

    Where training, processing and hosting differ, the highest counts: an estimate must not be too low.
    """
    prices: dict[str, float] = {}
    for text in products:
        document = json.loads(text)
        match = _USAGE.match(document["product"]["attributes"].get("usagetype", ""))
        if match is None:
            continue
        for price in _hourly(document):
            prices[match["instance"]] = max(price, prices.get(match["instance"], 0.0))
    return prices


def _hourly(document: dict[str, Any]) -> Iterator[float]:
    for term in document.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            dollars = float(dimension["pricePerUnit"].get("USD", 0))
            if dimension["unit"].lower() in {"hrs", "hours", "hour"} and dollars > 0:
                yield dollars


def refresh(pricing: Any, region: str, today: date, table: Path = TABLE) -> int:
    """Writes a region's instance prices into the table and dates it; returns how many. `pricing` is a boto3 client."""
    pages = pricing.get_paginator("get_products").paginate(
        ServiceCode="AmazonSageMaker",
        FormatVersion="aws_v1",
        Filters=[{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}],
    )
    found = instance_prices(text for page in pages for text in page["PriceList"])
    if not found:
        raise Problem(
            f"The AWS Price List holds no SageMaker prices for {region}",
            "it answered without an error, but without an instance",
            "check the name of the region",
        )
    document = json.loads(table.read_text())
    regions = document["regions"]
    # Units other than instances are close to equal in all regions; a new region starts with the first one's.
    values = regions.setdefault(region, {**next(iter(regions.values())), "instance_hour": {}})
    values["instance_hour"] = dict(sorted({**values["instance_hour"], **found}.items()))
    document["read"] = today.isoformat()
    document["source"] = "AWS Price List API, service AmazonSageMaker, on demand, dollars"
    table.write_text(json.dumps(document, indent=2) + "\n")
    load.cache_clear()
    return len(found)
