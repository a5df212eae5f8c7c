"""Bodies of .npy arrays: the shape is checked before a pixel is touched, and the pixels stay in the body.

The header is Python syntax that comes from the client. Only the three fields of the format are read, by their
characters; none of it is evaluated (numpy.lib.format describes the format).
"""

from __future__ import annotations

import math
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.refusals import MAX_PHOTOS, RequestError, too_many_photos

_MAGIC: Final = b"\x93NUMPY"
# By major version: bytes of the header's length.
_LENGTH_BYTES: Final = {1: 2, 2: 4}
# As NumPy's own reader allows.
_MAX_HEADER_BYTES: Final = 10_000
_FIELD: Final = re.compile(
    rb"""\s*+(?P<quote>['"])(?P<name>descr|fortran_order|shape)(?P=quote)\s*+:\s*+"""
    rb"""(?P<value>'[^']*+'|"[^"]*+"|True|False|\([0-9,\s]*+\))\s*+(?:,|$)"""
)
_SIDE: Final = re.compile(rb"[0-9]{1,9}")
_UINT8: Final = frozenset({b"|u1", b"<u1", b">u1", b"=u1", b"u1"})

Pixels = NDArray[np.uint8]


def photos_of_npy(body: bytes) -> tuple[list[Pixels], bool]:
    """The photos [height, width, 3] of an array, and whether it was a batch. Raises RequestError."""
    fields, at = _header(body)
    shape = _shape(fields[b"shape"])
    wanted = fields[b"descr"][1:-1] in _UINT8 and fields[b"fortran_order"] == b"False"
    if not wanted or len(shape) not in (3, 4) or shape[-1] != 3 or min(shape) < 1:
        raise RequestError(
            400, "npy", "send uint8 in C order, [height, width, 3] or [photos, height, width, 3], with no side empty"
        )
    batch = len(shape) == 4
    if batch and shape[0] > MAX_PHOTOS:
        raise too_many_photos()
    if len(body) - at != math.prod(shape):
        raise RequestError(400, "npy", f"the array says {shape} but holds {len(body) - at} bytes")
    array = np.frombuffer(body, dtype=np.uint8, offset=at).reshape(shape)
    return (list(array) if batch else [array]), batch


def _header(body: bytes) -> tuple[dict[bytes, bytes], int]:
    """The fields descr, fortran_order and shape as they are written, and where the pixels begin."""
    length_bytes = _LENGTH_BYTES.get(body[6]) if body.startswith(_MAGIC) and len(body) > 7 else None
    if length_bytes is None or body[7] != 0:
        raise _no_array()
    start = 8 + length_bytes
    length = int.from_bytes(body[8:start], "little")
    text = body[start : start + length].strip()
    if length > _MAX_HEADER_BYTES or start + length > len(body) or text[:1] != b"{" or text[-1:] != b"}":
        raise _no_array()
    inside = text[1:-1].strip()
    fields: dict[bytes, bytes] = {}
    at = 0
    while at < len(inside):
        field = _FIELD.match(inside, at)
        if field is None or field["name"] in fields:
            raise _no_array()
        fields[field["name"]] = field["value"]
        at = field.end()
    if len(fields) != 3 or fields[b"shape"][:1] != b"(" or fields[b"descr"][:1] not in (b"'", b'"'):
        raise _no_array()
    return fields, start + length


def _shape(text: bytes) -> tuple[int, ...]:
    sides = [side.strip() for side in text[1:-1].split(b",")]
    # A tuple of one needs a comma behind it; any tuple may have one.
    if sides[-1] == b"":
        sides.pop()
    if not all(_SIDE.fullmatch(side) for side in sides):
        raise _no_array()
    return tuple(int(side) for side in sides)


def _no_array() -> RequestError:
    return RequestError(400, "npy", "the body is no .npy array of version 1 or 2")
