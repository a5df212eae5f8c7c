"""The work of the endpoint in this process, without a server, and how near its model call comes to the int8 peak."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.endpoint.load import Contestant
from benchmarks.endpoint.models import RESNET50_MACS
from benchmarks.endpoint.peak import peak_gmacs
from inference import CountingModel
from serving.cores import inference_threads

_PASSES: Final = 3
_PEAK_SECONDS: Final = 1.0


@dataclass
class Bare:
    """From JPEG to answer in this process, taking turns with a server of the same model and with the peak.

    Of every photo the best time counts, on both sides: on a shared machine a median measures the others. The time
    through the server has in it what the client needs, on the same cores, to send the photo and to read the answer.
    """

    counter: CountingModel
    photos: Sequence[bytes]
    model: list[float] = field(default_factory=list)
    """Wall seconds of the model call alone."""
    cpu: list[float] = field(default_factory=list)
    """Its processor seconds, which hardly depend on what else runs."""
    whole: list[list[float]] = field(default_factory=list)
    """Wall seconds from JPEG to answer, a list for each photo."""
    served: list[list[float]] = field(default_factory=list)
    """The same through the server."""
    peaks: dict[str, float] = field(default_factory=dict)

    def run(self, server: Contestant | None) -> None:
        """One round."""
        threads = inference_threads()
        for precision in ("int8", "fp32"):
            found = peak_gmacs(precision, threads=threads, seconds=_PEAK_SECONDS)
            self.peaks[precision] = max(found, self.peaks.get(precision, 0.0))
        for _ in range(_PASSES):
            _note(self.whole, [self._count(photo) for photo in self.photos])
            if server is not None:
                _note(self.served, server.each(self.photos))

    def _count(self, photo: bytes) -> float:
        begun = time.perf_counter()
        prepared = self.counter.prepare(photo)
        decoded, used = time.perf_counter(), time.process_time()
        scores = self.counter.logits(prepared[None])  # type: ignore[index]
        self.cpu.append(time.process_time() - used)
        self.model.append(time.perf_counter() - decoded)
        self.counter.answer(scores[0])
        return time.perf_counter() - begun

    @property
    def overhead(self) -> float:
        """What the server adds to the call, as a share of the call."""
        return _best(self.served) / _best(self.whole) - 1

    @property
    def share_of_peak(self) -> float:
        """Multiply-adds of the best int8 call in a processor second, as a share of the int8 peak."""
        return RESNET50_MACS / min(self.cpu) / 1e9 / self.peaks["int8"]

    def __str__(self) -> str:
        reached = RESNET50_MACS / min(self.cpu) / 1e9
        server = f"; through the server {1000 * _best(self.served):.2f} ms" if self.served else ""
        return (
            f"model call, int8, batch 1: median {1000 * statistics.median(self.model):.1f} ms, best "
            f"{1000 * min(self.model):.1f} ms; {reached:.0f} GMAC in a processor second: {self.share_of_peak:.0%} of "
            f"the int8 convolution peak measured here ({self.peaks['int8']:.0f}), {reached / self.peaks['fp32']:.1f} "
            f"times the fp32 peak ({self.peaks['fp32']:.0f})\n"
            f"from JPEG to answer, best of each photo, mean: bare {1000 * _best(self.whole):.2f} ms{server}"
        )


def _note(into: list[list[float]], seconds: Sequence[float]) -> None:
    into.extend([] for _ in range(len(seconds) - len(into)))
    for kept, value in zip(into, seconds, strict=True):
        kept.append(value)


def _best(seconds: Sequence[Sequence[float]]) -> float:
    return statistics.mean(min(each) for each in seconds)
