"""Whether a fast engine's features may replace those of PyTorch in fp32, measured on photos.

An error is given as a share of what tells photos apart: the norm of the features' deviations from their mean photo.
A head sees features relative to that spread, so a share means the same for every network and every scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelling.bin_model import BinModel

Photos = NDArray[np.uint8]
Run = Callable[[Iterable[Photos]], Iterator[Tensor]]
FP32_SHARE: Final = 1e-3
"""Most that fp32 engines may differ by: they add in other orders, nothing else."""
BF16_FACTOR: Final = 3.0
"""Most that an engine's bf16 may be worse than PyTorch's own, the yardstick of what bf16 can keep: PyTorch leaves some
operations in fp32 that engines fold into their bf16 neighbours."""
BF16_SHARE: Final = 0.15
"""Most that bf16 may differ by at all. What is served computes in fp32 or int8, and must give the answers that its head
learned on these features: measured, a head keeps 96% of its answers at 0.11, and 79% at 0.21."""
# Photos that all look alike to the network must not make any rounding infinite.
_LEAST_SPREAD: Final = 1e-3


class EngineCheck:
    """The exact features of some photos uint8 [N, S, S, 3], to hold an engine's against."""

    def __init__(self, model: BinModel, photos: Photos) -> None:
        self._model, self._photos = model, photos
        self._exact = self._plain()
        spread = float((self._exact - self._exact.mean(dim=0)).norm())
        self._spread = max(spread, _LEAST_SPREAD * float(self._exact.norm()), torch.finfo(torch.float32).tiny)

    def complaint(self, precision: str, run: Run) -> str | None:
        """Why the engine `run`, which computes in fp32, bf16 or fp16, must not be used; None where it may."""
        error = self._error(torch.cat(list(run([self._photos]))))
        if precision == "fp32":
            return _beyond(error, FP32_SHARE, "")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            own = self._error(self._plain().float())
        return _beyond(error, BF16_FACTOR * own, f", {BF16_FACTOR:g} times PyTorch's own bf16") or _beyond(
            error, BF16_SHARE, ", beyond which rounding changes answers"
        )

    def _plain(self) -> Tensor:
        with torch.inference_mode():
            features: Tensor = self._model.backbone(self._model.normalise(torch.from_numpy(self._photos)))
        return features

    def _error(self, features: Tensor) -> float:
        return float((features - self._exact).norm()) / self._spread


def _beyond(error: float, limit: float, meaning: str) -> str | None:
    """The complaint, if there is one. An error that is not a number exceeds every limit."""
    if error <= limit:
        return None
    return f"its features differ by {error:.3g} of what tells photos apart, more than {limit:.3g}{meaning}"
