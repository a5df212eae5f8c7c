"""What an operation and its engine may use: stored resources, the rest of the local AWS, time and processors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from binventory.core.processors import usable_cpus
from local_aws.core.errors import AwsError, validation
from local_aws.core.host import PROCESS_MARK
from local_aws.core.keys import keys_of
from local_aws.core.metrics import MetricEmitter
from local_aws.core.objects import ObjectStore
from local_aws.core.plain_path import plain_path, remove_plain_path
from local_aws.core.protocol import Document, Operations
from local_aws.core.store import Store, Table
from local_aws.ministack import hooks, iam, trust

_ACTING: ContextVar[tuple[str, str] | None] = ContextVar("acting role, and the service that assumes it", default=None)
SAGEMAKER_PRINCIPAL = "sagemaker.amazonaws.com"
"""Whom the role of a job or a model must trust."""
_SESSIONS = {"cloudformation.amazonaws.com": "AWSCloudFormation"}
_log = logging.getLogger(__name__)
_Shared = TypeVar("_Shared")


class CpuBudget:
    """Processor places that all jobs share, so that parallel trials do not slow each other down.

    A job waits in line for its places; a job that asks for more than there are gets all of them.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._changed = threading.Condition()
        self._line: list[object] = []

    @contextmanager
    def places(self, wanted: int, *, cancelled: threading.Event | None = None) -> Iterator[int]:
        """Hold `wanted` places (at least one, at most all); yields how many. First come, first served.

        When `cancelled` is set, the wait ends early and 0 places are yielded.
        """
        count = max(1, min(wanted, self.total))
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            while self._line[0] is not ticket or self._free < count:
                if cancelled is not None and cancelled.is_set():
                    count = 0
                    break
                self._changed.wait(0.2 if cancelled is not None else None)
            self._line.remove(ticket)
            self._free -= count
            self._changed.notify_all()
        try:
            yield count
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()


