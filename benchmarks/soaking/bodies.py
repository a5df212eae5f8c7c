"""Good requests with the counts that must come back, and hostile ones without end."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from binventory.render import render_bin
from inference import CountingModel, Reading, predict_fn
from serving.answers import Answer
from tests.hostile_photos import (
    encoded,
    inflating_exif,
    jpeg_of_scans,
    png_of_zeros,
    segment,
    with_chunks,
    with_segments,
)

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonlines"
NPY: Final = "application/x-npy"


@dataclass(frozen=True)
class Request:
    """What is sent, and the counts that must come back; without counts any answer but a 5xx will do."""

    kind: str
    body: bytes
    content_type: str = JPEG
    counts: tuple[int, ...] | None = None
    may_be_read: bool = False
    """Whether the server may answer a request without counts, instead of refusing it."""


def photos() -> list[bytes]:
    """Photos of bins and evenly grey ones, in both formats."""
    found = [encoded(render_bin(seed, 1 + seed % 5)) for seed in range(12)]
    return found + [encoded(Image.new("RGB", (320, 240), (level,) * 3), "PNG") for level in (5, 70, 120, 200, 250)]


def good(counter: CountingModel, given: Sequence[bytes]) -> list[Request]:
    """Photos, pixels and batches, with the counts that the model gives without a server."""

    def counts(*wanted: bytes) -> tuple[int, ...]:
        results = predict_fn(Reading(wanted, batch=True), counter).results
        return tuple(result.count for result in results if isinstance(result, Answer))

    requests = [Request("good photo", photo, JPEG, counts(photo)) for photo in given]
    requests += [Request("good pixels", pixels(photo), NPY, counts(photo)) for photo in given]
    for start in range(0, len(given) - 4, 4):
        batch = given[start : start + 4]
        requests.append(Request("good batch", in_json(batch), JSON, counts(*batch)))
        requests.append(Request("good lines", in_lines(batch), JSON_LINES, counts(*batch)))
    return requests


def pixels(photo: bytes) -> bytes:
    """The photo as an .npy array."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(Image.open(io.BytesIO(photo)).convert("RGB")))
    return stream.getvalue()


def in_json(batch: Sequence[bytes]) -> bytes:
    """The photos as one JSON document."""
    return json.dumps({"photos": [base64.b64encode(photo).decode() for photo in batch]}).encode()


def in_lines(batch: Sequence[bytes]) -> bytes:
    """The photos as JSON Lines."""
    return b"".join(json.dumps({"photo": base64.b64encode(photo).decode()}).encode() + b"\n" for photo in batch)


