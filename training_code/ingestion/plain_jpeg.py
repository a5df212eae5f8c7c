"""Plain JPEGs by libjpeg-turbo's own interface: the pixels that Pillow gives, for two thirds of its time.

Plain is a colour JPEG with no metadata beside JFIF's: nothing in it can turn the photo or change its colours. The
interpreter is free while it is decoded. Whatever else there is, and whatever is damaged, is left to `photo.open_photo`,
the one place that tells what is wrong with a photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

CHANNELS: Final = 4
"""Red, green, blue and a byte without meaning: vector instructions like four, and Pillow keeps its RGB like that."""

_LAYOUT: Final = "RGBX"
_JFIF: Final = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
# Baseline and progressive.
_FRAMES: Final = (0xC0, 0xC2)
# Beside them quantisation and Huffman tables, restart intervals, comments, and what JFIF says.
_HARMLESS: Final = (0xDB, 0xC4, 0xDD, 0xFE, 0xE0, *_FRAMES)
_SCAN: Final = 0xDA


def size_of(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a plain JPEG from its header; None for anything else."""
    if not data.startswith(_JFIF):
        return None
    size = None
    for marker, at in _segments(data):
        if marker == _SCAN:
            return size
        if marker not in _HARMLESS:
            return None
        if marker in _FRAMES:
            # Length, precision, height, width, components.
            precision, components = data[at + 2], data[at + 7]
            if (precision, components) != (8, 3) or size is not None:
                return None
            size = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 3 : at + 5])
    return None


def decode(data: bytes, size: tuple[int, int], buffer: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The pixels of a plain JPEG of this size, [height, width, CHANNELS]; None when it is damaged.

    They lie in `buffer`, which must have room for them.
    """
    width, height = size
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, _LAYOUT, buffer=buffer)
    except ValueError:
        return None
    return pixels if pixels.shape == (height, width, CHANNELS) else None


def encode(pixels: NDArray[np.uint8], quality: int, subsampling: str) -> bytes:
    """A JPEG of pixels [height, width, CHANNELS]; subsampling of the colours as simplejpeg names it, such as 420."""
    jpeg: bytes = simplejpeg.encode_jpeg(pixels, quality, _LAYOUT, subsampling)
    return jpeg


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Each segment's marker and where its length stands, up to the first scan or the first oddity."""
    at = 2
    while at + 10 < len(data) and data[at] == 0xFF:
        yield data[at + 1], at + 2
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
