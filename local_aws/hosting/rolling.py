"""Rolling updates: the new deployment grows by batches while the old one shrinks; a rollback goes the same way back."""

from __future__ import annotations

import math

from local_aws.core.protocol import Document
from local_aws.hosting.deployment import Deployment
from local_aws.hosting.fleet import DeploymentFailed
from local_aws.hosting.rollout import RolledBack, Rollout

_ALL: Document = {"Type": "CAPACITY_PERCENT", "Value": 100}


class RollbackFailed(Exception):
    """Neither the update nor its rollback succeeded: both deployments serve. The message has both reasons."""


class RollingUpdate(Rollout):
    """One rolling update of one endpoint, from the old deployment (blue) to the new one (green).

    Each batch is started, gets its share of the requests, and is watched for WaitIntervalInSeconds. Then as large a
    part of the old instances ends.
    """

    def run(self, blue: Deployment, green: Deployment) -> None:
        """Replace blue by green; raises `RolledBack` when blue is whole again, `RollbackFailed` when it is not."""
        policy = self._plan.rolling or {}
        before = {name: fleet.wanted for name, fleet in blue.fleets.items()}
        after = {name: fleet.wanted for name, fleet in green.fleets.items()}
        old, new = dict(before), dict.fromkeys(after, 0)
        self._check_rights(green)
        self._check_alarms()
        try:
            while new != after:
                self._say("Creating")
                self._grow(green, new, after, policy["MaximumBatchSize"])
                self._share(blue, old, green, new)
                self._say("Baking")
                self._bake(policy["WaitIntervalInSeconds"])
                self._say("Deleting")
                self._shrink(blue, old, before, {name: new[name] / after[name] for name in after})
                self._share(blue, old, green, new)
        except (DeploymentFailed, RolledBack) as reason:
            self._roll_back(blue, old, before, green, new, str(reason))
            raise RolledBack(str(reason)) from None
        self._traffic.set((green, 1.0))
        blue.stop()

    def _roll_back(
        self,
        blue: Deployment,
        old: dict[str, int],
        before: dict[str, int],
        green: Deployment,
        new: dict[str, int],
        reason: str,
    ) -> None:
        """Make blue whole again, by batches of RollbackMaximumBatchSize; without one, at once."""
        size = (self._plan.rolling or {}).get("RollbackMaximumBatchSize", _ALL)
        reached = dict(new)
        try:
            while old != before and not self._context.stopping.is_set():
                self._grow(blue, old, before, size)
                self._shrink(green, new, reached, {name: old[name] / before[name] for name in before})
                self._share(blue, old, green, new)
        except DeploymentFailed as failure:
            raise RollbackFailed(f"{reason}. The rollback failed, too: {failure}") from None
        self._traffic.set((blue, 1.0))
        green.stop()

    def _grow(self, deployment: Deployment, counts: dict[str, int], most: dict[str, int], size: Document) -> None:
        """Add a batch to every variant; `counts` are its instances. Raises `DeploymentFailed`."""
        for name in counts:
            counts[name] = min(most[name], counts[name] + _batch(size, most[name]))
            deployment.fleets[name].scale(counts[name])

    def _shrink(
        self, deployment: Deployment, counts: dict[str, int], most: dict[str, int], replaced: dict[str, float]
    ) -> None:
        """End as large a part of every variant as the other deployment has started."""
        for name in counts:
            counts[name] = min(counts[name], math.ceil(most[name] * (1.0 - replaced.get(name, 1.0)) - 1e-9))
            deployment.fleets[name].scale(counts[name])

    def _share(self, blue: Deployment, old: dict[str, int], green: Deployment, new: dict[str, int]) -> None:
        """Give each deployment the requests of its part of all instances."""
        self._say("ActivatingTraffic")
        share = sum(new.values()) / max(1, sum(new.values()) + sum(old.values()))
        self._traffic.set((green, share), (blue, 1.0 - share))


def _batch(size: Document, instances: int) -> int:
    """Instances of one batch: at least one, or the update would not end."""
    value = int(size["Value"])
    return max(1, instances * value // 100 if size["Type"] == "CAPACITY_PERCENT" else min(value, instances))
