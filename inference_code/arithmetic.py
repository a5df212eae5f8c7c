"""The precision in which features and answers are computed, decided for Embed, Evaluate and the endpoint.

It is not left to the runtime: by default OpenVINO computes in bf16 wherever a processor can, so one model would give
one photo different answers on different machines. Needs OpenVINO only.

fp32: everything in float32. bf16: sums in float32 of products of bfloat16, which has 8 significant bits.
int8: a quantised graph; its other operators compute in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Final

FLOATS: Final = ("fp32", "bf16")
"""Floats in which a CPU can be asked to compute."""
ASKED: Final = ("auto", *FLOATS)
"""The values of the settings `embed.precision` and `evaluation.precision`."""
SERVED: Final = ("fp32", "int8", "bf16")
"""Values of `precision` in serving.json."""
_HINTS: Final = {"fp32": "f32", "bf16": "bf16"}
_HINT: Final = "INFERENCE_PRECISION_HINT"
_READY: Final = Lock()


class PrecisionError(Exception):
    """This processor cannot compute in the requested precision; the message names both and the cure."""


def floats_of_cpu() -> tuple[str, ...]:
    """The floats that this CPU has hardware for, the fastest first."""
    return ("bf16", "fp32") if "BF16" in capabilities_of_cpu() else ("fp32",)


def capabilities_of_cpu() -> Sequence[str]:
    """Capabilities that OpenVINO finds in this CPU, such as FP32, BF16 and INT8."""
    from silent_openvino import openvino

    found: Sequence[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


def floats_for_features(asked: str, offered: Sequence[str]) -> tuple[str, ...]:
    """The floats to try for features, the best first.

    Args:
        asked: one of ASKED; `auto` takes the fastest. Any is right for features: they are made once, and training and
            tuning read the same ones.
        offered: floats of the processor, as of `floats_of_cpu`.

    Raises:
        PrecisionError: the processor lacks the floats that were asked for.
    """
    return tuple(offered) if asked == "auto" else (_had(asked, offered),)


def floats_of_graph(served: str, offered: Sequence[str]) -> str:
    """The floats in which a graph of this precision, one of SERVED, computes on every machine.

    Raises PrecisionError for another precision, and where the processor lacks the floats: with other floats the model
    would answer differently.
    """
    if served not in SERVED:
        raise PrecisionError(f"precision {served} is none of {', '.join(SERVED)}")
    return _had("bf16" if served == "bf16" else "fp32", offered)


def _had(wanted: str, offered: Sequence[str]) -> str:
    if wanted not in offered:
        raise PrecisionError(
            f"precision {wanted} was asked for, and this processor computes in {' and '.join(offered)} only: "
            "take another precision, or a machine that has it (for bf16: ml.c7i, ml.m7i, ml.g5, ml.g6)"
        )
    return wanted


def compile_graph(core: Any, graph: Any, floats: str, properties: Mapping[str, Any]) -> Any:
    """An openvino.CompiledModel for this CPU that computes in `floats`, one of FLOATS.

    Raises PrecisionError where OpenVINO compiles the graph for other floats.
    """
    _make_types_ready()
    compiled = core.compile_model(graph, "CPU", {**properties, _HINT: _HINTS[floats]})
    chosen = compiled.get_property(_HINT).to_string()
    if chosen != _HINTS[floats]:
        raise PrecisionError(f"precision {floats} was asked for, and OpenVINO computes in {chosen} on this processor")
    return compiled


def _make_types_ready() -> None:
    """Let OpenVINO build its table of NumPy types in one thread.

    It builds the table at the first inference. Two first inferences at once wait for each other for ever: one thread
    has begun the table and wants the interpreter's lock, the other has that lock and waits for the table.
    """
    from silent_openvino import openvino

    with _READY:
        openvino.Type.u8.to_dtype()
