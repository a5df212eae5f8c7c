"""The launch screen of a run on EC2."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from binventory.core.aws import Aws
from binventory.core.errors import Problem
from binventory.core.known_photos import KnownPhotos
from binventory.core.names import Names
from binventory.cost import prices
from binventory.cost.launch import LOCAL_NOTE, Charge, Launch
from binventory.cost.lines import SPOT_SHARE
from binventory.cost.workload import HOURS_A_MONTH, expected_for, seconds
from binventory.ec2.plan import Place
from stacks.names import EMBED, EVALUATE, TRAIN

_STEPS = (EMBED, TRAIN, EVALUATE)


def launch(
    aws: Aws, names: Names, where: Place, run: str, values: Mapping[str, Any], photos: KnownPhotos, input_size: int
) -> Launch:
    """Expected for the pipeline's workload at the usual share of the on-demand price; at worst its limit, on demand."""
    workload, expected = expected_for(values, photos, input_size)
    hours = sum(seconds(step, where.instance_type, 1, workload) for step in _STEPS) / 3600
    limit = where.max_minutes / 60
    notes = [f"{expected}. It ends itself, also when it fails or hangs."]
    if hours > limit:
        notes.append(
            f"It is expected to need {60 * hours:,.0f} minutes and is ended after {where.max_minutes}: "
            "raise ec2.max_runtime_minutes, or take a larger ec2.instance_type."
        )
    hourly = _hourly(aws.region, where)
    on_spot, on_demand, said = hourly or (0.0, 0.0, ())
    charge = Charge(
        name="Machine",
        choice=f"1 x {where.instance_type}, spot",
        limit=f"{where.max_minutes} min",
        expected=min(hours, limit) * on_spot if hourly else None,
        worst=limit * on_demand if hourly else None,
    )
    if not hourly:
        notes.append(
            f"There is no price for {where.instance_type} in {aws.region}. To read it: "
            f"binventory cost --refresh --region {aws.region}"
        )
    return Launch(
        f"One run on EC2 spot: {run}",
        "once",
        (charge,),
        (*notes, *said, *((LOCAL_NOTE,) if aws.is_local else ())),
        (
            ("how it stands", names.command(f"train --on ec2 --watch {run}")),
            ("continue after a reclaim", names.command(f"train --on ec2 --resume {run}")),
            ("end it now", names.command(f"stop {run}")),
        ),
    )


def _hourly(region: str, where: Place) -> tuple[float, float, tuple[str, ...]] | None:
    """Dollars an hour on spot and on demand, and notes on the prices; None where the table lacks one.

    Spot makes neither the disk nor CPU credits cheaper.
    """
    try:
        table = prices.load(region)
        warning = table.warning(date.today())
        hour = table.ec2_hour(where.instance_type)
        disk = where.volume_gb * table.unit("ebs_gb_month") / HOURS_A_MONTH
        burst = table.credits_hour(where.instance_type)
        said = (_credits_note(where.instance_type, burst),) if burst else ()
        beside = disk + burst
        return hour * SPOT_SHARE + beside, hour + beside, (*said, *((warning,) if warning else ()))
    except Problem:
        return None


def _credits_note(instance_type: str, burst: float) -> str:
    return (
        f"${burst:.2f} an hour of it are CPU credits: the price of {instance_type} holds only a share of its "
        "processors, on spot too. m5.2xlarge has as many and bills none: set ec2.instance_type."
    )
