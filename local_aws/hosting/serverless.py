"""A serverless variant: processes start with requests, stay warm, and end."""

from __future__ import annotations

import time
import uuid

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.hosting.fleet import DeploymentFailed, Fleet, VariantPlan
from local_aws.hosting.instance import Instance

_WARM_SECONDS = 300.0
_LOOK_SECONDS = 0.5
COLD_START_SECONDS = 60.0
"""How long a request waits for its process to start."""


class ServerlessFleet(Fleet):
    """One process for each concurrent request, up to MaxConcurrency and twice this computer's processors.

    A process stays warm for five minutes, times the time scale, after its last request. AWS does not document its own
    time.
    """

    max_body = 4 << 20

    def oversize(self, size: int) -> AwsError:
        """Seen: https://github.com/aws/sagemaker-python-sdk/issues/4271"""
        return AwsError("ValidationError", f"Request {uuid.uuid4()} has oversize body.")

    def __init__(self, context: Context, plan: VariantPlan) -> None:
        super().__init__(context, plan)
        self._concurrency = int((plan.serverless or {})["MaxConcurrency"])
        self._most = min(self._concurrency, 2 * context.cpu.total)
        self._wanted = self._most
        self._starting = 0
        self._used: dict[str, float] = {}

    @property
    def can_answer(self) -> bool:
        """True also without a process, because a request starts one."""
        return not self._stopped.is_set()

    def start(self) -> None:
        """Start one process, to check that the model works; it ends after its warm time."""
        self._start_one()
        for instance in self._instances:
            self._used[instance.id] = time.monotonic()
        self._context.start_thread(f"cool {self.name}", self._cool_down)

    def scale(self, count: int) -> None:
        """Does nothing: a serverless variant has no instance count."""

    def take(self) -> Instance | None:
        """An idle process; None while one starts.

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
            time.sleep(_LOOK_SECONDS)  # a pause before the next attempt to start a model that cannot start
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
        """Remove a lost process; the next request starts another."""
        with self._lock:
            self._instances = tuple(instance for instance in self._instances if instance is not lost)
        lost.stop(drain=False)
