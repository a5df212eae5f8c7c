"""The precision of training: float32, or bf16 and fp16 where the hardware is faster with them."""

from __future__ import annotations

import contextlib
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16")
_KINDS: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}
_FIRST_SCALE: Final = 2.0**16
_STEPS_TO_GROW: Final = 2000


def half_of_gpu() -> str:
    """bf16 where this GPU computes in it, else fp16: a T4 (ml.g4dn) only emulates bf16, and is slower for it."""
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


@dataclass
class MixedPrecision:
    """Autocast of the forward pass and, for fp16, the scale that keeps small gradients from becoming zero.

    The scale is halved after a step whose gradients overflow, which is left out, and doubled after 2,000 that do not.
    It is our own, not torch.amp.GradScaler, because it has to travel in the checkpoint and every rank must agree on
    it: gradients are averaged before they are looked at, so an overflow anywhere is one everywhere.
    """

    kind: str = "fp32"
    device: torch.device = torch.device("cpu")
    scale: float = 1.0
    good_steps: int = 0

    @classmethod
    def of(cls, asked: str, device: torch.device) -> MixedPrecision:
        """What `asked` (one of PRECISIONS) means on a device; auto is fp32 on a CPU, whose bits must repeat."""
        kind = asked if asked != "auto" else half_of_gpu() if device.type == "cuda" else "fp32"
        if kind == "fp32" and device.type == "cuda":
            # By itself cuDNN rounds the factors of a convolution to TF32, which has 11 significant bits of fp32's 24.
            torch.backends.cudnn.allow_tf32 = False
        return cls(kind, device, _FIRST_SCALE if kind == "fp16" else 1.0)

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.kind == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=_KINDS[self.kind])

    def scaled(self, loss: Tensor) -> Tensor:
        """What to call `backward` on."""
        return loss if self.kind != "fp16" else loss * self.scale

    @torch.no_grad()
    def unscale(self, network: nn.Module) -> None:
        """Give the gradients their true size, or drop them all where one has overflowed: the step is then left out."""
        if self.kind != "fp16":
            return
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        # A scale is a power of two: dividing by it loses nothing.
        torch._foreach_mul_(gradients, 1 / self.scale)
        if math.isfinite(float(torch.stack(torch._foreach_norm(gradients)).sum())):
            self.good_steps += 1
            if self.good_steps == _STEPS_TO_GROW:
                self.scale, self.good_steps = self.scale * 2, 0
            return
        for value in network.parameters():
            value.grad = None
        self.scale, self.good_steps = max(1.0, self.scale / 2), 0

    def state(self) -> tuple[float, int]:
        """State for the checkpoint."""
        return self.scale, self.good_steps

    def restore(self, state: tuple[float, int]) -> None:
        """Take the state of a checkpoint."""
        self.scale, self.good_steps = state
