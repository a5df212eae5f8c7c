"""Mixes of requests that are let in together and take the most memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from benchmarks.soaking.bodies import JSON, JSON_LINES, NPY, PNG, Request, in_json, in_lines, one_pixel_photos
from tests.hostile_photos import encoded, jpeg_of_scans, png_of_zeros

_LARGEST = (5000, 5000)
_ODD = (4999, 4999)
_FOUR = (4331, 4327)


@dataclass(frozen=True)
class Mix:
    """Requests that are sent at the same time."""

    name: str
    requests: Sequence[Request]


def mixes(photos: Sequence[bytes]) -> list[Mix]:
    """Every mix; one that is not let in as a whole is let in as far as the limits go."""
    progressive = encoded(Image.effect_noise(_LARGEST, 40).convert("RGB"), progressive=True, quality=5)
    # The most that a decoder holds of a JPEG, of a size that no scale divides.
    held = encoded(Image.effect_noise(_ODD, 40).convert("RGB"), progressive=True, quality=5, subsampling=0)
    four = encoded(Image.effect_noise(_FOUR, 40).convert("CMYK"), progressive=True, quality=5)
    turned = encoded(Image.effect_noise(_ODD, 40), quality=20, exif=_sideways())
    wide = png_of_zeros(*_LARGEST, rows=_LARGEST[1], depth=16, colour=6)
    grey = png_of_zeros(*_LARGEST, rows=_LARGEST[1], depth=16)
    # As large as a photo may be that does not wait for its turn.
    small = encoded(Image.effect_noise((1440, 1440), 60).convert("RGB"))
    # JSON lets in 25 MiB, of which base64 makes less than 19.
    many = in_json([photos[0]] * 64)
    escaped = in_json([small] * 10).replace(b"/", b"\\/")
    array = b"\x93NUMPY\x01\x00\x76\x00"
    shape = b"{'descr': '|u1', 'fortran_order': False, 'shape': (64, 360, 360, 3)}"
    pixels = array + shape.ljust(117) + b"\n" + bytes(64 * 360 * 360 * 3)
    return [
        Mix("64 progressive photos of 25 Mpx", [Request("photo", progressive)] * 64),
        Mix("64 progressive photos of 25 Mpx, full colours", [Request("photo", held)] * 64),
        Mix("64 progressive photos of 19 Mpx, CMYK", [Request("photo", four)] * 64),
        Mix("64 grey photos of 25 Mpx, turned", [Request("photo", turned)] * 64),
        Mix("64 photos of 25 Mpx, 16 bits RGBA", [Request("photo", wide, PNG)] * 64),
        Mix("64 photos of 25 Mpx, 16 bits grey", [Request("photo", grey, PNG)] * 64),
        Mix("64 photos of 100 scans", [Request("photo", jpeg_of_scans((1980, 1980), 100))] * 64),
        Mix("64 photos of 2 Mpx", [Request("photo", small)] * 64),
        Mix("two JSON bodies of 64 photos of 25 Mpx", [Request("json", in_json([wide] * 64), JSON)] * 2),
        Mix("ten JSON bodies of ten escaped photos", [Request("json", escaped, JSON)] * 10),
        Mix("ten JSON Lines bodies of ten photos", [Request("lines", in_lines([small] * 10), JSON_LINES)] * 10),
        Mix("two JSON bodies of 26 MB of brackets", [Request("json", b"[" * 26_000_000, JSON)] * 2),
        Mix("two JSON bodies of 26 MB of numbers", [Request("json", b'{"photos":[' + b"1," * 13_000_000, JSON)] * 2),
        Mix("two arrays of 64 photos, 25 MB", [Request("pixels", pixels, NPY)] * 2),
        Mix("two arrays of 8 million photos", [Request("pixels", one_pixel_photos(8_000_000), NPY)] * 2),
        Mix(
            "one of each",
            [
                Request("photo", held),
                Request("photo", wide, PNG),
                Request("json", many, JSON),
                Request("pixels", pixels, NPY),
                *[Request("photo", small)] * 50,
            ],
        ),
    ]


def _sideways() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif
