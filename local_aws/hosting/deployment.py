"""The variants of one endpoint configuration, running, and the share of requests that each deployment gets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.hosting.fleet import DeploymentFailed, Fleet, VariantPlan
from local_aws.hosting.instance import Instance
from local_aws.hosting.serverless import ServerlessFleet


def _fleet(context: Context, plan: VariantPlan) -> Fleet:
    return Fleet(context, plan) if plan.serverless is None else ServerlessFleet(context, plan)


class Deployment:
    """All variants of one endpoint configuration, running.

    Args:
        context: the local AWS.
        config_name: the endpoint configuration.
        plans: its variants.
    """

    def __init__(self, context: Context, config_name: str, plans: Sequence[VariantPlan]) -> None:
        self.config_name = config_name
        self.fleets = {plan.name: _fleet(context, plan) for plan in plans}

    def start(self) -> None:
        """Bring up every variant; on failure everything is stopped again and `DeploymentFailed` raised."""
        try:
            with ThreadPoolExecutor(max_workers=len(self.fleets)) as pool:
                list(pool.map(lambda fleet: fleet.start(), self.fleets.values()))
        except DeploymentFailed:
            self.stop(drain=False)
            raise

    def stop(self, *, drain: bool = True) -> None:
        """End every variant."""
        for fleet in self.fleets.values():
            fleet.stop(drain=drain)

    def take(self, variant: str | None) -> tuple[Fleet, Instance] | None:
        """An instance for one request, by the variants' weights or of the variant that is named."""
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
        """How each variant stands, for DescribeEndpoint."""
        return [
            {"VariantName": fleet.name, "CurrentWeight": fleet.weight, "CurrentInstanceCount": fleet.count}
            for fleet in self.fleets.values()
        ]


class Traffic:
    """Which share of an endpoint's requests goes to which deployment; changes take effect between two requests."""

    def __init__(self) -> None:
        self._shares: tuple[tuple[Deployment, float], ...] = ()

    def set(self, *shares: tuple[Deployment, float]) -> None:
        """Replace all shares at once; they need not add up to anything."""
        self._shares = shares

    @property
    def deployments(self) -> list[Deployment]:
        """Those that get requests, the biggest share first."""
        return [deployment for deployment, _ in sorted(self._shares, key=lambda pair: -pair[1])]

    def take(self, variant: str | None) -> tuple[Fleet, Instance] | None:
        """An instance for one request. A deployment without a healthy instance is passed over."""
        shares = [pair for pair in self._shares if pair[1] > 0]
        while shares:
            pair = random.choices(shares, [share for _, share in shares])[0]
            found = pair[0].take(variant)
            if found is not None:
                return found
            shares.remove(pair)
        return None