class Context:
    """One local AWS, as its operations and engines see it. Safe to share between threads.

    Args:
        state_dir: where this local AWS keeps its state.
        port: the port of its endpoint on loopback.
        account: twelve digits.
        region: the only region.
        time_scale: factor for the waits of a rollout (baking, termination); 1 is as on AWS.
        enforce_iam: whether policies are enforced; jobs and endpoints then have only the rights of their role.
        operations: what answers each operation; `local_aws.registry` has them all.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        port: int,
        account: str,
        region: str,
        time_scale: float = 1.0,
        enforce_iam: bool = False,
        operations: Operations | None = None,
    ) -> None:
        self.started = time.time()
        self.state_dir = state_dir
        self.account = account
        self.region = region
        self.time_scale = time_scale
        self.enforce_iam = enforce_iam
        self.operations: Operations = dict(operations or {})
        self.endpoint_url = f"http://localhost:{port}"
        self.keys = keys_of(state_dir)
        self.store = Store(state_dir / "sagemaker.sqlite")
        self.cpu = CpuBudget(usable_cpus())
        self.stopping = threading.Event()
        self.metrics = MetricEmitter(self._put_metrics)
        self._clients: dict[tuple[str, str | None, float | None], Any] = {}
        self._clients_lock = threading.Lock()
        self._shared: dict[Any, Any] = {}
        self._shared_lock = threading.RLock()
        self._stop_hooks: list[Callable[[], None]] = [lambda: remove_plain_path(state_dir)]

    @property
    def work_dir(self) -> Path:
        """The state directory by a path that a shell takes for one word, for the files of jobs and endpoints."""
        return plain_path(self.state_dir)

    def table(self, family: str) -> Table:
        """Stored resources of one family, for example `TrainingJob`, keyed by name."""
        return self.store.table(family)

    def shared(self, kind: Callable[[Context], _Shared]) -> _Shared:
        """The one object of class `kind` that this local AWS has; the first call makes it, as `kind(context)`."""
        with self._shared_lock:
            if kind not in self._shared:
                self._shared[kind] = kind(self)
            found: _Shared = self._shared[kind]
            return found

    def arn(self, kind: str, name: str) -> str:
        """`arn:aws:sagemaker:REGION:ACCOUNT:KIND/NAME`; SageMaker writes names in lower case there."""
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{kind}/{name.lower()}"

    def now(self) -> float:
        """Seconds since 1970, rounded to the millisecond, as AWS sends timestamps."""
        return round(time.time(), 3)

    @contextmanager
    def acting(self, role_arn: str | None, principal: str = SAGEMAKER_PRINCIPAL) -> Iterator[None]:
        """Inside, this thread acts as a role, which `principal` assumes: clients, environments, calls have its rights.

        None is the service itself, which may do everything. Where policies are not enforced, the service always acts.
        A thread that is started inside begins as the service.
        """
        before = _ACTING.get()
        _ACTING.set((role_arn, principal) if role_arn and self.enforce_iam else None)
        try:
            yield
        finally:
            _ACTING.set(before)

    @property
    def acting_role(self) -> str | None:
        """The role this thread acts as, if any."""
        acting = _ACTING.get()
        return acting[0] if acting else None

    def credentials(self) -> dict[str, str]:
        """Credentials of the acting role, or the account's when no role acts, as environment variables."""
        acting = _ACTING.get()
        if acting is None:
            return self.keys.environment()
        role, principal = acting
        return self.assume_role(role, _SESSIONS.get(principal, "SageMaker"), principal)

    def require_trust(self, role_arn: str, principal: str = SAGEMAKER_PRINCIPAL) -> None:
        """Refuse a role that does not exist, that does not trust the service, or whose trust has a condition that is
        not held."""
        try:
            trusted = trust.is_trusting(role_arn, account=self.account, region=self.region, principal=principal)
        except trust.ConditionNotHeldError as error:
            raise AwsError("NotImplemented", str(error), 501) from None
        if not trusted:
            raise validation(
                f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
                f"'{principal}' to assume the role."
            )

    def assume_role(self, role_arn: str, session_name: str, principal: str = SAGEMAKER_PRINCIPAL) -> dict[str, str]:
        """Credentials with which a service acts as a role, as environment variables.

        Raises:
            AwsError: the role does not exist, or does not trust the service, or its trust has a condition that is not
                held.
        """
        self.require_trust(role_arn, principal)
        return iam.role_session(role_arn, session_name, account=self.account)

    def client(self, service: str, *, patience: float | None = None) -> Any:
        """A boto3 client of this local AWS with the acting role's rights, shared between threads.

        With `patience` a request is made once and waited for so many seconds: a repeated one would do its work again.
        """
        role = self.acting_role
        credentials = self.credentials()
        with self._clients_lock:
            if (service, role, patience) not in self._clients:
                create_client: Any = boto3.client  # the stubs want the service's name as a literal
                self._clients[service, role, patience] = create_client(
                    service,
                    endpoint_url=self.endpoint_url,
                    region_name=self.region,
                    aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
                    aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
                    aws_session_token=credentials.get("AWS_SESSION_TOKEN"),
                    config=Config(
                        max_pool_connections=64,
                        read_timeout=patience or 60,
                        retries={"total_max_attempts": 1 if patience else 3, "mode": "standard"},
                        s3={"addressing_style": "path"},
                    ),
                )
            return self._clients[service, role, patience]

    @property
    def objects(self) -> ObjectStore:
        """Copies between S3 and folders, with the acting role's rights."""
        return ObjectStore(self.client("s3"))

    def environment(self) -> dict[str, str]:
        """Variables with which a process reaches this local AWS as the acting role, and by which it is found again."""
        return self.credentials() | {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            PROCESS_MARK: str(self.state_dir),
        }

    def emit_event(
        self, detail_type: str, detail: Document, resources: list[str], source: str = "aws.sagemaker"
    ) -> None:
        """Send an event of an AWS service through the local EventBridge. Call it from a worker thread."""
        hooks.put_aws_event(
            source=source,
            detail_type=detail_type,
            detail=detail,
            resources=resources,
            account=self.account,
            region=self.region,
        )

    def start_thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Run `work` in the background; an exception that escapes it is logged under this name."""

        def guarded() -> None:
            try:
                work()
            except Exception:
                if not self.stopping.is_set():
                    _log.exception("background work %s failed", name)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def on_stop(self, hook: Callable[[], None]) -> None:
        """Have `hook` called when the local AWS stops; the last one added is called first."""
        self._stop_hooks.append(hook)

    def stop(self) -> None:
        """Stop every engine and wait for it, then close the store."""
        self.stopping.set()
        for hook in reversed(self._stop_hooks):
            try:
                hook()
            except Exception:
                _log.exception("stopping failed in %s", hook)
        self.metrics.stop()
        self.store.close()

    def _put_metrics(self, namespace: str, data: list[Document]) -> None:
        self.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)
