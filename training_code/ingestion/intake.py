"""One photo from bytes to what a shard keeps: checked and decoded once; training photos resized and encoded again.

Validation and test photos keep the bytes that they came in. A model is judged on those, as callers send them. Only
training photos are made small, because they are read again in every epoch.

Plain JPEGs are decoded by libjpeg-turbo directly: the pixels that Pillow gives, in two thirds of its time. Plain is a
colour JPEG with no metadata beside JFIF's, so nothing in it can turn the photo or change its colours. Any other photo
and any damaged one is left to `photo.read_header`, which names what is wrong with it.

The pixels of a photo that keeps its bytes are not used. It is decoded at an eighth of its size, in two thirds of the
time: every code of the file is read as for the whole picture, so the same damage is found.

Resizing uses the processor's vector instructions, in a fifth of the time of `photo.resize_shorter_side`. The filter is
Pillow's (bilinear with antialiasing). Only the rounding between its two passes differs: a tenth of the values move by
one grey level, hardly any by two. The result is the same on every processor, with or without vector instructions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from numpy.typing import NDArray
from PIL import Image

from binventory.core.contents import md5_of
from photo import JPEG, MAX_BYTES, PNG, check_parts, check_size, kind_of, read_header, resized_size
from photo_parts import jpeg_parts
from stacks.vocabulary import TEST, VALIDATION

SHORTER_SIDE: Final = 256
JPEG_QUALITY: Final = 95
JPEG_SUBSAMPLING: Final = "420"
KEPT_AS_SENT: Final = frozenset({VALIDATION, TEST})
"""Splits whose photos keep their bytes."""

_SUFFIXES: Final = {JPEG: ".jpg", PNG: ".png"}
CHANNELS: Final = 4
"""Red, green, blue and a byte without meaning: vector instructions like four, and Pillow keeps its RGB like that."""
_LAYOUT: Final = "RGBX"
_JFIF: Final = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
# Baseline and progressive.
_FRAMES: Final = (0xC0, 0xC2)
# Beside them quantisation and Huffman tables, restart intervals, comments, and what JFIF says.
_HARMLESS: Final = (0xDB, 0xC4, 0xDD, 0xFE, 0xE0, *_FRAMES)
_SCAN: Final = 0xDA
_EIGHTH: Final = 8
_BILINEAR: Final = ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.bilinear))
# What both libraries call four channels of which none is an alpha channel, which would be multiplied into the others.
_FOUR: Final = "CMYK"
# Bytes; memory that no photo has filled yet costs nothing.
_ROOM: Final = 16 * 1024 * 1024


class DamagedPhoto(Exception):
    """The bytes are not those that the source listed, so they should be read again."""


@dataclass(frozen=True, slots=True)
class SourcePhoto:
    """The photo as the source had it."""

    bytes: int
    format: str
    mode: str
    width: int
    height: int
    md5: str


@dataclass(frozen=True, slots=True)
class ShardPhoto:
    """A photo ready for a shard."""

    data: bytes
    suffix: str
    """Of the file's name, by what the bytes are."""
    width: int
    """Of the upright image that the bytes hold, in pixels."""
    height: int
    source: SourcePhoto


def take_in(data: bytes, md5: str, bench: Workbench, *, as_sent: bool) -> ShardPhoto:
    """Check and decode one photo; keep its bytes, or resize and encode it.

    Args:
        md5: of the photo's content, as listed.
        as_sent: keep the bytes.

    Raises:
        DamagedPhoto: the content has another MD5.
        photo.PhotoError: it is no usable photo.
    """
    if md5_of(data) != md5:
        raise DamagedPhoto(f"its {len(data)} bytes are not the content that was listed")
    if as_sent:
        width, height, source = _checked(bench, data, md5)
        return ShardPhoto(data, _SUFFIXES[kind_of(data) or JPEG], width, height, source)
    pixels, source = _plain(bench, data, md5) or _any(data, md5)
    resized = bench.resize_shorter_side(pixels, SHORTER_SIDE)
    jpeg = encode_jpeg(resized, JPEG_QUALITY, JPEG_SUBSAMPLING)
    return ShardPhoto(jpeg, _SUFFIXES[JPEG], resized.shape[1], resized.shape[0], source)


def _plain(bench: Workbench, data: bytes, md5: str) -> tuple[NDArray[np.uint8], SourcePhoto] | None:
    """Pixels of a plain JPEG, as nearly all photos are; None for any other photo."""
    size = _usable_plain_size(data)
    pixels = None if size is None else bench.decode(data, size)
    return None if size is None or pixels is None else (pixels, _plain_source(data, size, md5))


