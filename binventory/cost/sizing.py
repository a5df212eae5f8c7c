"""Advises on instance sizes: the cheapest type that would have been enough for what a job's machines used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from binventory.core.errors import Problem
from binventory.cost.machines import InstanceType, machine
from binventory.cost.prices import Prices
from binventory.cost.usage import Usage

# A minute's mean hides its own peaks, so a size is only called large enough with this much room above it.
HEADROOM = 1.2
# Above this share of its processors a job would have used more of them.
_FULL = 0.85


@dataclass(frozen=True)
class Advice:
    """Advice about an instance type."""

    instance_type: str  # what ran
    better: str  # the type that would be enough; "" where none is cheaper, or nothing is known
    saving: float  # share of the price that is saved, 0 to 1
    text: str  # "20% of 4 vCPU used: ml.m5.large would do, saving 50%"


def advise(instance_type: str, used: Usage, allowed: Sequence[str], prices: Prices) -> Advice:
    """The cheapest of the `allowed` types that would have been enough.

    Burstable types are never advised: they slow down when their credit is used. A GPU job stays in its family, since
    per cent of one GPU say nothing about another.
    """
    try:
        ran = machine(instance_type)
    except Problem as problem:
        return Advice(instance_type, "", 0.0, problem.what)
    if used.cpu is None or used.memory is None:
        return Advice(instance_type, "", 0.0, "no metrics: it ran for less than a minute, or they may not be published")
    said = _said(ran, used)
    fitting = [
        other
        for name in allowed
        if name != instance_type and prices.has_instance(name) and _holds(other := machine(name), ran, used)
    ]
    cheapest = min(fitting, key=lambda other: (prices.instance_hour(other.instance_type), -other.vcpus), default=None)
    if cheapest is not None and prices.has_instance(instance_type):
        saving = 1 - prices.instance_hour(cheapest.instance_type) / prices.instance_hour(instance_type)
        if round(saving, 2) > 0:
            name = cheapest.instance_type
            return Advice(instance_type, name, saving, f"{said}: {name} would do, saving {saving:.0%}")
    if used.cpu.average > 100 * ran.vcpus * _FULL:
        return Advice(instance_type, "", 0.0, f"{said}: it would use more, and end sooner for about the same money")
    return Advice(instance_type, "", 0.0, f"{said}: the size fits")


def _said(ran: InstanceType, used: Usage) -> str:
    if ran.gpus and used.gpu is not None:
        return f"{used.gpu.average / ran.gpus:.0f}% of {ran.gpus} GPU used"
    cpu = used.cpu.average if used.cpu is not None else 0.0
    return f"{cpu / ran.vcpus:.0f}% of {ran.vcpus} vCPU used"


def _holds(other: InstanceType, ran: InstanceType, used: Usage) -> bool:
    """Whether another instance type would have been enough."""
    if other.burstable or used.cpu is None or used.memory is None:
        return False
    if bool(other.gpus) != bool(ran.gpus) or (ran.gpus and other.family != ran.family):
        return False
    gpus = math.ceil(used.gpu.busiest / 100 * HEADROOM) if used.gpu is not None else ran.gpus
    return (
        other.vcpus >= min(used.cpu.busiest / 100 * HEADROOM, ran.vcpus)
        and other.memory_gib >= min(used.memory.busiest / 100 * ran.memory_gib * HEADROOM, ran.memory_gib)
        and other.gpus >= min(gpus, ran.gpus)
    )
