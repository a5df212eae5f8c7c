"""What the machines of finished jobs used, from the metrics that SageMaker publishes for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from binventory.core.aws import Aws
from binventory.cost.spent import JobSpent

_NAMESPACES = {"TrainingJob": "/aws/sagemaker/TrainingJobs", "ProcessingJob": "/aws/sagemaker/ProcessingJobs"}
_METRICS = {
    "cpu": "CPUUtilization",
    "memory": "MemoryUtilization",
    "disk": "DiskUtilization",
    "gpu": "GPUUtilization",
    "gpu_memory": "GPUMemoryUtilization",
}
_QUERIES_A_CALL = 500
# CloudWatch keeps minutes for 15 days, five minutes for 63 days, hours for 455 days.
_PERIODS = ((timedelta(days=15), 60), (timedelta(days=63), 300), (timedelta(days=455), 3600))


class IncompleteMetricsError(Exception):
    """CloudWatch did not give all values of a metric; the message is its status, such as InternalError."""


@dataclass(frozen=True)
class Level:
    """One metric over the life of one or more jobs, in per cent."""

    average: float
    busiest: float  # the highest average of a minute on one machine


@dataclass(frozen=True)
class Usage:
    """What machines used; None where CloudWatch holds nothing, as for jobs of less than a minute.

    `cpu` is per cent of one vCPU and `gpu` of one GPU, so that two busy ones are 200; the others are per cent of the
    machine's memory, of its volume, and of one GPU's memory.
    """

    cpu: Level | None
    memory: Level | None
    disk: Level | None
    gpu: Level | None
    gpu_memory: Level | None


def read(aws: Aws, jobs: Sequence[JobSpent], now: datetime) -> dict[str, Usage]:
    """The usage of each job by its name.

    Raises:
        ClientError: the metrics may not be read.
        IncompleteMetricsError: CloudWatch gave only some of them.
    """
    values: dict[tuple[str, str], list[list[float]]] = {}
    queries = [query for job in jobs if job.started for query in _queries(job, now)]
    for start in range(0, len(queries), _QUERIES_A_CALL):
        for query, found in _ask(aws, queries[start : start + _QUERIES_A_CALL], now):
            if found:
                values.setdefault((query.job.name, query.metric), []).append(found)
    return {
        job.name: Usage(**{metric: _level(values.get((job.name, metric), [])) for metric in _METRICS}) for job in jobs
    }


def together(usages: Iterable[Usage]) -> Usage:
    """The usage of several jobs on machines of the same type: their mean and their busiest minute."""
    found = list(usages)
    merged = {}
    for field in fields(Usage):
        levels = [level for usage in found if (level := getattr(usage, field.name)) is not None]
        merged[field.name] = (
            Level(sum(level.average for level in levels) / len(levels), max(level.busiest for level in levels))
            if levels
            else None
        )
    return Usage(**merged)


@dataclass(frozen=True)
class _Query:
    job: JobSpent
    metric: str
    host: str
    period: int


def _queries(job: JobSpent, now: datetime) -> Iterator[_Query]:
    age = now - (job.started or now)
    period = next((seconds for limit, seconds in _PERIODS if age < limit), _PERIODS[-1][1])
    for machine in range(job.instance_count):
        for metric in _METRICS:
            yield _Query(job, metric, f"{job.name}/algo-{machine + 1}", period)


def _ask(aws: Aws, queries: Sequence[_Query], now: datetime) -> Iterator[tuple[_Query, list[float]]]:
    by_id = {f"q{number}": query for number, query in enumerate(queries)}
    starts = [query.job.started for query in queries if query.job.started]
    pages = (
        aws.client("cloudwatch")
        .get_paginator("get_metric_data")
        .paginate(
            MetricDataQueries=[_stat(name, query) for name, query in by_id.items()],
            # A minute's value carries the time of its beginning.
            StartTime=min(starts) - timedelta(seconds=max(query.period for query in queries)),
            EndTime=max((query.job.ended or now) for query in queries) + timedelta(minutes=1),
        )
    )
    found: dict[str, list[float]] = {name: [] for name in by_id}
    status: dict[str, str] = {}
    for page in pages:
        for result in page["MetricDataResults"]:
            found[result["Id"]].extend(result["Values"])
            # Before the last page a metric may be PartialData; the rest of its values follows.
            status[result["Id"]] = result.get("StatusCode", "Complete")
    if incomplete := sorted(set(status.values()) - {"Complete"}):
        raise IncompleteMetricsError(", ".join(incomplete))
    for name, query in by_id.items():
        yield query, found[name]


def _stat(name: str, query: _Query) -> dict[str, Any]:
    metric = {
        "Namespace": _NAMESPACES[query.job.kind],
        "MetricName": _METRICS[query.metric],
        "Dimensions": [{"Name": "Host", "Value": query.host}],
    }
    return {"Id": name, "MetricStat": {"Metric": metric, "Period": query.period, "Stat": "Average"}}


def _level(machines: list[list[float]]) -> Level | None:
    minutes = [value for values in machines for value in values]
    return Level(sum(minutes) / len(minutes), max(minutes)) if minutes else None


def utc_now() -> datetime:
    """Now in UTC, as CloudWatch's times are."""
    return datetime.now(UTC)
