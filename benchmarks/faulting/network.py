"""Faults of the network between a job and its bucket or endpoint."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.damaging.stages import Made
from benchmarks.faulting.faults import Outcome
from benchmarks.faulting.jobs import Attempt, Job
from benchmarks.object_server import LISTING, Fault, ObjectServer
from tests.audited import CUT, Reply, shade_answer

OF_THE_BUCKET: Final = {"503": Fault.SLOW_DOWN, "reset": Fault.RESET, "cut": Fault.DROP, "flip": Fault.FLIP}
OF_THE_ENDPOINT: Final = ("endpoint 503", "endpoint cut")
_A_RUN: Final = 20
_SHARE: Final = 0.2
_MOST_ATTEMPTS: Final = 5


class Weather:
    """What goes wrong now, at the bucket and at the endpoint: at most `left` faults, each request with a chance."""

    def __init__(self, draw: random.Random) -> None:
        self.kind = ""
        self.left = 0
        self.injected = 0
        self.draw = draw

    def bucket(self, key: str, before: int) -> Fault | None:
        """The fault rule of the object server."""
        # A listing is XML, which a cut or a flipped bit makes unreadable as a whole: botocore and obstore ask again.
        if self.kind not in OF_THE_BUCKET or (key == LISTING and self.kind in ("cut", "flip")) or not self._strikes():
            return None
        return OF_THE_BUCKET[self.kind]

    def endpoint(self, photo: bytes, number: int) -> Reply:
        """The answer of an endpoint that counts by a photo's shade."""
        if self.kind not in OF_THE_ENDPOINT or not self._strikes():
            return shade_answer(photo, number)
        return (503, b"busy") if self.kind.endswith("503") else (CUT, b'{"count": 3, "proba')

    def _strikes(self) -> bool:
        strikes = self.left > 0 and self.draw.random() < _SHARE
        self.left -= strikes
        self.injected += strikes
        return strikes


def storm(work: Job, place: Path, out: Path, whole: Made, weather: Weather, kind: str) -> Outcome:
    """Run under faults of one kind until it ends well; an attempt that fails must say why."""
    weather.kind, weather.left, weather.injected = kind, _A_RUN, 0
    words = ""
    for _ in range(_MOST_ATTEMPTS):
        attempt = Attempt(work, place, out)
        if attempt.status() == 0:
            same = attempt.made == whole
            return Outcome(weather.injected, same, "" if same else f"another result under {kind}")
        words = attempt.said
        if not attempt.named:
            break
    return Outcome(weather.injected, survived=False, words=words)


def server(objects: Mapping[str, bytes], weather: Weather) -> ObjectServer:
    """The bucket."""
    return ObjectServer(objects, fault=weather.bucket)
