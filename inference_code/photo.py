"""Bin photos from bytes to pixels: the one place where ingest, training and serving agree on what a photo is.

Whatever changes a pixel between a JPEG and the network lives here, so that a model answers in production what it
answered in evaluation. Needs Pillow and numpy only.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photo_parts import MAX_PARTS, Parts, jpeg_parts, png_parts
from photo_upright import LARGE_PIXELS, Box, Upright

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_PIXELS: Final = 25_000_000
# Below this side there is nothing to count; above this ratio of the sides it is not a photo of a bin, and resizing
# its shorter side would inflate the longer one without bound.
MIN_SIDE: Final = 32
MAX_ASPECT_RATIO: Final = 8.0
MAX_INPUT_SIDE: Final = 1024
"""Of a network's input, pixels."""
# Encoders write progressive JPEGs in 10 to 20 scans. Each scan goes over all pixels, however few bytes it has.
MAX_SCANS: Final = 100
MAX_SCANNED_PIXELS: Final = 400_000_000
# Of a processor, for the header and again for the pixels; a photo within the limits above takes a tenth of it.
DECODE_SECONDS: Final = 10.0
# Of memory that a decoder holds beside the image, for a JPEG that is drawn in several scans: 25 million pixels in three
# colours of full resolution.
MAX_HELD_BYTES: Final = 150_000_000
# Beyond either, photos should be decoded one at a time: an eighth of a second, or memory for 2 million pixels.
_LARGE_SCANNED_PIXELS: Final = 50_000_000
_LARGE_BYTES: Final = 4 * LARGE_PIXELS
# libjpeg can decode at 1/2, 1/4 or 1/8 of the size. Twice the side that is needed leaves the antialiasing filter its
# work: on bin photos the network's input then differs by 0.2 grey levels in the mean and 3 at most; with no headroom
# it was 1.1 and 49.
SCALED_DECODING_HEADROOM: Final = 2

JPEG: Final = "JPEG"
PNG: Final = "PNG"
_SIGNATURES: Final = {b"\xff\xd8\xff": JPEG, b"\x89PNG\r\n\x1a\n": PNG}
CROP: Final = "crop"
WHOLE: Final = "whole"
FITS: Final = (WHOLE, CROP)
"""How a photo is fitted to the network's square input: the whole frame squashed, or its centre cut out."""


class PhotoError(ValueError):
    """The bytes are no photo that can be counted. `reason` is a stable code, the message says it in words.

    Reasons: empty, too_many_bytes, not_jpeg_or_png, unreadable, too_many_pixels, too_small, aspect_ratio, animated,
    too_many_scans, too_many_parts, too_slow.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[PhotoError], tuple[str, str]]:
        return type(self), (self.reason, str(self))


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes the network's input; travels with the model in serving.json.

    `crop` is the side of the input, pixels. With `fit` crop the photo's shorter side becomes `shorter_side` and the
    central square is kept; with whole the frame is squashed to the square, and `shorter_side` is not read.
    `mean` and `std` are per RGB channel on the scale 0..1. `prepare` does not apply them: the served graph does.
    """

    shorter_side: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    fit: str = CROP

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Preprocessing:
        """From the fields of a JSON document. One without `fit` was written when every photo was cropped.

        Raises KeyError, TypeError or ValueError where a field is missing or wrong.
        """
        return cls(
            shorter_side=fields["shorter_side"],
            crop=fields["crop"],
            mean=tuple(fields["mean"]),
            std=tuple(fields["std"]),
            fit=fields.get("fit", CROP),
        )

    @property
    def needed_side(self) -> int:
        """Shorter side, pixels, below which a decoded photo would lack detail that the network could see."""
        return self.crop if self.fit == WHOLE else self.shorter_side

    def __post_init__(self) -> None:
        sides = (self.crop, self.shorter_side)
        if not all(type(side) is int for side in sides) or not 1 <= self.crop <= self.shorter_side <= MAX_INPUT_SIDE:
            raise ValueError(
                f"crop ({self.crop!r}) and shorter_side ({self.shorter_side!r}) must be whole numbers, "
                f"crop in 1..shorter_side, at most {MAX_INPUT_SIDE}"
            )
        for name, values, low, high in (("mean", self.mean, 0, 1), ("std", self.std, 0.001, 1000)):
            numbers = all(is_number(value) and low <= value <= high for value in values)
            if len(values) != 3 or not numbers:
                raise ValueError(f"{name} needs three numbers from {low} to {high}")
        if self.fit not in FITS:
            raise ValueError(f"fit must be one of {', '.join(FITS)}, not {self.fit!r}")


