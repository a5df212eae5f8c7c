"""What ingest does to a photo: the same picture that training's and serving's own resize would make."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cykooz_resizer import CpuExtensions, Resizer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import photo
from ingestion import resizing
from ingestion.intake import SourcePhoto, take_in
from ingestion.resizing import resize_shorter_side
from ingestion.source import content_md5


def textured(width: int, height: int, seed: int) -> Image.Image:
    """An image with structure at every scale, as photos have."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def is_the_same_picture(image: Image.Image, side: int) -> bool:
    """Whether both resizes agree: a value in ten is rounded the other way, and hardly ever one is in both passes."""
    ours, reference = resize_shorter_side(image, side), photo.resize_shorter_side(image, side)
    assert (ours.mode, ours.size) == ("RGB", reference.size)
    levels = np.abs(np.asarray(ours).astype(int) - np.asarray(reference))
    return int(levels.max()) <= 2 and float((levels > 1).mean()) < 0.001 and float(levels.mean()) < 0.25


@given(
    width=st.integers(32, 900), height=st.integers(32, 900), side=st.sampled_from([48, 256]), seed=st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_resizing_agrees_with_the_common_one(width: int, height: int, side: int, seed: int) -> None:
    assert is_the_same_picture(textured(width, height, seed), side)


def test_an_image_larger_than_one_block_of_pillows_memory_is_read_to_its_end() -> None:
    assert is_the_same_picture(textured(3000, 2500, 1), 256)


def test_the_bytes_are_the_same_with_and_without_vector_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [textured(300 + 7 * n, 400 - 5 * n, n) for n in range(8)]
    fast = [resize_shorter_side(image, 256).tobytes() for image in images]
    plain = Resizer()
    plain.cpu_extensions = CpuExtensions.none
    monkeypatch.setattr(resizing, "_resizer", lambda: plain)
    assert [resize_shorter_side(image, 256).tobytes() for image in images] == fast


def test_threads_do_not_disturb_each_other() -> None:
    images = [textured(300 + 7 * n, 400 - 5 * n, n) for n in range(24)]
    alone = [resize_shorter_side(image, 256).tobytes() for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda image: resize_shorter_side(image, 256).tobytes(), images)) == alone


def test_real_photos_are_resized_to_the_same_picture(abid: Path) -> None:
    for path in sorted((abid / "bin-images").glob("*.jpg"))[::20]:
        assert is_the_same_picture(photo.open_photo(path.read_bytes()), 256), path.name


@pytest.mark.parametrize(
    ("mode", "kind", "orientation"), [("RGB", "JPEG", 1), ("RGB", "JPEG", 6), ("L", "JPEG", 1), ("CMYK", "JPEG", 1)]
)
def test_the_manifest_tells_of_the_photo_as_it_came(mode: str, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    textured(600, 400, 1).convert(mode).save(out, kind, exif=exif)
    data = out.getvalue()
    taken = take_in(data, content_md5(data))
    assert taken.source == SourcePhoto(len(data), kind, mode, 600, 400, content_md5(data))
    turned = orientation == 6
    assert (taken.width, taken.height) == ((256, 384) if turned else (384, 256))
    with Image.open(io.BytesIO(taken.jpeg)) as shard:
        assert (shard.mode, shard.size, dict(shard.getexif())) == ("RGB", (taken.width, taken.height), {})
