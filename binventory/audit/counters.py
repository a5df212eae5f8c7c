"""The model's answer for a photo, by the endpoint, and what every source of answers gives."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError

from binventory.client import CountError, Queue, count_queued
from binventory.client.counting import MAX_REQUEST_BYTES, TRANSPORT, answer_to, is_too_large, may_pass
from binventory.core.aws import DENIED, Aws, error_code, error_message
from binventory.core.errors import Exit, Problem
from binventory.core.remains import Remains
from binventory.serving import is_absent

_ATTEMPTS: Final = 5
_UNSUITED: Final = {"ValidationError", "ValidationException"}
"""What an endpoint says that is absent, or asynchronous and was asked for an answer at once."""
_SUM_TOLERANCE: Final = 0.01


class PhotoRefusedError(Exception):
    """The model has no answer for this photo and will have none.

    `reason` is a stable code: refused, no_prediction, photo_too_large.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Counter(Protocol):
    """Gives the probability of each count for one photo; safe to call from several threads."""

    @property
    def name(self) -> str:
        """The name of this source of answers, for people. A resumed audit must use the same one."""

    @property
    def needs_photo(self) -> bool:
        """Whether `probabilities` looks at the photo's bytes."""

    def probabilities(self, image_id: str, photo: bytes) -> Mapping[int, float]:
        """Raises PhotoRefusedError for a photo without an answer, Problem when there will be no answers at all."""

    def halt(self) -> None:
        """Ends every wait for an answer that may take long, because nobody waits for the audit any more."""


