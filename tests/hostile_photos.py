"""Photos that mean harm to a decoder: small as files, costly to decode or to read."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

from photo_parts import jpeg_parts


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The image's file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def jpeg_of_scans(size: tuple[int, int], scans: int, mode: str = "RGB") -> bytes:
    """A progressive JPEG, evenly grey, whose last scan is repeated until there are so many."""
    data = encoded(Image.new(mode, size, (120,) * len(mode)), progressive=True, quality=50, subsampling=0)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - jpeg_parts(data).scans) + data[-2:]


def segment(marker: int, content: bytes = b"") -> bytes:
    """One segment of a JPEG."""
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2) + content


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """The JPEG with these segments before all others."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def chunk(name: bytes, content: bytes = b"") -> bytes:
    """One chunk of a PNG."""
    return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """The PNG with these chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def inflating_exif(tags: int, size: int) -> bytes:
    """An EXIF block of so many tags, each of which names the same `size` bytes as its value."""
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", tags)
    entries = b"".join(struct.pack("<HHII", 1000 + tag, 7, size, 0) for tag in range(tags))
    return (head + entries + bytes(4)).ljust(size, b"\0")


def png_of_zeros(width: int, height: int, *, rows: int, depth: int = 8, colour: int = 0) -> bytes:
    """A PNG that claims a size and holds so many rows of zeros: small as a file, large as pixels."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    header = width.to_bytes(4) + height.to_bytes(4) + bytes((depth, colour, 0, 0, 0))
    pixels = zlib.compress(bytes(width * channels * depth // 8 + 1) * rows, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND")
