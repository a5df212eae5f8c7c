"""The parts of a JPEG or PNG, read before a decoder gets the bytes: how many there are, and which ones show the photo.

Decoders draw as many scans as a JPEG has, and their readers hold every comment and every tag of the metadata in memory,
so that a few kilobytes can cost hours or gigabytes. Here parts are only counted and passed over, up to a limit. A
decoder then gets the picture alone. Of the metadata, only the orientation changes what a photo shows.

Sources: ITU-T T.81 annex B (JPEG), the PNG specification (third edition), TIFF 6.0 section 2 (EXIF).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

MAX_PARTS: Final = 16_384
"""Segments of a JPEG or chunks of a PNG after which nothing more is read. A 16 MiB PNG in chunks of 4 KiB has 4,096."""
UPRIGHT: Final = 1
"""The orientation of a photo that is not turned, and of one that does not say."""

# A marker that starts a segment, ends the picture or starts a scan; decoders skip what lies before it.
_MARKER: Final = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_END, _SCAN, _EXIF_SEGMENT = 0xD9, 0xDA, 0xE1
# Frames, Huffman and arithmetic tables, quantisation tables, restart intervals, and the two that tell the colour space:
# JFIF's and Adobe's.
_PICTURE_SEGMENTS: Final = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, 0xE0, 0xEE})
# Frames: all but the tables of C4 and CC, and C8, which is reserved.
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_COEFFICIENT_BYTES: Final = 2
_EXIF_NAME: Final = b"Exif\0\0"

_PNG_SIGNATURE_BYTES: Final = 8
_PICTURE_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})

_ORIENTATION_TAG: Final = 0x0112
_ENTRY_BYTES: Final = 12
# A number of the types BYTE, SHORT and LONG, by the type's code.
_NUMBERS: Final = {1: "B", 3: "H", 4: "I"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What the parts of a photo say; `parts` is more than MAX_PARTS when not all were read.

    `scans` are the passes in which a JPEG is drawn, 0 for a PNG. `frames` are those of an animated PNG. `orientation`
    is EXIF's, 1 to 8.
    """

    shown: tuple[memoryview, ...]
    """The pieces of the photo that are its picture, in order: they share its memory."""
    parts: int
    scans: int = 0
    frames: int = 1
    orientation: int = UPRIGHT
    held: float = 0.0
    """Coefficients a pixel that a decoder holds of the whole photo at once."""

    @property
    def picture(self) -> bytes:
        """The photo without its metadata. Ingest, which reads no metadata, does not ask for this copy."""
        return b"".join(self.shown)

    def held_bytes(self, pixels: int) -> int:
        """Bytes that a decoder holds of the whole photo, beside the image that it makes."""
        return int(_COEFFICIENT_BYTES * self.held * pixels)


def jpeg_parts(data: bytes) -> Parts:
    """The parts of what begins as a JPEG. A malformed one gives a picture that no decoder reads."""
    content = memoryview(data)
    shown = [content[:2]]
    at, parts, orientation = 2, 0, None
    held, held_if_split, components = 0.0, 0.0, 0
    while (found := _MARKER.search(data, at)) and parts <= MAX_PARTS:
        parts += 1
        marker, at = found[1][0], found.end()
        if marker == _END:
            break
        if marker == _SCAN:
            scans, more = _scans(data, at, MAX_PARTS - parts)
            shown.append(content[at - 2 :])
            if scans > 1 or data[at + 2 : at + 3] != bytes((components,)):
                held = held_if_split
            return Parts(tuple(shown), parts + more, scans, orientation=orientation or UPRIGHT, held=held)
        end = _end_of_segment(data, at)
        if marker in _PICTURE_SEGMENTS:
            shown.append(content[at - 2 : end])
            if marker in _FRAMES:
                held_if_split, components = _coefficients(data[at:end])
                held = held_if_split if marker in _PROGRESSIVE else 0.0
        elif marker == _EXIF_SEGMENT and orientation is None and data.startswith(_EXIF_NAME, at + 2):
            orientation = orientation_of(data[at + 2 + len(_EXIF_NAME) : end])
        at = end
    return Parts(tuple(shown), parts)


def png_parts(data: bytes) -> Parts:
    """The parts of what begins as a PNG. A malformed one gives a picture that no decoder reads."""
    content = memoryview(data)
    shown = [content[:_PNG_SIGNATURE_BYTES]]
    at, parts, frames, orientation = _PNG_SIGNATURE_BYTES, 0, 1, UPRIGHT
    name = b""
    while name != b"IEND" and at + 8 <= len(data) and parts <= MAX_PARTS:
        parts += 1
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        payload, end = content[at + 8 : at + 8 + length], at + 12 + length
        if name in _PICTURE_CHUNKS:
            shown.append(content[at:end])
        elif name == b"eXIf":
            orientation = orientation_of(bytes(payload))
        elif name == b"acTL":
            frames = int.from_bytes(payload[:4])
        at = end
    return Parts(tuple(shown), parts, frames=frames, orientation=orientation)


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8, that an EXIF block (a TIFF header and its tags) gives; UPRIGHT where it gives none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return UPRIGHT
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    if start + 2 > len(exif):
        return UPRIGHT
    (entries,) = struct.unpack_from(f"{order}H", exif, start)
    entries = min(entries, (len(exif) - start - 2) // _ENTRY_BYTES)
    for at in range(start + 2, start + 2 + entries * _ENTRY_BYTES, _ENTRY_BYTES):
        tag, kind, count = struct.unpack_from(f"{order}HHI", exif, at)
        if tag == _ORIENTATION_TAG and count == 1 and kind in _NUMBERS:
            (value,) = struct.unpack_from(f"{order}{_NUMBERS[kind]}", exif, at + 8)
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def _scans(data: bytes, at: int, most: int) -> tuple[int, int]:
    """Scans from the first one's length on, and the parts among them, of which at most `most` are read and one more."""
    scans, parts = 1, 0
    at = _end_of_segment(data, at)
    while parts <= most and (found := _MARKER.search(data, at)) and found[1][0] != _END:
        parts += 1
        scans += found[1][0] == _SCAN
        at = _end_of_segment(data, found.end())
    return scans, parts


def _coefficients(frame: bytes) -> tuple[float, int]:
    """Coefficients a pixel of a frame, from its segment's length on, and how many components it has."""
    factors = [(frame[at] >> 4, frame[at] & 15) for at in range(9, len(frame), 3)]
    most = max((across for across, _ in factors), default=0) * max((down for _, down in factors), default=0)
    return (sum(across * down for across, down in factors) / most if most else 0.0), len(factors)


def _end_of_segment(data: bytes, at: int) -> int:
    # The length counts its own two bytes. A smaller one is passed over like an empty segment.
    return at + max(2, int.from_bytes(data[at : at + 2]))