class Pace:
    """Lets at most `rate` calls a second begin, evenly spaced, in all threads together; None: no limit."""

    def __init__(self, rate: float | None) -> None:
        self._gap = 1 / rate if rate else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Returns when the next call may begin."""
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next)
            self._next = begin + self._gap
        time.sleep(max(0.0, begin - now))


@dataclass(frozen=True)
class EndpointCounter:
    """Asks the SageMaker endpoint photo by photo."""

    aws: Aws
    endpoint: str
    pace: Pace
    patience: float = 1.0
    """Seconds before the first repeated attempt when the endpoint is busy; doubles each time."""
    look: str = "binventory endpoint status"
    """The command that shows the environment's endpoint."""
    find_queue: Callable[[], Queue | None] = lambda: None
    """Finds the queue of an asynchronous endpoint; None where the endpoint is absent."""
    _queues: list[Queue] = field(default_factory=list, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _packages: dict[str, None] = field(default_factory=dict, repr=False, compare=False)
    """The model package of this audit, then others that answered."""

    @property
    def name(self) -> str:
        """The endpoint."""
        return f"endpoint {self.endpoint}"

    @property
    def needs_photo(self) -> bool:
        """Always: the endpoint counts what it is sent."""
        return True

    def probabilities(self, image_id: str, photo: bytes) -> Mapping[int, float]:
        """Asks again while the endpoint is busy; a refusal of this photo is final."""
        if self._queues:
            return self._queued(photo, self._queues[0])
        if len(photo) > MAX_REQUEST_BYTES:
            if (queue := self._found_queue()) is not None:
                return self._queued(photo, queue)
            raise PhotoRefusedError(
                "photo_too_large", f"it has {len(photo)} bytes; SageMaker lets {MAX_REQUEST_BYTES} reach an endpoint"
            )
        try:
            answer = json.loads(
                answer_to(
                    photo,
                    self.endpoint,
                    self.aws.client("sagemaker-runtime"),
                    attempts=_ATTEMPTS,
                    pause=lambda seconds: time.sleep(self.patience * seconds),
                    begin=self.pace.wait,
                )
            )
            table = parse_probabilities(answer)
        except ClientError as error:
            if (refused := _refusal_in(error, len(photo))) is not None:
                raise refused from error
            if error_code(error) in _UNSUITED and (queue := self._found_queue()) is not None:
                return self._queued(photo, queue)
            raise _unanswered(self.endpoint, error) from error
        except TRANSPORT as error:
            raise _stopped(self.endpoint, f"an answer was cut: {str(error)[:200]}") from error
        except ValueError as error:
            raise Problem(
                f"The endpoint {self.endpoint} does not answer as a count model does",
                str(error),
                f"check what it serves: {self.look}",
            ) from error
        self._require_one_model(_package_in(answer))
        return table

    def _found_queue(self) -> Queue | None:
        """The queue that all threads share, so that one sentence names the photos that stay."""
        with self._lock:
            if not self._queues and (queue := self.find_queue()) is not None:
                self._queues.append(queue)
            return self._queues[0] if self._queues else None

    def expect(self, package: str) -> None:
        """Take the answers of this model package only; "" where it is not known: those of the first that answers."""
        if package:
            self._packages.setdefault(package, None)

    @property
    def package(self) -> str:
        """The model package whose answers are taken; "" where no answer has named one."""
        return next(iter(self._packages), "")

    def halt(self) -> None:
        """Ends the waits for a queue; an endpoint that answers at once is not waited for."""
        for queue in self._queues:
            queue.halted.set()

    def remains(self) -> Iterator[Remains]:
        """The photos that stay in the bucket of a queue because they could not be deleted."""
        for queue in self._queues:
            if (found := queue.remains()) is not None:
                yield found

    def _queued(self, photo: bytes, queue: Queue) -> Mapping[int, float]:
        self.pace.wait()
        try:
            found = count_queued(photo, queue)
        except CountError as error:
            if error.reason == "refused":
                raise PhotoRefusedError("refused", str(error)[:300]) from error
            raise Problem(
                f"The endpoint {self.endpoint} stopped answering",
                str(error),
                "run the same command again: it continues where it stopped; or audit by transform jobs: --batch",
            ) from error
        self._require_one_model(found.package)
        return dict(sorted(found.probabilities.items()))

    def _require_one_model(self, package: str) -> None:
        """Raises Problem for an answer of another model than the answers before it gave: a ranking needs one model."""
        if not package:
            return
        self._packages.setdefault(package, None)  # in the order of their first answers; safe in several threads
        if package != self.package:
            raise Problem(
                f"The endpoint {self.endpoint} answers with another model than before",
                f"this audit is of {self.package}, and {package} answers, as while a new model is rolled out",
                f"see that the rollout has ended ({self.look}), then begin anew with --restart",
            )


def _package_in(answer: Any) -> str:
    """ARN of the model package that answered; "" where the answer names none."""
    model = answer.get("model") if isinstance(answer, dict) else None
    return str(model.get("package") or "") if isinstance(model, dict) else ""


def parse_probabilities(answer: Any) -> Mapping[int, float]:
    """The probabilities of one answer (`{"probabilities": {"1": 0.2, ...}}`). Raises ValueError."""
    table = answer.get("probabilities") if isinstance(answer, dict) else None
    if not isinstance(table, dict) or len(table) < 2:
        raise ValueError("the answer has no probabilities of at least two counts")
    try:
        found = {int(count): float(share) for count, share in table.items()}
    except (TypeError, ValueError):
        raise ValueError("a count or a probability of the answer is no number") from None
    if len(found) < len(table):
        raise ValueError("two probabilities of the answer are of the same count")
    if not all(0 <= share <= 1 for share in found.values()) or abs(sum(found.values()) - 1) > _SUM_TOLERANCE:
        raise ValueError("the probabilities of the answer are not between 0 and 1 with a sum of 1")
    return dict(sorted(found.items()))


def reason_in(answer: Any) -> str | None:
    """Why an answer holds no count: in the endpoint's form, or as `binventory count --output` writes it."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not error:
        return None
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]


def _refusal_in(error: ClientError, size: int) -> PhotoRefusedError | None:
    """The refusal of a photo of `size` bytes; None for an error that says nothing about it."""
    if is_too_large(error):
        return PhotoRefusedError("photo_too_large", f"it has {size} bytes: {error_message(error)}"[:300])
    if error_code(error) != "ModelError" or may_pass(error):
        return None
    return PhotoRefusedError("refused", str(error.response.get("OriginalMessage") or error_message(error))[:300])


def _unanswered(endpoint: str, error: ClientError) -> Problem:
    if is_absent(error_code(error), error_message(error)):
        return Problem(
            f"There is no endpoint {endpoint}",
            "it is off, no model has been approved yet, or --endpoint names no endpoint of this account and region",
            "turn it on: binventory endpoint on, with the --env of this audit; or audit by transform jobs: --batch",
            code=Exit.NOT_READY,
        )
    if error_code(error) in DENIED:
        return Problem(
            f"These credentials may not ask the endpoint {endpoint}",
            error_message(error),
            "allow them sagemaker:InvokeEndpoint, then run the same command again: it continues where it stopped",
        )
    return _stopped(endpoint, error_message(error))


def _stopped(endpoint: str, why: str) -> Problem:
    return Problem(
        f"The endpoint {endpoint} stopped answering", why, "run the same command again: it continues where it stopped"
    )
