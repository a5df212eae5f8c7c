"""Searches an ONNX file for weights in other files, before a runtime would open their paths.

A small reader of the protobuf wire format, because the image has no ONNX package and only the structure matters here.
It refuses whatever it might read otherwise than a runtime: numbers that are not written in their shortest form, fields
that ONNX does not have, and fields in another wire type. Where those are allowed, two readers can see two models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_VARINT, _EIGHT, _SIZED, _FOUR = 0, 1, 2, 5
_LENGTHS: Final = {_EIGHT: 8, _FOUR: 4}
_LARGEST_TAG: Final = 2**32 - 1

Fields = dict[int, frozenset[int]]


def _fields_of(
    *, numbers: tuple[int, ...] = (), sized: tuple[int, ...] = (), others: dict[int, frozenset[int]] | None = None
) -> Fields:
    return {
        **dict.fromkeys(numbers, frozenset({_VARINT})),
        **dict.fromkeys(sized, frozenset({_SIZED})),
        **(others or {}),
    }


# Repeated numbers may be packed into one sized field.
_NUMBERS: Final = frozenset({_VARINT, _SIZED})
_FLOATS: Final = frozenset({_FOUR, _SIZED})
FIELDS: Final[dict[str, Fields]] = {
    "ModelProto": _fields_of(numbers=(1, 5), sized=(2, 3, 4, 6, 7, 8, 14, 20, 25, 26)),
    "TrainingInfoProto": _fields_of(sized=(1, 2, 3, 4)),
    "FunctionProto": _fields_of(sized=(1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)),
    "GraphProto": _fields_of(sized=(1, 2, 5, 10, 11, 12, 13, 14, 15, 16)),
    "NodeProto": _fields_of(sized=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
    "AttributeProto": _fields_of(
        numbers=(3, 20),
        sized=(1, 4, 5, 6, 9, 10, 11, 13, 14, 15, 21, 22, 23),
        others={2: frozenset({_FOUR}), 7: _FLOATS, 8: _NUMBERS},
    ),
    "SparseTensorProto": _fields_of(sized=(1, 2), others={3: _NUMBERS}),
    "TensorProto": _fields_of(
        numbers=(2, 14),
        sized=(3, 6, 8, 9, 12, 13, 16),
        others={
            **dict.fromkeys((1, 5, 7, 11), _NUMBERS),
            4: _FLOATS,
            10: frozenset({_EIGHT, _SIZED}),
        },
    ),
}
"""The fields of each ONNX message that can lead to a tensor, and their wire types (onnx.proto)."""
PATHS: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Their fields that hold one another."""
_EXTERNAL_DATA: Final = 13
_DATA_LOCATION: Final = 14
_GRAPH: Final = 7
_DEEPEST: Final = 32


class NotOnnx(Exception):
    """The bytes are no ONNX model, or one that two readers could read differently."""


def keeps_weights_outside(model: bytes) -> bool:
    """Whether a tensor of the model has its data in another file. Raises NotOnnx."""
    content = memoryview(model)
    if not any(number == _GRAPH for number, _ in _fields(content, "ModelProto")):
        raise NotOnnx("there is no graph in it")
    return _leads_outside(content, "ModelProto", 0)


def _leads_outside(content: memoryview, kind: str, depth: int) -> bool:
    if depth > _DEEPEST:
        raise NotOnnx(f"its messages are nested more than {_DEEPEST} deep")
    paths = PATHS[kind]
    # Every field is read, also behind one that leads outside: all of them must be fields of the format.
    outside = False
    for number, value in _fields(content, kind):
        if kind == "TensorProto":
            outside |= number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)
        elif number in paths and isinstance(value, memoryview):
            outside |= _leads_outside(value, paths[number], depth + 1)
    return outside


def _fields(content: memoryview, kind: str) -> Iterator[tuple[int, memoryview | int]]:
    """The fields of one message of that kind: number and payload, which is a number for varints."""
    known = FIELDS[kind]
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, wire = tag >> 3, tag & 7
        if tag > _LARGEST_TAG or wire not in known.get(number, ()):
            raise NotOnnx(f"{kind} has no field {number} of wire type {wire}")
        if wire == _VARINT:
            value, place = _varint(content, place)
            yield number, value
            continue
        if wire == _SIZED:
            length, place = _varint(content, place)
        else:
            length = _LENGTHS[wire]
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
            if byte == 0 and shift:
                raise NotOnnx("a number is not written in its shortest form")
            return value, place
    raise NotOnnx("a number has no end")