def is_number(value: object) -> bool:
    """Whether a value of a JSON document is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind_of(data: bytes) -> str | None:
    """JPEG or PNG by what the bytes begin with; None for anything else."""
    return next((kind for signature, kind in _SIGNATURES.items() if data.startswith(signature)), None)


@dataclass(frozen=True)
class PhotoHeader:
    """A photo whose header has been read and checked. No pixel is decoded yet.

    `image` is Pillow's, with the size at which it will be decoded, and without metadata.
    """

    image: Image.Image
    pixels: int
    """Of the photo as it was sent."""
    scans: int
    held_bytes: int
    """Which the decoder needs beside the image."""
    orientation: int
    content: Box | None
    """Where the photo lies in the image, whose last row and column may be filled up; None for all of it."""
    _source: _Source

    @property
    def large(self) -> bool:
        """Whether decoding takes so long or so much memory that photos like this one should be decoded in turn."""
        return is_large(self.image.width * self.image.height, self.held_bytes) or (
            self.pixels * self.scans > _LARGE_SCANNED_PIXELS
        )

    def decode(self) -> Upright:
        """The decoded image; works once.

        Raises PhotoError (unreadable, too_slow), and MemoryError where memory is short: that is no fault of the photo.
        """
        try:
            self._source.allow(DECODE_SECONDS)
            self.image.load()
        except (PhotoError, MemoryError):
            raise
        except Exception as error:
            raise PhotoError("unreadable", f"the {self.image.format} is truncated or damaged") from error
        return Upright(self.image, self.orientation, self.content)


def read_header(
    data: bytes,
    *,
    needed_side: int | None = None,
) -> PhotoHeader:
    """Read and check the header of a JPEG or PNG, whatever its name or declared type says.

    With `needed_side`, a JPEG far larger than that may come out at 1/2, 1/4 or 1/8 of its size, which saves most of
    the time and memory. Raises PhotoError for anything else: the caps are checked before a pixel is decoded.
    """
    if not data:
        raise PhotoError("empty", "the photo is empty")
    if len(data) > MAX_BYTES:
        raise PhotoError("too_many_bytes", f"the photo has {len(data)} bytes, more than the {MAX_BYTES} allowed")
    kind = kind_of(data)
    if kind is None:
        raise PhotoError("not_jpeg_or_png", "the bytes are neither a JPEG nor a PNG")
    parts = jpeg_parts(data) if kind == JPEG else png_parts(data)
    check_parts(parts, 0)
    source = _Source(parts.picture)
    try:
        source.allow(DECODE_SECONDS)
        image: Image.Image = Image.open(source, formats=[kind])
    except (PhotoError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError("too_many_pixels", f"the photo has more than the {MAX_PIXELS} pixels allowed") from error
    # Parsers of hostile bytes fail in every way there is (struct.error, SyntaxError, ...): all mean the same here.
    except Exception as error:
        raise PhotoError("unreadable", f"the {kind} header cannot be read") from error
    pixels = image.width * image.height
    check_size(image.size)
    check_parts(parts, pixels)
    content = None if needed_side is None else _decode_scaled(image, needed_side)
    return PhotoHeader(image, pixels, parts.scans, parts.held_bytes(pixels), parts.orientation, content, source)


def is_large(pixels: int, held_bytes: int = 0) -> bool:
    """Whether so many pixels, and bytes held while they are decoded, take so much memory that photos take turns."""
    return 4 * pixels + held_bytes > _LARGE_BYTES


def open_photo(
    data: bytes,
    *,
    needed_side: int | None = None,
) -> Image.Image:
    """Decode a JPEG or PNG into an upright RGB image. Takes and raises what `read_header` does."""
    return read_header(data, needed_side=needed_side).decode().whole()


def resized_size(size: tuple[float, float], side: int) -> tuple[int, int]:
    """(width, height) after the shorter side has become `side` pixels; the longer one is rounded down."""
    width, height = size
    if width <= height:
        return side, max(side, int(side * height / width))
    return max(side, int(side * width / height)), side


def resize_shorter_side(image: Image.Image, side: int) -> Image.Image:
    """The image with its shorter side at `side` pixels, bilinear with antialiasing, aspect ratio kept."""
    size = resized_size(image.size, side)
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def centre_crop(image: Image.Image, side: int) -> Image.Image:
    """The central `side` x `side` pixels; the image must be at least that large."""
    left, top = _centre(image.size, side)
    return image.crop((left, top, left + side, top + side))


def prepare(data: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The network's input for one encoded photo: uint8 RGB [crop, crop, 3]. Raises PhotoError."""
    header = read_header(data, needed_side=preprocessing.needed_side)
    return prepare_image(header.decode(), preprocessing)


