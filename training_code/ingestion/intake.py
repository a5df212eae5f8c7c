"""One photo from bytes to what a shard keeps: checked, decoded once, resized once, encoded again."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

from PIL import Image

from ingestion.resizing import resize_shorter_side
from ingestion.source import content_md5
from photo import open_photo

SHORTER_SIDE: Final = 256
JPEG_QUALITY: Final = 90
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_PIXELS: Final = 25_000_000


class DamagedPhoto(Exception):
    """The bytes are not those that the source listed: worth reading again."""


@dataclass(frozen=True, slots=True)
class SourcePhoto:
    """What the photo was before it was resized."""

    bytes: int
    format: str
    mode: str
    width: int
    height: int
    md5: str


@dataclass(frozen=True, slots=True)
class ShardPhoto:
    """A photo ready for a shard."""

    jpeg: bytes
    width: int
    height: int
    source: SourcePhoto


def take_in(data: bytes, md5: str) -> ShardPhoto:
    """Check, decode and resize one photo whose content has the given MD5.

    Raises DamagedPhoto when the content has another, photo.PhotoError with its reason when it is no usable photo.
    """
    if content_md5(data) != md5:
        raise DamagedPhoto(f"its {len(data)} bytes are not the content that was listed")
    original = open_photo(data, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
    image = resize_shorter_side(original, SHORTER_SIDE)
    # Pillow copies a JPEG's comment into what it writes; nothing but pixels may travel on.
    image.info.clear()
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY)
    return ShardPhoto(out.getvalue(), image.width, image.height, _as_it_came(original, data, md5))


def _as_it_came(original: Image.Image, data: bytes, md5: str) -> SourcePhoto:
    # A photo that was turned or converted no longer knows its format, so that its header is read once more.
    header = Image.open(io.BytesIO(data)) if original.format is None else original
    return SourcePhoto(len(data), header.format or "", header.mode, header.width, header.height, md5)
