"""Small buckets of bins in memory, with all kinds of faults."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image


@cache
def jpeg(seed: int, *, size: tuple[int, int] = (60, 48), mode: str = "RGB") -> bytes:
    """A photo unlike any with another seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(size).convert(mode).save(out, "JPEG")
    return out.getvalue()


def metadata(count: int, *, skus: int = 1) -> bytes:
    """A record in the dataset's format: the last SKU holds what the others do not."""
    quantities = [1] * (skus - 1) + [count - skus + 1]
    contents = {f"B{count:03}{number:06}": {"quantity": quantity} for number, quantity in enumerate(quantities)}
    return json.dumps({"BIN_FCSKU_DATA": contents if count else {}, "EXPECTED_QUANTITY": count}).encode()


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(200_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def bucket(blocks: int = 6, photos: int = 8, *, block_size: int = 100) -> dict[str, bytes]:
    """`photos` bins at the start of each of `blocks` blocks of ids, counts 1 to 5 in turn."""
    objects: dict[str, bytes] = {}
    for number in range(blocks * photos):
        name = f"{(number // photos + 1) * block_size + number % photos:05}"
        objects[f"bin-images/{name}.jpg"] = jpeg(number)
        objects[f"metadata/{name}.json"] = metadata(number % 5 + 1)
    return objects


def write(folder: Path, objects: Mapping[str, bytes]) -> Path:
    """The bucket as a folder."""
    for key, data in objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
