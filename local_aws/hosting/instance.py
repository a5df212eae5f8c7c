"""One instance that serves a model: a server process under the hosting contract, with health checks."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from local_aws.core.authorisation import may_publish, pull_problem
from local_aws.core.context import Context
from local_aws.core.host import free_port, http_status
from local_aws.core.logs import LogStream
from local_aws.core.protocol import Document
from local_aws.hosting.model_data import place_model
from local_aws.images.cache import resolve_image
from local_aws.images.container import Container, ContainerSpec
from local_aws.images.filesystem import inside

LOG_GROUP = "/aws/sagemaker/Endpoints"
_PING_SECONDS = 2.0  # SageMaker's limit for a ping
_PING_EVERY = 2.0
_PINGS_BEFORE_REPLACING = 3
_DRAIN_SECONDS = 60.0
_TERM_SECONDS = 10.0


class InstanceFailed(Exception):
    """The server process ended or never passed its health check; the message has its last output."""


@dataclass(frozen=True)
class InstanceSpec:
    """What every instance of a variant runs.

    Args:
        endpoint: the endpoint's name.
        variant: the production variant's name.
        container: Image, Environment, ModelDataUrl or ModelDataSource, as in CreateModel.
        model_package: ARN of the model package it came from, if any.
        startup_seconds: limit until its first healthy ping.
        role: the model's execution role, which pulls the image, downloads the artefact and runs the server.
    """

    endpoint: str
    variant: str
    container: Document = field(hash=False)
    model_package: str | None
    startup_seconds: float
    role: str | None

    @property
    def dimensions(self) -> dict[str, str]:
        """Dimensions of its metrics."""
        return {"EndpointName": self.endpoint, "VariantName": self.variant}

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Namespaces of its metrics."""
        return LOG_GROUP, "AWS/SageMaker"

    @property
    def log_group(self) -> str:
        """Log group of the server's output."""
        return f"{LOG_GROUP}/{self.endpoint}"

    @property
    def described(self) -> str:
        """Its name in messages."""
        return f"production variant {self.variant}"

    @property
    def folder(self) -> Path:
        """Folder of the instances' files, relative to the state directory."""
        return Path("endpoints") / self.endpoint

    def log_stream(self, instance: str) -> str:
        """The log stream of one instance."""
        return f"{self.variant}/{instance}"


class Instance:
    """One server process and its port.

    Args:
        context: the local AWS.
        spec: what to run.
        lost: called once, from another thread, when a healthy instance has ended or no longer answers.
    """

    def __init__(self, context: Context, spec: InstanceSpec, lost: Callable[[Instance], None]) -> None:
        self.id = f"i-{uuid.uuid4().hex[:17]}"
        self.spec = spec
        self.port = 0
        self._context = context
        self._lost = lost
        self._root = context.work_dir / spec.folder / self.id
        with self._acting():
            logs = context.client("logs")
        self._log = LogStream(logs, spec.log_group, spec.log_stream(self.id), context.metrics)
        self._tail: deque[str] = deque(maxlen=12)
        self._container: Container | None = None
        self._idle = threading.Condition()
        self._outstanding = 0
        self._stopping = threading.Event()

    def start(self, cancelled: threading.Event) -> None:
        """Start the process and wait for its first healthy ping; leaves nothing when it raises.

        Raises:
            InstanceFailed: it ended, or is not healthy in time.
            AwsError, ClientError, BotoCoreError, OSError: its image or artefact is not here, or not as it must be.
        """
        try:
            self._container = Container.start(self._process(), self._read_line)
            self._wait_until_healthy(cancelled)
        except BaseException:
            self.stop(drain=False)
            raise

    def _process(self) -> ContainerSpec:
        with self._acting():
            if problem := pull_problem(self._context, self.spec.container["Image"]):
                raise InstanceFailed(problem)
            may_publish(self._context, *self.spec.namespaces)
            image = resolve_image(self._context, self.spec.container["Image"])
            place_model(self._context.objects, self.spec.container, self._root / "model")
            self.port = free_port()
            # SageMaker starts a serving container as `docker run IMAGE serve`.
            return image.process(base=self._root, environment=self._environment(), arguments=["serve"])

    def watch(self) -> None:
        """Call `lost` when the process ends or answers no pings. The fleet that replaces it must have it by now."""
        threading.Thread(target=self._watch, name=f"watch-{self.id}", daemon=True).start()

    @property
    def outstanding(self) -> int:
        """The number of requests that it answers now."""
        return self._outstanding

    def acquire(self) -> None:
        """Count a request; `stop` waits until it is released."""
        with self._idle:
            self._outstanding += 1

    def release(self) -> None:
        """End the count of a request."""
        with self._idle:
            self._outstanding -= 1
            self._idle.notify_all()

    def stop(self, *, drain: bool = True) -> None:
        """End the process, with `drain` after its last request, and remove its files."""
        self._stopping.set()
        if drain:
            with self._idle:
                self._idle.wait_for(lambda: self._outstanding == 0, timeout=_DRAIN_SECONDS)
        if self._container is not None:
            self._container.terminate()
            if self._container.wait(_TERM_SECONDS if drain else 1.0) is None:
                self._container.kill()
                self._container.wait()
        self._log.close()
        shutil.rmtree(self._root, ignore_errors=True)

    def _acting(self) -> AbstractContextManager[None]:
        return self._context.acting(self.spec.role)

    def _environment(self) -> dict[str, str]:
        environment = {key: str(value) for key, value in self.spec.container.get("Environment", {}).items()}
        environment |= self._context.environment()
        environment |= {
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "SAGEMAKER_BASE_DIR": str(inside(self._root)),
            "BINVENTORY_BIND_HOST": "127.0.0.1",  # this process has no separate network, as a container has
            "PYTHONUNBUFFERED": "1",
        }
        if self.spec.model_package:
            environment.setdefault("MODEL_PACKAGE_ARN", self.spec.model_package)
        return environment

    def _wait_until_healthy(self, cancelled: threading.Event) -> None:
        deadline = time.monotonic() + self.spec.startup_seconds
        pause = 0.02
        while time.monotonic() < deadline:
            if cancelled.is_set():
                raise InstanceFailed("cancelled")
            status = self._container.wait(0) if self._container else None
            if status is not None:
                raise InstanceFailed(f"the server ended with status {status} before it was healthy{self._last_words()}")
            if self._ping():
                return
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        raise InstanceFailed(f"no healthy ping within {self.spec.startup_seconds:.0f} s{self._last_words()}")

    def _watch(self) -> None:
        missed = 0
        while not self._stopping.is_set():
            status = self._container.wait(_PING_EVERY) if self._container else 0
            if self._stopping.is_set():
                return
            missed = 0 if status is None and self._ping() else missed + 1
            if status is not None or missed >= _PINGS_BEFORE_REPLACING:
                why = f"ended with status {status}" if status is not None else f"missed {missed} pings"
                self._log.write(f"[local_aws] the server {why}; it is replaced")
                self._lost(self)
                return

    def _ping(self) -> bool:
        return http_status(self.port, "/ping", _PING_SECONDS) == 200

    def _read_line(self, line: str) -> None:
        self._tail.append(line)
        self._log.write(line)

    def _last_words(self) -> str:
        return f"; its last output: {' | '.join(self._tail)}" if self._tail else ""
