"""Scaling of asynchronous endpoints by their backlog, down to none, as their scalable target and policies say."""

from __future__ import annotations

import time

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.wire import Document, call

_DEFAULT_COOLDOWN = 300.0
_METRICS_SECONDS = 2.0


class AsyncScaling:
    """Looks at every asynchronous endpoint a few times a second; only those with a scalable target are scaled.

    On AWS minutes pass until a policy acts. Here the first instance comes at once, and goes after the policy's
    ScaleInCooldown, shortened by the time scale.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._quiet_since: dict[str, float] = {}
        self._measured = 0.0

    def look(self, endpoint: Document, backlog: int) -> None:
        """Scale an endpoint whose queue holds `backlog` requests."""
        name = endpoint["EndpointName"]
        variant = endpoint["Plan"]["Variants"][0]
        count = int(variant["Count"])
        self._measure(name, backlog, count)
        target = self._target(name, variant["VariantName"])
        if endpoint["EndpointStatus"] != "InService" or target is None:
            return
        now = time.monotonic()
        if backlog:
            self._quiet_since[name] = now
        if backlog and not count:
            self._set(name, variant["VariantName"], max(1, int(target["MinCapacity"])))
        elif not backlog and count > target["MinCapacity"]:
            quiet = now - self._quiet_since.setdefault(name, now)
            if quiet > self._cooldown(target) * self._context.time_scale:
                self._set(name, variant["VariantName"], int(target["MinCapacity"]))

    def _target(self, endpoint: str, variant: str) -> Document | None:
        resource = f"endpoint/{endpoint}/variant/{variant}"
        found = [item for item in self._context.table("ScalableTarget").all() if item["ResourceId"] == resource]
        return found[0] if found else None

    def _cooldown(self, target: Document) -> float:
        for policy in self._context.table("ScalingPolicy").all():
            tracking = policy.get("TargetTrackingScalingPolicyConfiguration", {})
            if policy["ResourceId"] == target["ResourceId"] and "ScaleInCooldown" in tracking:
                return float(tracking["ScaleInCooldown"])
        return _DEFAULT_COOLDOWN

    def _set(self, endpoint: str, variant: str, count: int) -> None:
        wanted = [{"VariantName": variant, "DesiredInstanceCount": count}]
        request = {"EndpointName": endpoint, "DesiredWeightsAndCapacities": wanted}
        try:
            call(self._context, "UpdateEndpointWeightsAndCapacities", request)
        except AwsError:
            return  # it is being updated; the next look comes soon

    def _measure(self, name: str, backlog: int, count: int) -> None:
        if time.monotonic() - self._measured < _METRICS_SECONDS:
            return
        self._measured = time.monotonic()
        put, dimensions = self._context.metrics.put, {"EndpointName": name}
        put("AWS/SageMaker", "ApproximateBacklogSize", float(backlog), dimensions, unit="Count")
        put("AWS/SageMaker", "ApproximateBacklogSizePerInstance", backlog / max(1, count), dimensions, unit="Count")
        put("AWS/SageMaker", "HasBacklogWithoutCapacity", float(backlog > 0 and not count), dimensions, unit="Count")
