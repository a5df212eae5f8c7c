"""Sends the objects of a transform job's input to its servers, a limited number in parallel."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile

import urllib3

from local_aws.core.objects import S3Uri
from local_aws.core.protocol import Document
from local_aws.core.small_objects import LARGEST, SmallObjects
from local_aws.hosting.fleet import Fleet
from local_aws.jobs.channels import ObjectName
from local_aws.jobs.transform_io import BadInput, TransformLimits, assembled, payloads

_NO_INSTANCE_SECONDS = 30.0
_RETRIED = {429, 500, 502, 503, 504}
_MAX_MESSAGE = 600


class TransformStopped(Exception):
    """The job was stopped before the end of its input."""


class FileFailed(Exception):
    """One object was not transformed. `blame` begins the FailureReason: ClientError or AlgorithmError."""

    def __init__(self, blame: str, message: str) -> None:
        super().__init__(message)
        self.blame = blame


class Transformer:
    """Transforms the objects of one job.

    Args:
        s3: S3 with the job's rights, which encrypts with the job's key.
        job: the stored transform job.
        fleet: its servers.
        limits: of the requests to them.
        cancelled: set when the job must end.
    """

    def __init__(
        self, s3: SmallObjects, job: Document, fleet: Fleet, limits: TransformLimits, cancelled: threading.Event
    ) -> None:
        self.written: list[S3Uri] = []
        self.failed = 0
        self.first_failure = FileFailed("ClientError", "")
        self._s3 = s3
        self._input = job["TransformInput"]
        self._output = job["TransformOutput"]
        self._fleet = fleet
        self._limits = limits
        self._cancelled = cancelled
        self._parallel = limits.concurrent * job["TransformResources"]["InstanceCount"]
        self._free = threading.BoundedSemaphore(self._parallel)
        self._requests = ThreadPoolExecutor(self._parallel, thread_name_prefix="transform-request")
        timeout = urllib3.Timeout(connect=5, read=limits.timeout)
        self._http = urllib3.PoolManager(maxsize=self._parallel, retries=False, timeout=timeout)

    def transform_all(self, objects: Iterator[ObjectName], folder: Path, write_line: Callable[[str], None]) -> None:
        """Transform all objects; a failure is counted and written to the log.

        Raises `TransformStopped` when the job is stopped.

        Args:
            objects: the input.
            folder: of responses until they are complete.
            write_line: writes the job's data log.
        """
        folder.mkdir(parents=True, exist_ok=True)
        # While some files are with a server, others are read and written.
        at_once = 2 * self._parallel
        with self._http, self._requests, ThreadPoolExecutor(at_once, "transform-file") as files:
            pending: dict[Future[None], ObjectName] = {}
            while True:
                room = 0 if self._cancelled.is_set() else 2 * at_once - len(pending)
                for item in islice(objects, room):
                    pending[files.submit(self._transform, item, folder)] = item
                if not pending:
                    break
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    self._note(pending.pop(future), future.exception(), write_line)
        if self._cancelled.is_set():
            raise TransformStopped

    def _note(self, item: ObjectName, error: BaseException | None, write_line: Callable[[str], None]) -> None:
        if error is None or isinstance(error, TransformStopped):
            return
        write_line(f"{item.bucket}/{item.key}: {error}")
        if not self.failed:
            blame = error.blame if isinstance(error, FileFailed) else "ClientError"
            self.first_failure = FileFailed(blame, f"s3://{item.bucket}/{item.key}: {error}"[:_MAX_MESSAGE])
        self.failed += 1

    def _transform(self, item: ObjectName, folder: Path) -> None:
        """Write `PATH.out` of one object, or nothing when one of its requests fails."""
        if self._cancelled.is_set():
            raise TransformStopped
        with SpooledTemporaryFile(LARGEST, dir=str(folder)) as file:
            try:
                with self._s3.open(item.bucket, item.key) as body:
                    bodies = payloads(body, self._input, self._limits)
                    whole = self._input.get("SplitType", "None") == "None"
                    responses = map(self._send, bodies) if whole else self._responses(bodies)
                    for part in assembled(responses, self._output.get("AssembleWith", "None")):
                        file.write(part)
            except BadInput as error:
                raise FileFailed("ClientError", str(error)) from None
            if self._cancelled.is_set():
                raise TransformStopped
            target = self._target(item)
            self.written.append(target)
            self._s3.write(target.bucket, target.key, file)

    def _target(self, item: ObjectName) -> S3Uri:
        where = S3Uri.parse(self._output["S3OutputPath"])
        folder = where.key.rstrip("/")
        return S3Uri(where.bucket, f"{folder}/{item.path}.out" if folder else f"{item.path}.out")

    def _responses(self, bodies: Iterator[bytes]) -> Iterator[bytes]:
        """The responses in the order of the requests, of which a few are sent in parallel."""
        waiting: deque[Future[bytes]] = deque()
        try:
            for body in bodies:
                waiting.append(self._requests.submit(self._send, body))
                if len(waiting) >= self._parallel:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _send(self, body: bytes) -> bytes:
        """One response; requests to a busy, slow or lost server are repeated, as ModelClientConfig allows."""
        failure = FileFailed("AlgorithmError", "no instance is healthy")
        for _ in range(self._limits.retries + 1):
            with self._free:
                if self._cancelled.is_set():
                    raise TransformStopped
                try:
                    response = self._post(body)
                except urllib3.exceptions.HTTPError as error:
                    text = f"Model server did not respond to /invocations request: {error}"
                    failure = FileFailed("AlgorithmError", text)
                    continue
            if response.status == 200:
                return response.data
            text = response.data[:200].decode("utf-8", "replace")
            blame = "ClientError" if response.status < 500 else "AlgorithmError"
            failure = FileFailed(blame, f"Bad HTTP status returned from invoke: {response.status}: {text}")
            if response.status not in _RETRIED:
                break
        raise failure

    def _post(self, body: bytes) -> urllib3.BaseHTTPResponse:
        instance = self._fleet.wait_for_one(_NO_INSTANCE_SECONDS)
        if instance is None:
            raise urllib3.exceptions.HTTPError("no instance is healthy")
        wanted = {"Content-Type": self._input.get("ContentType"), "Accept": self._output.get("Accept")}
        headers = {name: value for name, value in wanted.items() if value}
        try:
            url = f"http://127.0.0.1:{instance.port}/invocations"
            return self._http.request("POST", url, body=body, headers=headers)
        finally:
            instance.release()
