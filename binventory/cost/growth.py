"""How a month's cost grows with photos and executions: jobs, and what is stored in S3 until it expires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from binventory.cost.lines import step_line
from binventory.cost.prices import Prices
from binventory.cost.quantities import Quantities
from binventory.cost.workload import DATASET_PHOTOS, DAYS_A_MONTH, Workload

PHOTOS = (1_000, 10_000, 100_000, DATASET_PHOTOS)
EXECUTIONS = (1, 4, 30)
SHARD_GB_A_PHOTO = 30e-6
# 2,048 numbers of 4 bytes for each view; only the training split, four fifths, has more than one.
FEATURE_GB_A_VIEW = 8.2e-6
MODEL_GB = 0.2
# The longest that SageMaker lets a training job run.
_LONGEST_SECONDS = 28 * 86_400


@dataclass(frozen=True)
class GrowthLine:
    """A month with so many photos, by the number of executions."""

    photos: int
    stored_gb: tuple[float, ...]
    dollars: tuple[float, ...]


def stored_gb(workload: Workload) -> float:
    """What one execution leaves in S3: shards and features, which expire, and models, which stay."""
    return workload.photos * (SHARD_GB_A_PHOTO + FEATURE_GB_A_VIEW * workload.passes) + MODEL_GB


def month(assembly: Quantities, prices: Prices, workload: Workload, executions: float) -> tuple[float, float]:
    """GB in S3 once as much expires as is added, and dollars of a month, without the endpoint.

    Models stay, and move to a cheaper class: a year of them is counted.

    Raises:
        Problem: the table does not hold a price that is needed.
    """
    at_a_time = executions * assembly.executions_kept_days / DAYS_A_MONTH
    data = at_a_time * (stored_gb(workload) - MODEL_GB)
    models = executions * 12 * MODEL_GB
    stored = data * prices.unit("s3_gb_month") + models * prices.unit("s3_infrequent_gb_month")
    # As if limits had been raised to what the work needs: otherwise too much work would seem to cost no more.
    jobs = [replace(job, max_seconds=max(job.max_seconds, _LONGEST_SECONDS)) for job in assembly.jobs]
    running = sum(step_line(job, prices, workload).expected for job in jobs)
    return data + models, stored + executions * running


def growth(
    assembly: Quantities,
    prices: Prices,
    workload: Workload,
    photos: Sequence[int] = PHOTOS,
    executions: Sequence[int] = EXECUTIONS,
) -> tuple[GrowthLine, ...]:
    """A month's cost for each number of photos and of executions."""
    found = []
    for number in photos:
        months = [month(assembly, prices, replace(workload, photos=number), times) for times in executions]
        found.append(GrowthLine(number, tuple(gb for gb, _ in months), tuple(dollars for _, dollars in months)))
    return tuple(found)
