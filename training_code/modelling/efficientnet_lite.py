"""EfficientNet-Lite 0 to 2: EfficientNets without squeeze-and-excitation and with ReLU6, which quantise well.

Tensors have the names of the published weights, so that those load as they are. Written here in place of timm, which
has the same networks: it would bring nine packages, 30 MB and a client of a model hub into every job.

Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class _Stage:
    """`repeats` blocks of one width; only the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


_STAGES: Final = (
    _Stage(1, 3, 1, 1, 16), _Stage(2, 3, 2, 6, 24), _Stage(2, 5, 2, 6, 40), _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112), _Stage(4, 5, 2, 6, 192), _Stage(1, 3, 1, 6, 320),
)  # fmt: skip
_SCALES: Final = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}
"""Width and depth of each, relative to the smallest."""
NAMES: Final = tuple(_SCALES)
_STEM: Final = 32
_WIDTH: Final = 1280


class SamePadding(nn.Conv2d):
    """A convolution padded as TensorFlow does it: what is odd is added below and to the right."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps [N, out, ceil(H / stride), ceil(W / stride)] of [N, in, H, W]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (_missing(side, kernel, stride) for side in inputs.shape[-2:])
        if torch.onnx.is_in_onnx_export():
            stride = self.stride[0]
            found: Tensor = _Unevenly.apply(  # type: ignore[no-untyped-call]
                inputs, self.weight, self.bias, stride, self.groups, height, width
            )
            return found
        padded = functional.pad(inputs, [width // 2, width - width // 2, height // 2, height - height // 2])
        return super().forward(padded)


class _Unevenly(torch.autograd.Function):
    """A convolution that pads its two sides unevenly by itself, which those of ONNX can and those of PyTorch cannot.

    A padding before it would be one more pass over maps in int8.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: int, groups: int, height: int, width: int
    ) -> Tensor:
        """As SamePadding; `height` and `width` are missing rows and columns."""
        padded = functional.pad(inputs, [width // 2, width - width // 2, height // 2, height - height // 2])
        return functional.conv2d(padded, weight, bias, stride, groups=groups)

    @staticmethod
    def symbolic(
        graph: Any, inputs: Any, weight: Any, bias: Any, stride: int, groups: int, height: int, width: int
    ) -> Any:
        """The node of the graph."""
        pads = [height // 2, width // 2, height - height // 2, width - width // 2]
        given = (inputs, weight) if bias is None else (inputs, weight, bias)
        return graph.op("Conv", *given, pads_i=pads, strides_i=[stride, stride], group_i=groups)


class Block(nn.Module):
    """Expand, convolve each channel by itself, project; added to its input where shapes allow."""

    def __init__(self, inputs: int, stage: _Stage, width: int, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        self.expands = stage.expansion != 1
        if self.expands:
            self._expand_conv = SamePadding(inputs, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SamePadding(inner, inner, stage.kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = SamePadding(inner, width, 1, bias=False)
        self._bn2 = _norm(width)
        self.adds = stride == 1 and inputs == width

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps [N, width, H / stride, W / stride] of [N, inputs, H, W]."""
        inner = functional.relu6(self._bn0(self._expand_conv(inputs))) if self.expands else inputs
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        outputs: Tensor = self._bn2(self._project_conv(inner))
        return outputs + inputs if self.adds else outputs


class EfficientNetLite(nn.Module):
    """The named network before its classifier: photos [N, 3, S, S] to features [N, 1280]."""

    width = _WIDTH

    def __init__(self, name: str) -> None:
        super().__init__()
        wider, _ = _SCALES[name]
        self._conv_stem = SamePadding(3, _STEM, 3, 2, bias=False)
        self._bn0 = _norm(_STEM)
        self.stem = nn.ReLU6()
        blocks: list[nn.Module] = []
        inputs = _STEM
        for stage, repeats in zip(_STAGES, _repeats(name), strict=True):
            width = _rounded(stage.width * wider)
            for place in range(repeats):
                blocks.append(Block(inputs, stage, width, stage.stride if place == 0 else 1))
                inputs = width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SamePadding(inputs, _WIDTH, 1, bias=False)
        self._bn1 = _norm(_WIDTH)
        self.top = nn.ReLU6()

    def forward(self, photos: Tensor) -> Tensor:
        """Features [N, 1280] of normalised photos [N, 3, S, S]."""
        maps = self.stem(self._bn0(self._conv_stem(photos)))
        for block in self._blocks:
            maps = block(maps)
        maps = self.top(self._bn1(self._conv_head(maps)))
        return torch.mean(maps, dim=(2, 3))


def stages_of(name: str) -> tuple[str, ...]:
    """Names of the modules that end a stage, from the photo upwards."""
    ends = itertools.accumulate(_repeats(name))
    return ("stem", *(f"_blocks.{end - 1}" for end in ends), "top")


def _repeats(name: str) -> list[int]:
    """Blocks of each stage. The first and the last stage keep their depth in every size."""
    _, deeper = _SCALES[name]
    inner = [math.ceil(stage.repeats * deeper) for stage in _STAGES[1:-1]]
    return [_STAGES[0].repeats, *inner, _STAGES[-1].repeats]


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


def _missing(side: int | Tensor, kernel: int, stride: int) -> int:
    """Pixels by which a side is padded. While a graph is exported a side is a number, and stays the constant it is."""
    side = int(side)
    return max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)


def _rounded(width: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth too small."""
    near = max(8, int(width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * width else near
