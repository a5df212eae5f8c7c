"""One photo from bytes to what a shard keeps: checked and decoded once; training photos resized and encoded again.

Validation and test photos keep the bytes that they came in. A model is judged on those, as callers send them; only
photos to learn from are made small, because they are read again and again.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ingestion import plain_jpeg
from ingestion.resizing import Workbench, four_channels
from ingestion.source import content_md5
from ingestion.split import TEST, VALIDATION
from photo import JPEG, PNG, check_size, kind_of, open_photo

SHORTER_SIDE: Final = 256
JPEG_QUALITY: Final = 95
JPEG_SUBSAMPLING: Final = "420"
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_PIXELS: Final = 25_000_000
KEPT_AS_SENT: Final = frozenset({VALIDATION, TEST})
"""Splits whose photos keep their bytes."""

_SUFFIXES: Final = {JPEG: ".jpg", PNG: ".png"}


class DamagedPhoto(Exception):
    """The bytes are not those that the source listed: worth reading again."""


@dataclass(frozen=True, slots=True)
class SourcePhoto:
    """What the photo was as it came."""

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
    """Check and decode one photo whose content has the given MD5; keep its bytes, or make it small.

    Raises DamagedPhoto when the content has another, photo.PhotoError with its reason when it is no usable photo.
    """
    if content_md5(data) != md5:
        raise DamagedPhoto(f"its {len(data)} bytes are not the content that was listed")
    pixels, source = _plain(bench, data, md5) or _any(data, md5)
    if as_sent:
        return ShardPhoto(data, _SUFFIXES[kind_of(data) or JPEG], pixels.shape[1], pixels.shape[0], source)
    resized = bench.resize_shorter_side(pixels, SHORTER_SIDE)
    jpeg = plain_jpeg.encode(resized, JPEG_QUALITY, JPEG_SUBSAMPLING)
    return ShardPhoto(jpeg, _SUFFIXES[JPEG], resized.shape[1], resized.shape[0], source)


def _plain(bench: Workbench, data: bytes, md5: str) -> tuple[NDArray[np.uint8], SourcePhoto] | None:
    """The fast way, for nearly all photos; None for those that need the other."""
    size = plain_jpeg.size_of(data)
    if size is None or len(data) > MAX_BYTES:
        return None
    check_size(size, MAX_PIXELS)
    pixels = bench.decode(data, size)
    return None if pixels is None else (pixels, SourcePhoto(len(data), "JPEG", "RGB", *size, md5))


def _any(data: bytes, md5: str) -> tuple[NDArray[np.uint8], SourcePhoto]:
    original = open_photo(data, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
    # A photo that was turned or converted no longer knows its format, so that its header is read once more.
    header = Image.open(io.BytesIO(data)) if original.format is None else original
    return four_channels(original), SourcePhoto(
        len(data), header.format or "", header.mode, header.width, header.height, md5
    )