def prepare_image(image: Upright, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """As `prepare`, from a decoded image: resize and crop in one pass that touches only what is kept.

    With fit crop the source box is the crop mapped back through the full resize, so every output pixel has the filter
    it has in `centre_crop(resize_shorter_side(image, ...), ...)`; the two differ by rounding, at most one grey level.
    """
    side = preprocessing.crop
    if preprocessing.fit == WHOLE:
        return np.asarray(image.resized(side), dtype=np.uint8)
    first, above, right, bottom = image.content
    width, height = right - first, bottom - above
    size = resized_size((width, height), preprocessing.shorter_side)
    if size == image.size:
        return np.asarray(centre_crop(image.whole(), side), dtype=np.uint8)
    left, top = _centre(size, side)
    across, down = width / size[0], height / size[1]
    box = (left * across, top * down, (left + side) * across, (top + side) * down)
    return np.asarray(
        image.resized(side, (first + box[0], above + box[1], first + box[2], above + box[3])), dtype=np.uint8
    )


def check_size(size: tuple[int, int]) -> None:
    """Raise PhotoError unless (width, height) can be the size of a photo of a bin."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise PhotoError(
            "too_many_pixels", f"the photo has {width} x {height} pixels, more than the {MAX_PIXELS} allowed"
        )
    if min(width, height) < MIN_SIDE:
        raise PhotoError("too_small", f"the photo is {width} x {height}; its shorter side needs {MIN_SIDE} pixels")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise PhotoError(
            "aspect_ratio", f"the photo is {width} x {height}; its sides may differ {MAX_ASPECT_RATIO:.0f} times"
        )


def check_parts(parts: Parts, pixels: int) -> None:
    """Raise PhotoError for a photo of that many pixels whose parts would hold a decoder for long."""
    if parts.parts > MAX_PARTS:
        raise PhotoError("too_many_parts", f"the photo has more than {MAX_PARTS} segments or chunks")
    if parts.scans > MAX_SCANS or parts.scans * pixels > MAX_SCANNED_PIXELS:
        drawn = f"draws {pixels} pixels" if pixels else "is drawn"
        raise PhotoError(
            "too_many_scans",
            f"the JPEG {drawn} in {parts.scans} scans; at most {MAX_SCANS} scans and {MAX_SCANNED_PIXELS} pixels "
            "in all scans are allowed: save it as a baseline JPEG",
        )
    if parts.held_bytes(pixels) > MAX_HELD_BYTES:
        raise PhotoError(
            "too_many_pixels",
            f"the JPEG draws {pixels} pixels in several scans, for which a decoder needs {parts.held_bytes(pixels)} "
            f"bytes; at most {MAX_HELD_BYTES} are allowed: save it as a baseline JPEG",
        )
    # A larger number is none: the file is read as a still photo.
    if 1 < parts.frames <= 2**31:
        raise PhotoError("animated", "the PNG is animated; send one still photo")


def _centre(size: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = size
    if min(size) < side:
        raise ValueError(f"a {width} x {height} image has no central {side} x {side} pixels")
    return round((width - side) / 2), round((height - side) / 2)


class _Source(io.BytesIO):
    """The bytes of a photo, for a decoder that must end in time: it reads them in blocks."""

    def allow(self, seconds: float) -> None:
        """Let the calling thread read until it has used that much more time of a processor."""
        self._until = time.thread_time() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._until:
            raise PhotoError("too_slow", "decoding the photo takes too long")
        return super().read(size)


def _decode_scaled(image: Image.Image, needed_side: int) -> Box | None:
    """Let libjpeg decode a large JPEG at a part of its size. Where the photo lies in the image, unless it fills it."""
    width, height = image.size
    for scale in (8, 4, 2):
        if min(width, height) // scale >= SCALED_DECODING_HEADROOM * needed_side:
            drafted = image.draft("RGB", (width // scale, height // scale))
            return None if drafted is None else drafted[1]
    return None
