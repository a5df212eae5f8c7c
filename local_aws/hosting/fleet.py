"""The instances of one production variant: started, replaced when they crash, scaled, stopped."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.core.context import Context
from local_aws.core.errors import AwsError
from local_aws.core.protocol import Document
from local_aws.hosting.instance import Instance, InstanceFailed, InstanceSpec

_START_ATTEMPTS = 2
_REPLACE_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class DeploymentFailed(Exception):
    """A variant could not be started; the message is the endpoint's FailureReason."""


@dataclass(frozen=True)
class VariantPlan:
    """What a production variant runs.

    Args:
        spec: what each instance runs.
        count: number of instances.
        weight: its share of the endpoint's requests, relative to the other variants.
        serverless: its ServerlessConfig, if it has one.
    """

    spec: InstanceSpec
    count: int
    weight: float
    serverless: Document | None = field(default=None, hash=False)

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.spec.variant


class Fleet:
    """The instances of one variant. A crashed instance is replaced."""

    max_body = 6_291_456
    """Bytes of the largest request."""

    def oversize(self, size: int) -> AwsError:
        """The error for a larger request."""
        return AwsError("ValidationError", f"The body has {size} bytes; at most {self.max_body} are taken", 413)

    def __init__(self, context: Context, plan: VariantPlan) -> None:
        self.name = plan.name
        self.weight = plan.weight
        self.spec = plan.spec
        self._context = context
        self._wanted = plan.count
        self._instances: tuple[Instance, ...] = ()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def count(self) -> int:
        """The number of healthy instances."""
        return len(self._instances)

    @property
    def wanted(self) -> int:
        """The number of instances that it has when none has crashed."""
        return self._wanted

    @property
    def can_answer(self) -> bool:
        """Whether the fleet takes requests."""
        return bool(self._instances)

    def start(self) -> None:
        """Start all instances; raises `DeploymentFailed` when one does not become healthy."""
        with ThreadPoolExecutor(max_workers=max(1, self._wanted)) as pool:
            starts = [pool.submit(self._start_one) for _ in range(self._wanted)]
        failures = [failure for start in starts if (failure := start.exception()) is not None]
        if failures:
            raise failures[0]

    def scale(self, count: int) -> None:
        """Scale to `count` instances: new ones are healthy when this returns, surplus ones finish their requests."""
        with self._lock:
            self._wanted = count
            surplus, self._instances = self._instances[count:], self._instances[:count]
            missing = count - len(self._instances)
        for instance in surplus:
            instance.stop()
        for _ in range(missing):
            self._start_one()

    def stop(self, *, drain: bool = True) -> None:
        """Stop every instance."""
        self._stopped.set()
        with self._lock:
            instances, self._instances = self._instances, ()
        with ThreadPoolExecutor(max_workers=max(1, len(instances))) as pool:
            list(pool.map(lambda instance: instance.stop(drain=drain), instances))

    def take(self) -> Instance | None:
        """The least busy instance, with one more request counted; None when there is none."""
        with self._lock:
            if not self._instances:
                return None
            fewest = min(instance.outstanding for instance in self._instances)
            idle = [instance for instance in self._instances if instance.outstanding == fewest]
            chosen = random.choice(idle)
            chosen.acquire()
            return chosen

    def wait_for_one(self, seconds: float) -> Instance | None:
        """Like `take`, but waits up to `seconds` for the replacement of a crashed instance."""
        deadline = time.monotonic() + seconds
        while (instance := self.take()) is None and time.monotonic() < deadline and not self._stopped.is_set():
            time.sleep(0.05)
        return instance

    def _start_one(self) -> None:
        reason = "it was stopped"
        for _ in range(_START_ATTEMPTS):
            try:
                instance = Instance(self._context, self.spec, self._replace)
                instance.start(self._stopped)
            except InstanceFailed as failure:
                reason = str(failure)
                if self._stopped.is_set():
                    break
                continue
            except AwsError as failure:
                raise DeploymentFailed(failure.message) from None
            except (ClientError, BotoCoreError, OSError) as failure:
                raise DeploymentFailed(str(failure)) from failure
            if self._adopt(instance):
                instance.watch()
            else:
                instance.stop(drain=False)
            return
        raise DeploymentFailed(
            f"The primary container for {self.spec.described} did not pass the ping health check. "
            f"Please check CloudWatch logs ({self.spec.log_group}): {reason}"
        )

    def _adopt(self, instance: Instance) -> bool:
        with self._lock:
            if self._stopped.is_set() or len(self._instances) >= self._wanted:
                return False
            self._instances = (*self._instances, instance)
            return True

    def _replace(self, lost: Instance) -> None:
        """Replace a lost instance; runs in the thread that watched it."""
        with self._lock:
            if lost not in self._instances:
                return
            self._instances = tuple(instance for instance in self._instances if instance is not lost)
        lost.stop(drain=False)
        pause = _REPLACE_PAUSE
        while not self._stopped.is_set():
            try:
                self._start_one()
                return
            except DeploymentFailed:
                self._stopped.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
