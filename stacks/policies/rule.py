"""The form of a rule: what it finds, why that is a fault, and the cure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stacks.policies.assembly import Assembly, Resource, SynthesizedStep


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule."""

    resource: Resource
    where: str  # property, or pipeline step and argument
    detail: str  # what stands there

    @classmethod
    def in_step(cls, step: SynthesizedStep, argument: str, detail: str) -> Finding:
        """A finding inside the pipeline definition."""
        return cls(step.pipeline, f"step {step.name}: {argument}", detail)


@dataclass(frozen=True)
class Rule:
    """A rule of the pack.

    Attributes:
        id: stable name, `BV-` and a word or two.
        why: what goes wrong without it.
        fix: what to change.
        link: where the underlying recommendation is explained.
        find: yields the places that break it.
    """

    id: str
    why: str
    fix: str
    link: str
    find: Callable[[Assembly], Iterator[Finding]]
