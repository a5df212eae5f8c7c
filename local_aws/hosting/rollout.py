"""Rollouts: a new deployment beside the old one, traffic shifted in stages, rollback on alarms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from botocore.exceptions import ClientError

from local_aws.core.authorisation import alarm_problem
from local_aws.core.context import Context
from local_aws.core.protocol import Document
from local_aws.hosting.deployment import Deployment, Traffic
from local_aws.hosting.fleet import DeploymentFailed

_ALARM_POLL_SECONDS = 0.5


class RolledBack(Exception):
    """The update was rolled back; the message has the reason. The old deployment has all the traffic again."""


@dataclass(frozen=True)
class RolloutStage:
    """One stage of a rollout.

    Args:
        share: part of the requests that the new deployment gets, above 0 up to 1.
        bake_seconds: time before the next stage, in which alarms are watched.
    """

    share: float
    bake_seconds: float


@dataclass(frozen=True)
class RolloutPlan:
    """What a DeploymentConfig asks for.

    Args:
        stages: in their order, the last with a share of 1.
        termination_seconds: time after the last stage until the old instances end; alarms are still watched.
        timeout_seconds: limit of the whole update, after which it is rolled back.
        alarms: names of the CloudWatch alarms that roll the update back.
        rolling: the RollingUpdatePolicy, which has batches of instances instead of stages.
    """

    stages: tuple[RolloutStage, ...]
    termination_seconds: float
    timeout_seconds: float
    alarms: tuple[str, ...]
    rolling: Document | None = None

    @classmethod
    def read(cls, config: Document | None, instances: int) -> RolloutPlan:
        """The plan of a DeploymentConfig for a number of instances; without one, everything in one stage."""
        config = config or {}
        alarms = tuple(alarm["AlarmName"] for alarm in config.get("AutoRollbackConfiguration", {}).get("Alarms", []))
        rolling = config.get("RollingUpdatePolicy")
        if rolling:
            return cls((), 0.0, rolling.get("MaximumExecutionTimeoutInSeconds", 14_400), alarms, rolling)
        policy = config.get("BlueGreenUpdatePolicy", {})
        routing = policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
        wait = routing["WaitIntervalInSeconds"]
        if routing["Type"] == "CANARY":
            stages: tuple[RolloutStage, ...] = (
                RolloutStage(_share(routing["CanarySize"], instances), wait),
                RolloutStage(1.0, wait),
            )
        elif routing["Type"] == "LINEAR":
            stages = tuple(_linear(_share(routing["LinearStepSize"], instances), wait))
        else:
            stages = (RolloutStage(1.0, wait),)
        timeout = policy.get("MaximumExecutionTimeoutInSeconds", 14_400)
        return cls(stages, policy.get("TerminationWaitInSeconds", 0), timeout, alarms)


def _share(size: Document, instances: int) -> float:
    if size["Type"] == "CAPACITY_PERCENT":
        return float(size["Value"]) / 100
    return min(1.0, float(size["Value"]) / max(1, instances))


def _linear(share: float, wait: float) -> Iterator[RolloutStage]:
    reached = share
    while reached < 0.999:
        yield RolloutStage(reached, wait)
        reached += share
    yield RolloutStage(1.0, wait)


class Rollout:
    """One update of one endpoint, from the old deployment (blue) to the new one (green).

    Every request is answered: green gets its first request when it is healthy, and blue stops after its last one. A
    rollback is the same shift backwards.

    Args:
        context: the local AWS.
        traffic: of the endpoint.
        plan: how it is updated.
        say: called with the VariantStatus of the new variants when it changes.
    """

    def __init__(
        self,
        context: Context,
        traffic: Traffic,
        plan: RolloutPlan,
        say: Callable[[str], None] = lambda status: None,
    ) -> None:
        self._context = context
        self._say = say
        self._traffic = traffic
        self._plan = plan
        self._started = time.monotonic()

    def run(self, blue: Deployment, green: Deployment) -> None:
        """Shift all traffic to green and stop blue; raises `RolledBack` when blue has it again and green is stopped."""
        try:
            self._check_rights(green)
            self._check_alarms()
            self._say("Creating")
            green.start()
        except DeploymentFailed as failure:
            raise RolledBack(str(failure)) from None
        try:
            for stage in self._plan.stages:
                self._say("ActivatingTraffic")
                self._traffic.set((green, stage.share), (blue, 1.0 - stage.share))
                self._say("Baking")
                self._bake(stage.bake_seconds)
            self._bake(self._plan.termination_seconds)
        except RolledBack:
            self._traffic.set((blue, 1.0))
            green.stop()
            raise
        self._traffic.set((green, 1.0))
        blue.stop()

    def _bake(self, seconds: float) -> None:
        until = time.monotonic() + seconds * self._context.time_scale
        while True:
            self._check_alarms()
            if time.monotonic() - self._started > self._plan.timeout_seconds:
                raise RolledBack(f"The update did not finish within {self._plan.timeout_seconds:.0f} seconds")
            left = until - time.monotonic()
            if left <= 0:
                return
            if self._context.stopping.wait(min(left, _ALARM_POLL_SECONDS)):
                raise RolledBack("The local AWS stopped during the update")

    def _check_rights(self, green: Deployment) -> None:
        """Hold the roles of the new models to the right that SageMaker needs for alarms.

        AWS documents it for "your IAM execution role". Whose it is is not documented: the stricter reading.
        """
        if not self._plan.alarms:
            return
        for fleet in green.fleets.values():
            with self._context.acting(fleet.spec.role):
                if problem := alarm_problem(self._context):
                    raise RolledBack(f"The alarms of the deployment cannot be read: {problem}")

    def _check_alarms(self) -> None:
        if not self._plan.alarms:
            return
        names = list(self._plan.alarms)
        try:
            reply = self._context.client("cloudwatch").describe_alarms(
                AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
            )
        except ClientError as error:
            raise RolledBack(f"The alarms could not be read: {error}") from None
        found = [*reply.get("MetricAlarms", []), *reply.get("CompositeAlarms", [])]
        missing = set(names) - {alarm["AlarmName"] for alarm in found}
        if missing:
            raise RolledBack(f"Alarms do not exist: {', '.join(sorted(missing))}")
        ringing = sorted(alarm["AlarmName"] for alarm in found if alarm["StateValue"] == "ALARM")
        if ringing:
            raise RolledBack(
                f"One or more alarms configured for the deployment are in ALARM state: {', '.join(ringing)}"
            )