class Hostile:
    """Hostile requests, each one new, drawn from a seed."""

    def __init__(self, given: Sequence[bytes], chance: random.Random) -> None:
        self._chance = chance
        self._photos = given
        self._fixed = fixed(given[0], chance)
        self._costly = costly()
        self._mutable = [
            *(("mutated photo", photo, JPEG) for photo in given),
            *(("mutated pixels", pixels(photo), NPY) for photo in given[-5:]),
            ("mutated json", in_json(given[-5:]), JSON),
            ("mutated lines", in_lines(given[-5:]), JSON_LINES),
        ]
        self._draws: list[tuple[Callable[[], Request], int]] = [
            (self._mutation, 60),
            (lambda: chance.choice(self._fixed), 25),
            (self._stump, 8),
            (self._noise, 6),
            (lambda: chance.choice(self._costly), 1),
        ]

    def draw(self) -> Request:
        """One more."""
        makers, weights = zip(*self._draws, strict=True)
        make: Callable[[], Request] = self._chance.choices(makers, weights)[0]
        return make()

    def _mutation(self) -> Request:
        """A good body with bytes changed, doubled or left out; mostly near its beginning, where the structure is."""
        kind, body, content_type = self._chance.choice(self._mutable)
        changed = bytearray(body)
        for _ in range(self._chance.randint(1, 20)):
            most = min(len(changed), self._chance.choice((64, 1024, len(changed)))) or 1
            at = self._chance.randrange(most)
            how = self._chance.randrange(4)
            if how == 0:
                changed[at : at + self._chance.randint(1, 16)] = b""
            elif how == 1:
                changed[at:at] = changed[at : at + self._chance.randint(1, 16)]
            else:
                changed[at : at + 1] = bytes([self._chance.randrange(256)])
        return Request(kind, bytes(changed), content_type, may_be_read=True)

    def _stump(self) -> Request:
        kind, body, content_type = self._chance.choice(self._mutable)
        cut = body[: self._chance.randrange(len(body))]
        return Request(kind.replace("mutated", "cut"), cut, content_type, may_be_read=True)

    def _noise(self) -> Request:
        start = self._chance.choice((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\x93NUMPY\x01\x00", b"{", b"["))
        content_type = self._chance.choice((JPEG, JSON, JSON_LINES, NPY, "image/gif", ""))
        return Request("noise", start + self._chance.randbytes(self._chance.randrange(5000)), content_type)


def fixed(photo: bytes, chance: random.Random) -> list[Request]:
    """Requests that are refused in milliseconds."""
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    grey = encoded(Image.new("L", (64, 64)), "PNG")
    header = b"\x93NUMPY\x01\x00\x76\x00"
    shapes = (b"(True, 64, 3)", b"(-1, 64, 3)", b"(64, 64, 3.0)", b"(99999999999, 1, 3)", b"(64,)", b"(0, 64, 64, 3)")
    arrays = [
        header + b"{'descr': '|u1', 'fortran_order': False, 'shape': %b}".ljust(118) % shape + bytes(64 * 64 * 3)
        for shape in shapes
    ]
    refused = [
        Request("empty", b""),
        Request("another format", encoded(frames[0], "WEBP"), PNG),
        Request("one pixel", encoded(Image.new("RGB", (1, 1)), "PNG"), PNG),
        Request("very wide", encoded(Image.new("RGB", (4000, 40)))),
        Request("animated", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]), PNG),
        Request("bomb by header", png_of_zeros(60_000, 60_000, rows=1), PNG),
        Request("unknown type", photo, "image/gif"),
        Request("url", b'{"url": "http://169.254.169.254/"}', JSON),
        Request("nested json", b"[" * 200_000, JSON),
        Request("nested json", b'{"photos": [' + b"[" * 200_000, JSON),
        Request("too many photos", json.dumps({"photos": ["AAAA"] * 1000}).encode(), JSON),
        Request("bad base64", b'{"photo": "####"}', JSON),
        Request("numbers for photos", b'{"photos": [1e999, -0, true, null]}', JSON),
        Request("lone surrogate", b'{"photo": "\\ud800"}', JSON),
        Request("a name twice", b'{"photo": "AAAA", "photo": "AAAA"}', JSON),
        Request("blank lines", b"\n" * 100_000, JSON_LINES),
        Request("many scans", jpeg_of_scans((640, 480), 400)),
        Request("lying pixels", b"\x93NUMPY\x01\x00" + chance.randbytes(100), NPY),
        *(Request("strange shape", array, NPY) for array in arrays),
    ]
    read = [
        Request("inflating exif", with_segments(photo, segment(0xE1, b"Exif\0\0" + inflating_exif(500, 60_000)))),
        Request("many comments", with_segments(photo, *[segment(0xFE, b"x" * 100)] * 10_000)),
        Request("many chunks", with_chunks(grey, *[b"\0\0\0\0tEXt\0\0\0\0"] * 10_000), PNG),
    ]
    return refused + [Request(each.kind, each.body, each.content_type, may_be_read=True) for each in read]


def costly() -> list[Request]:
    """Requests that take a decoder or the network's cable a while."""
    largest = Image.new("RGB", (5000, 5000), (90, 80, 70))
    return [
        Request("too large", bytes(26 * 1024**2)),
        Request("large and black", png_of_zeros(4900, 5000, rows=5000), PNG, may_be_read=True),
        Request("large, 16 bits", png_of_zeros(4900, 5000, rows=5000, depth=16, colour=6), PNG, may_be_read=True),
        Request("large, progressive", encoded(largest, progressive=True, quality=40), may_be_read=True),
        Request("8 million photos", one_pixel_photos(8_000_000), NPY),
    ]


def one_pixel_photos(number: int) -> bytes:
    """An array of so many photos of one pixel each."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 1, 1, 3)}" % number
    return b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117) + b"\n" + bytes(3 * number)
