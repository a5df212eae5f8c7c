"""Whether the account's quotas allow what the settings ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from binventory.core.aws import Aws
from binventory.cost.machines import machine
from binventory.doctor.check import Check, asked

if TYPE_CHECKING:
    from stacks.settings import Settings

_SERVERLESS = "Maximum total concurrency that can be allocated across all serverless endpoints"
_SPOT_VCPUS = "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"
_SPOT_GPU_VCPUS = "All G and VT Spot Instance Requests"


@dataclass(frozen=True)
class Need:
    """What one setting needs of a quota.

    Args:
        quota: the quota's name in Service Quotas.
        number: the smallest value that is enough.
        setting: the field that needs it.
        service: the service's code in Service Quotas.
    """

    quota: str
    number: int
    setting: str
    service: str = "sagemaker"


def needs(settings: Settings) -> list[Need]:
    """What one execution, its rollout and one transform job need; of several needs of a quota the largest."""
    largest: dict[str, Need] = {}
    for need in [*_jobs(settings), *_serving(settings), *_machine(settings)]:
        if need.quota not in largest or largest[need.quota].number < need.number:
            largest[need.quota] = need
    return sorted(largest.values(), key=lambda need: (need.service, need.quota))


def _jobs(settings: Settings) -> Iterator[Need]:
    ingest, evaluation = settings.ingest, settings.evaluation
    yield Need(f"{ingest.instance_type} for processing job usage", ingest.instance_count, "ingest.instance_count")
    yield Need(f"{evaluation.instance_type} for processing job usage", 1, "evaluation.instance_type")
    embed, train, tuning = settings.embed, settings.training, settings.tuning
    training = [
        (embed.instance_type, embed.spot, embed.instance_count, "embed.instance_count"),
        (train.instance_type, train.spot, tuning.parallel_jobs, "tuning.parallel_jobs"),
        (train.instance_type, train.spot, train.instance_count, "training.instance_count"),
    ]
    for instance, spot, number, setting in training:
        if spot:
            yield Need(f"{instance} for spot training job usage", number, setting)
        if not spot or settings.continues_on_demand:
            yield Need(f"{instance} for training job usage", number, setting)
    batch = settings.batch
    yield Need(f"{batch.instance_type} for transform job usage", batch.instance_count, "batch.instance_count")


def _serving(settings: Settings) -> Iterator[Need]:
    serving = settings.serving
    if serving.mode == "serverless":
        yield Need(_SERVERLESS, serving.serverless.max_concurrency, "serving.serverless.max_concurrency")
        return
    # A rollout starts the new fleet beside the old one.
    setting = "serving.max_instances, twice: a rollout has two fleets"
    yield Need(f"{serving.instance_type} for endpoint usage", 2 * serving.max_instances, setting)


def _machine(settings: Settings) -> Iterator[Need]:
    if settings.ec2.enabled:
        kind = machine(settings.ec2.instance_type)
        quota = _SPOT_GPU_VCPUS if kind.gpus else _SPOT_VCPUS
        yield Need(quota, kind.vcpus, "ec2.instance_type, its vCPUs", service="ec2")


def examine_quotas(aws: Aws, needed: Sequence[Need]) -> Iterator[Check]:
    """Compares each quota with what is needed of it."""
    known: dict[str, dict[str, tuple[str, float]]] = {}
    for need in needed:
        yield asked(need.quota, partial(_compare, aws, need, known))


def _compare(aws: Aws, need: Need, known: dict[str, dict[str, tuple[str, float]]]) -> Check:
    if need.service not in known:
        known[need.service] = _values(aws, need.service)
    if need.quota not in known[need.service]:
        return Check(need.quota, "unknown", f"Service Quotas does not list it; needed: {need.number} ({need.setting})")
    code, value = known[need.service][need.quota]
    found = f"quota {value:.0f}, needed {need.number} ({need.setting})"
    if value >= need.number:
        return Check(need.quota, "good", found)
    command = (
        f"aws service-quotas request-service-quota-increase --service-code {need.service} --quota-code {code} "
        f"--desired-value {need.number}"
    )
    return Check(need.quota, "missing", found, f"ask for {code}: {command}")


def _values(aws: Aws, service: str) -> dict[str, tuple[str, float]]:
    """Code and value of each quota by its name. A quota without a value of the account's own has AWS's default."""
    client = aws.client("service-quotas")
    found: dict[str, tuple[str, float]] = {}
    for listing in ("list_aws_default_service_quotas", "list_service_quotas"):
        for page in client.get_paginator(listing).paginate(ServiceCode=service):
            found |= {quota["QuotaName"]: (quota["QuotaCode"], quota["Value"]) for quota in page["Quotas"]}
    return found
