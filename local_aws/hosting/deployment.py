"""The running variants of one endpoint configuration, and the share of requests that each deployment gets."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.hosting.fleet import DeploymentFailed, Fleet, VariantPlan
from local_aws.hosting.instance import Instance
from local_aws.hosting.serverless import ServerlessFleet


def _fleet(context: Context, plan: VariantPlan) -> Fleet:
    return Fleet(context, plan) if plan.serverless is None else ServerlessFleet(context, plan)


class Deployment:
    """The running variants of one endpoint configuration.

    Args:
        context: the local AWS.
        config_name: the endpoint configuration.
        plans: its variants.
    """

    def __init__(self, context: Context, config_name: str, plans: Sequence[VariantPlan]) -> None:
        self.config_name = config_name
        self.fleets = {plan.name: _fleet(context, plan) for plan in plans}

    def start(self) -> None:
        """Start every variant; when one fails, stop all and raise `DeploymentFailed`."""
        try:
            with ThreadPoolExecutor(max_workers=len(self.fleets)) as pool:
                list(pool.map(lambda fleet: fleet.start(), self.fleets.values()))
        except DeploymentFailed:
            self.stop(drain=False)
            raise

    def scale(self, variants: Iterable[Document]) -> None:
        """Give every variant its count and weight in a stored plan; raises `DeploymentFailed` at the first failure."""
        for variant in variants:
            fleet = self.fleets[variant["VariantName"]]
            fleet.weight = variant["Weight"]
            fleet.scale(variant["Count"])

    def stop(self, *, drain: bool = True) -> None:
        """Stop every variant."""
        for fleet in self.fleets.values():
            fleet.stop(drain=drain)

    def take(self, variant: str | None) -> tuple[Fleet, Instance] | None:
        """An instance for one request: of the named variant, or of one chosen by weight."""
        if variant is not None:
            fleet = self.fleets.get(variant)
            instance = fleet.take() if fleet else None
            return (fleet, instance) if fleet and instance else None
        fleets = list(self.fleets.values())
        weights = [fleet.weight if fleet.can_answer else 0.0 for fleet in fleets]
        if not any(weights):
            return None
        fleet = random.choices(fleets, weights)[0]
        instance = fleet.take()
        return (fleet, instance) if instance else None

    def variants(self) -> list[Document]:
        """Weight and instance count of each variant, as in DescribeEndpoint."""
        return [
            {"VariantName": fleet.name, "CurrentWeight": fleet.weight, "CurrentInstanceCount": fleet.count}
            for fleet in self.fleets.values()
        ]


class Traffic:
    """The share of an endpoint's requests that each deployment gets; a change applies from the next request."""

    def __init__(self) -> None:
        self._shares: tuple[tuple[Deployment, float], ...] = ()

    def set(self, *shares: tuple[Deployment, float]) -> None:
        """Replace all shares together; they are relative and need no certain sum."""
        self._shares = shares

    @property
    def deployments(self) -> list[Deployment]:
        """The deployments that get requests, the biggest share first."""
        return [deployment for deployment, _ in sorted(self._shares, key=lambda pair: -pair[1])]

    def take(self, variant: str | None) -> tuple[Fleet, Instance] | None:
        """An instance for one request. A deployment without a healthy instance is skipped."""
        shares = [pair for pair in self._shares if pair[1] > 0]
        while shares:
            pair = random.choices(shares, [share for _, share in shares])[0]
            found = pair[0].take(variant)
            if found is not None:
                return found
            shares.remove(pair)
        return None