def _checked(bench: Workbench, data: bytes, md5: str) -> tuple[int, int, SourcePhoto]:
    """Width and height of a photo, upright, after a look at all its bytes."""
    size = _usable_plain_size(data)
    if size is not None and bench.is_whole(data, size):
        return *size, _plain_source(data, size, md5)
    pixels, source = _any(data, md5)
    return pixels.shape[1], pixels.shape[0], source


def _usable_plain_size(data: bytes) -> tuple[int, int] | None:
    """As `plain_jpeg_size`. Raises PhotoError where a decoder must not get the photo."""
    size = plain_jpeg_size(data)
    if size is None or len(data) > MAX_BYTES:
        return None
    check_size(size)
    check_parts(jpeg_parts(data), size[0] * size[1])
    return size


def _plain_source(data: bytes, size: tuple[int, int], md5: str) -> SourcePhoto:
    return SourcePhoto(len(data), "JPEG", "RGB", *size, md5)


def _any(data: bytes, md5: str) -> tuple[NDArray[np.uint8], SourcePhoto]:
    header = read_header(data)
    image = header.image
    source = SourcePhoto(len(data), image.format or "", image.mode, image.width, image.height, md5)
    return four_channels(header.decode().whole()), source


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
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


def decode_plain_jpeg(data: bytes, size: tuple[int, int], buffer: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The pixels [height, width, CHANNELS] of a plain JPEG of this size, in `buffer`; None when it is damaged."""
    width, height = size
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, _LAYOUT, buffer=buffer)
    except ValueError:
        return None
    return pixels if pixels.shape == (height, width, CHANNELS) else None


def is_whole_jpeg(data: bytes, size: tuple[int, int], buffer: NDArray[np.uint8]) -> bool:
    """Whether a plain JPEG of this size is undamaged; `buffer` has room for its pixels at an eighth of the size."""
    width, height = size
    try:
        # The smallest size that libjpeg-turbo can decode to.
        pixels = simplejpeg.decode_jpeg(data, _LAYOUT, min_height=1, min_width=1, buffer=buffer)
    except ValueError:
        return False
    return bool(pixels.shape == (-(-height // _EIGHTH), -(-width // _EIGHTH), CHANNELS))


def encode_jpeg(pixels: NDArray[np.uint8], quality: int, subsampling: str) -> bytes:
    """A JPEG of pixels [height, width, CHANNELS]; `subsampling` of the colours as simplejpeg names it, such as 420."""
    jpeg: bytes = simplejpeg.encode_jpeg(pixels, quality, _LAYOUT, subsampling)
    return jpeg


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Each segment's marker and the position of its length, up to the first scan or the first malformed segment."""
    at = 2
    while at + 10 < len(data) and data[at] == 0xFF:
        yield data[at + 1], at + 2
        at += 2 + int.from_bytes(data[at + 2 : at + 4])


class Workbench:
    """Decodes and resizes photos one after the other in memory that it reuses. Not safe for several threads.

    The arrays that it returns, uint8 [height, width, CHANNELS], are valid until the next call.
    """

    def __init__(self, resizer: Resizer | None = None) -> None:
        self._resizer = resizer or Resizer()
        self._decoded = np.empty(_ROOM, np.uint8)
        self._resized = np.empty(_ROOM, np.uint8)

    def decode(self, data: bytes, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        """As `decode_plain_jpeg`."""
        return decode_plain_jpeg(data, size, _room(self._decoded, size))

    def is_whole(self, data: bytes, size: tuple[int, int]) -> bool:
        """As `is_whole_jpeg`."""
        return is_whole_jpeg(data, size, self._decoded)

    def resize_shorter_side(self, pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        """The pixels with the shorter side at `side`, aspect ratio kept. Other threads may run meanwhile."""
        height, width, _ = pixels.shape
        size = resized_size((width, height), side)
        if size == (width, height):
            return pixels
        resized = _room(self._resized, size)
        self._resizer.resize_pil(_shared(pixels), _shared(resized), _BILINEAR)
        return resized


def four_channels(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an RGB image, [height, width, CHANNELS]."""
    return np.asarray(image.convert("RGBX"))


def _room(kept: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Memory for an image of this size: the kept one, or new memory for an image that is larger than most."""
    shape = size[1], size[0], CHANNELS
    needed = size[0] * size[1] * CHANNELS
    return kept[:needed].reshape(shape) if needed <= kept.size else np.empty(shape, np.uint8)


def _shared(pixels: NDArray[np.uint8]) -> Image.Image:
    """A Pillow image that shares the array's memory."""
    height, width, _ = pixels.shape
    return Image.frombuffer(_FOUR, (width, height), pixels, "raw", _FOUR, 0, 1)
