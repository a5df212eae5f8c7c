"""Photos are made upright and RGB in bands: the same bytes as the whole, in less memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import photo_upright
from photo import MAX_HELD_BYTES, PhotoError, Preprocessing, prepare, prepare_image, read_header
from photo_parts import jpeg_parts
from photo_upright import Upright
from tests.hostile_photos import encoded, jpeg_of_scans, png_of_zeros
from tests.turns import TURNS

MODES = ["RGB", "L", "LA", "RGBA", "P", "1", "CMYK", "I;16"]


def drawn(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels).convert("RGBA" if mode in ("RGBA", "LA") else "RGB").convert(mode)


def whole_of(image: Image.Image, orientation: int) -> Image.Image:
    """The upright RGB image, without bands."""
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    rgb = image.convert("RGB")
    return rgb.transpose(TURNS[orientation]) if orientation in TURNS else rgb


@given(
    mode=st.sampled_from(MODES),
    orientation=st.integers(1, 8),
    size=st.tuples(st.integers(40, 700), st.integers(40, 700)),
    fit=st.sampled_from(["crop", "whole"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_bands_give_the_bytes_of_the_whole(
    mode: str, orientation: int, size: tuple[int, int], fit: str, seed: int
) -> None:
    image = drawn(mode, size, seed)
    preprocessing = Preprocessing(shorter_side=64, crop=56, fit=fit)
    expected = whole_of(image, orientation)
    assert Upright(image.copy(), orientation).size == expected.size
    assert Upright(image.copy(), orientation).whole().tobytes() == expected.tobytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_upright, "LARGE_PIXELS", 0)
        banded = prepare_image(Upright(image, orientation), preprocessing)
        assert banded.tobytes() == prepare_image(Upright(expected), preprocessing).tobytes()
    at_once = prepare_image(Upright(expected), preprocessing)
    # Between two passes there are whole grey levels; Pillow takes either pass first.
    assert np.abs(banded.astype(np.int16) - at_once).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["crop", "whole"])
def test_a_photo_decoded_at_a_part_of_its_size_does_not_shift(orientation: int, fit: str) -> None:
    noise = Image.effect_noise((40, 30), 120).convert("RGB").resize((1019, 763), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise, quality=95, exif=exif)
    preprocessing = Preprocessing(shorter_side=64, crop=56, fit=fit)
    header = read_header(data, needed_side=preprocessing.needed_side)
    assert header.image.size == (255, 191) and header.content == (0, 0, 1019 / 4, 763 / 4)
    reference = prepare_image(read_header(data).decode(), preprocessing).astype(np.int16)
    difference = np.abs(prepare(data, preprocessing) - reference)
    assert difference.max() <= 6 and difference.mean() < 0.5


def test_what_a_decoder_holds_is_known_before_it_decodes() -> None:
    image = Image.new("RGB", (1600, 1200))
    pixels = image.width * image.height
    drawings: list[tuple[dict[str, Any], int]] = [
        ({}, 0),
        ({"progressive": True, "subsampling": 0}, 6 * pixels),
        ({"progressive": True, "subsampling": 1}, 4 * pixels),
        ({"progressive": True, "subsampling": 2}, 3 * pixels),
    ]
    for options, held in drawings:
        assert jpeg_parts(encoded(image, **options)).held_bytes(pixels) == held
    progressive = encoded(image, progressive=True, subsampling=0)
    second = progressive.index(b"\xff\xda", progressive.index(b"\xff\xda") + 2)
    # The first scan alone is a photo, too, and a decoder holds as much of it.
    assert jpeg_parts(progressive[:second] + b"\xff\xd9").held_bytes(pixels) == 6 * pixels
    assert jpeg_parts(encoded(image.convert("CMYK"), progressive=True)).held_bytes(pixels) == 8 * pixels
    assert read_header(progressive, needed_side=256).large
    assert read_header(progressive[:second] + b"\xff\xd9", needed_side=256).large
    assert not read_header(encoded(image), needed_side=256).large


def test_a_jpeg_of_which_a_decoder_would_hold_too_much_is_refused() -> None:
    assert jpeg_parts(jpeg_of_scans((5000, 5000), 10)).held_bytes(25_000_000) == MAX_HELD_BYTES
    read_header(jpeg_of_scans((5000, 5000), 10))
    with pytest.raises(PhotoError, match="save it as a baseline JPEG") as refused:
        read_header(encoded(Image.new("CMYK", (5000, 4000)), progressive=True, quality=5))
    assert refused.value.reason == "too_many_pixels"


PEAK = """
import sys
from pathlib import Path
from typing import Any
from photo import Preprocessing, prepare
def status(name):
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(name)).split()[1]) / 1024
before = status("VmRSS")
data = sys.stdin.buffer.read()
prepare(data, Preprocessing())
print(status("VmHWM") - before)
"""


def peak_of(data: bytes, code: Path) -> float:
    """MB that a process takes to prepare this photo."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK], input=data, capture_output=True, check=True, env={"PYTHONPATH": str(code)}
    )
    return float(done.stdout)


def test_a_large_photo_is_held_once(repository: Path) -> None:
    code = repository / "inference_code"
    transparent = png_of_zeros(5000, 5000, rows=5000, colour=6)
    assert peak_of(transparent, code) < 140
    exif = Image.Exif()
    exif[0x0112] = 6
    # Coefficients of 25 million pixels in three colours, whose size no scale divides.
    turned = encoded(Image.new("RGB", (4999, 4999)), quality=5, progressive=True, subsampling=0, exif=exif)
    assert peak_of(turned, code) < 190
