"""A serverless variant: processes come with requests, stay warm for a while, and go."""

from __future__ import annotations

import os
import time

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.hosting.fleet import DeploymentFailed, Fleet, VariantPlan
from local_aws.hosting.instance import Instance

_WARM_SECONDS = 300.0
_LOOK_SECONDS = 0.5
COLD_START_SECONDS = 60.0
"""How long a request may wait for a process that starts for it."""


class ServerlessFleet(Fleet):
    """One process a request at once, as many as MaxConcurrency (and this machine's processors, twice) allow.

    Warm processes are kept for five minutes (of the local AWS's time scale) after their last request; AWS does not say
    how long it keeps its own.
    """

    def __init__(self, context: Context, plan: VariantPlan) -> None:
        super().__init__(context, plan)
        self._concurrency = int((plan.serverless or {})["MaxConcurrency"])
        self._most = min(self._concurrency, 2 * (os.cpu_count() or 1))
        self._wanted = self._most
        self._starting = 0
        self._used: dict[str, float] = {}

    @property
    def can_answer(self) -> bool:
        """It can, as soon as a process has started."""
        return not self._stopped.is_set()

    def start(self) -> None:
        """Start one process, to see that the model works; it goes when nothing comes."""
        self._start_one()
        for instance in self._instances:
            self._used[instance.id] = time.monotonic()
        self._context.start_thread(f"cool {self.name}", self._cool_down)

    def scale(self, count: int) -> None:
        """There are no instances to count."""

    def take(self) -> Instance | None:
        """A process that does nothing else; None while one starts.

        Raises `AwsError` (429) beyond MaxConcurrency.
        """
        with self._lock:
            busy = sum(instance.outstanding for instance in self._instances)
            if busy >= self._concurrency:
                raise AwsError("ThrottlingException", "Rate exceeded: MaxConcurrency requests are being answered", 429)
            idle = [instance for instance in self._instances if not instance.outstanding]
            if idle:
                idle[0].acquire()
                self._used[idle[0].id] = time.monotonic()
                return idle[0]
            if len(self._instances) + self._starting < self._most and not self._stopped.is_set():
                self._starting += 1
                self._context.start_thread(f"cold start of {self.name}", self._warm_up)
        return None

    def _warm_up(self) -> None:
        try:
            self._start_one()
        except DeploymentFailed as failure:
            self._context.metrics.put("AWS/SageMaker", "ModelSetupErrors", 1, self.spec.dimensions, unit="None")
            time.sleep(_LOOK_SECONDS)  # a model that cannot start is not started without pause
            raise failure
        finally:
            with self._lock:
                self._starting -= 1

    def _cool_down(self) -> None:
        patience = max(_LOOK_SECONDS, _WARM_SECONDS * self._context.time_scale)
        while not self._stopped.wait(_LOOK_SECONDS):
            with self._lock:
                now = time.monotonic()
                for instance in self._instances:
                    if instance.outstanding:
                        self._used[instance.id] = now
                cold = [
                    instance
                    for instance in self._instances
                    if not instance.outstanding and now - self._used.setdefault(instance.id, now) > patience
                ]
                self._instances = tuple(instance for instance in self._instances if instance not in cold)
            for instance in cold:
                self._used.pop(instance.id, None)
                instance.stop()

    def _replace(self, lost: Instance) -> None:
        """The next request starts another."""
        with self._lock:
            self._instances = tuple(instance for instance in self._instances if instance is not lost)
        lost.stop(drain=False)
