"""The precision of training: float32, or bf16 and fp16 where the hardware is faster with them."""

from __future__ import annotations

import contextlib
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16")
_KINDS: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}
_FIRST_SCALE: Final = 2.0**16
_STEPS_TO_GROW: Final = 2000
MOST_LEFT_OUT: Final = 25
"""Steps in a row that may overflow: by 16 the first scale has come down to 1, where it changes nothing any more."""


def half_of_gpu() -> str:
    """bf16 where this GPU computes in it, else fp16: a T4 (ml.g4dn) only emulates bf16, and is slower for it."""
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


@dataclass
class MixedPrecision:
    """Autocast of the forward pass and, for fp16, the scale that keeps small gradients from becoming zero.

    The scale is halved after a step whose loss or gradients overflow, which is left out, and doubled after 2,000 that
    do not. It is our own, not torch.amp.GradScaler, because it has to travel in the checkpoint and every rank must
    agree on it: gradients are averaged before they are looked at, so an overflow anywhere is one everywhere.
    """

    kind: str = "fp32"
    device: torch.device = torch.device("cpu")
    scale: float = 1.0
    good_steps: int = 0
    in_a_row: int = 0
    """Steps that were left out since the last one that was not."""
    left_out: int = 0
    """Steps of this epoch that were left out."""
    _buffers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

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
    def remember(self, network: nn.Module) -> None:
        """Before the forward pass: keep the batch statistics, which an overflow in it would spoil for good."""
        if self.kind != "fp16":
            return
        own = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        self._buffers = [(buffer, buffer.clone()) for buffer in own]

    @torch.no_grad()
    def unscale(self, network: nn.Module, *, loss: float = 0.0, factor: float = 1.0) -> str:
        """Give the gradients their true size times `factor`; returns why training cannot go on, empty where it can.

        In fp16 the gradients are dropped, so that the step is left out, where one of them or the loss has overflowed.
        """
        overflown, times = not math.isfinite(loss), factor / self.scale
        if self.kind != "fp16" and (overflown or times == 1):
            return f"the loss is {loss}" if overflown else ""
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        # A scale is a power of two: dividing by it loses nothing.
        if gradients and times != 1:
            torch._foreach_mul_(gradients, times)
        if self.kind != "fp16":
            return ""
        if not overflown and math.isfinite(float(torch.stack(torch._foreach_norm(gradients)).sum())):
            self.in_a_row = 0
            self.good_steps += 1
            if self.good_steps == _STEPS_TO_GROW:
                self.scale, self.good_steps = self.scale * 2, 0
            return ""
        for value in network.parameters():
            value.grad = None
        if overflown:
            for buffer, kept in self._buffers:
                buffer.copy_(kept)
        self.in_a_row += 1
        self.left_out += 1
        if overflown and self.scale == 1:
            return f"the loss is {loss} in fp16, also without a loss scale"
        self.scale, self.good_steps = max(1.0, self.scale / 2), 0
        if self.in_a_row > MOST_LEFT_OUT:
            return f"{self.in_a_row} steps in a row were left out, since their numbers overflow in fp16,"
        return ""

    @property
    def cure(self) -> str:
        """What else can be done about it than to lower the rate, for a message; empty in other precisions."""
        return "train with precision bf16 or fp32, " if self.kind == "fp16" else ""

    def state(self) -> tuple[float, int, int, int]:
        """State for the checkpoint."""
        return self.scale, self.good_steps, self.in_a_row, self.left_out

    def restore(self, state: tuple[float, int, int, int]) -> None:
        """Take the state of a checkpoint."""
        self.scale, self.good_steps, self.in_a_row, self.left_out = state
