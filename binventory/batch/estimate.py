"""Estimates how long counting a prefix takes and what it costs, before it starts."""

from __future__ import annotations

import math
from typing import Final

from binventory.batch.site import Site
from binventory.core.errors import Problem
from binventory.core.words import counted
from binventory.cost import prices
from binventory.cost.launch import LOCAL_NOTE, Charge, Launch
from binventory.cost.machines import machine
from binventory.cost.workload import JOB_OVERHEAD_SECONDS, SERVE_RATE

PHOTOS_A_JOB: Final = 20_000
"""Large enough that a job's start costs little, small enough that an interruption loses little."""
_PATIENCE: Final = 4.0
_LEAST_LIMIT_SECONDS: Final = 30 * 60.0


def job_seconds(photos: int, site: Site) -> float:
    """Expected seconds that the machines of one job are paid for."""
    rate = SERVE_RATE * machine(site.instance_type).vcpus * site.instance_count
    return JOB_OVERHEAD_SECONDS + photos / rate


def limit_seconds(photos: int, site: Site) -> float:
    """When the client stops a job that does not end: SageMaker itself would let it run."""
    return max(_LEAST_LIMIT_SECONDS, _PATIENCE * job_seconds(photos, site))


def launch(photos: int, site: Site, *, region: str, local: bool) -> Launch:
    """The launch screen of counting so many photos."""
    jobs = max(1, math.ceil(photos / PHOTOS_A_JOB))
    sizes = [min(PHOTOS_A_JOB, photos - index * PHOTOS_A_JOB) for index in range(jobs)]
    expected = sum(job_seconds(size, site) for size in sizes)
    at_most = sum(limit_seconds(size, site) for size in sizes)
    hour = _hourly(site, region)
    requests = prices.s3_requests(gets=2 * photos, puts=photos, lists=photos / 500)
    number = "" if jobs == 1 else f"{jobs} x "
    charges = (
        Charge(
            name="Transform job" if jobs == 1 else "Transform jobs",
            choice=f"{number}{site.instance_count} x {site.instance_type}, on demand",
            limit=f"{at_most / 60:,.0f} min",
            expected=None if hour is None else hour * expected / 3600,
            worst=None if hour is None else hour * at_most / 3600,
        ),
        Charge("S3 requests", "photos read, answers written and read", "", requests, requests),
    )
    notes = (
        f"{counted(photos, 'photo')}, about {expected / 60:,.0f} minutes, with {site.package.rpartition(':')[2]}.",
        "At worst every job is stopped at its limit. Ctrl-C stops the running one.",
    )
    return Launch(f"Count {counted(photos, 'photo')}", "once", charges, notes + ((LOCAL_NOTE,) if local else ()))


def _hourly(site: Site, region: str) -> float | None:
    try:
        return prices.load(region).instance_hour(site.instance_type) * site.instance_count
    except Problem:
        return None
