"""Searches an ONNX file for weights in other files, before a runtime would open their paths.

A small reader of the protobuf wire format, because the image has no ONNX package and only the structure matters here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

# For each ONNX message, the fields with messages that can contain a tensor (onnx.proto3).
_PATHS: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14
_GRAPH: Final = 7
_DEEPEST: Final = 32


class NotOnnx(Exception):
    """The bytes are no ONNX model."""


def keeps_weights_outside(model: bytes) -> bool:
    """Whether a tensor of the model has its data in another file. Raises NotOnnx."""
    content = memoryview(model)
    if not any(number == _GRAPH for number, _ in _fields(content)):
        raise NotOnnx("there is no graph in it")
    return _leads_outside(content, "model", 0)


def _leads_outside(content: memoryview, kind: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise NotOnnx(f"its messages are nested more than {_DEEPEST} deep")
    paths = _PATHS.get(kind, {})
    for number, value in _fields(content):
        if kind == "tensor":
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif number in paths and isinstance(value, memoryview) and _leads_outside(value, paths[number], depth + 1):
            return True
    return False


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """The fields of one message: number and payload, which is a number for varints."""
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, place = _varint(content, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _varint(content, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise NotOnnx(f"wire type {wire}")
        if place + length > len(content):
            raise NotOnnx("a field runs past the end")
        yield number, content[place : place + length]
        place += length


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            raise NotOnnx("it ends inside a number")
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise NotOnnx("a number has no end")
