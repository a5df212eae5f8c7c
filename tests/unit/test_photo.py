"""Photos: which are decoded, to which pixels, and which are refused with which reason."""

from __future__ import annotations

import io
import pickle
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from photo import (
    MIN_SIDE,
    PhotoError,
    Preprocessing,
    centre_crop,
    open_photo,
    prepare,
    prepare_image,
    resize_shorter_side,
    resized_size,
)
from photo_upright import Upright
from tests.turns import TURNS

PREPROCESSING = Preprocessing()
REASONS = {
    "empty",
    "too_many_bytes",
    "not_jpeg_or_png",
    "unreadable",
    "too_many_pixels",
    "too_small",
    "aspect_ratio",
    "animated",
    "too_many_scans",
    "too_many_parts",
    "too_slow",
}


def textured(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image with structure at every scale, as photos have."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def reference(image: Image.Image) -> NDArray[np.int16]:
    """The training transform: resize the whole photo, then crop it."""
    cropped = centre_crop(resize_shorter_side(image, PREPROCESSING.shorter_side), PREPROCESSING.crop)
    return np.asarray(cropped).astype(np.int16)


@given(width=st.integers(64, 900), height=st.integers(64, 900), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_one_pass_equals_resize_then_crop_within_one_grey_level(width: int, height: int, seed: int) -> None:
    image = textured(width, height, seed)
    assert np.abs(prepare_image(Upright(image), PREPROCESSING) - reference(image)).max() <= 1


def test_real_photos_reach_the_network_as_they_reached_training(abid: Path) -> None:
    for path in sorted((abid / "bin-images").glob("*.jpg"))[::20]:
        data = path.read_bytes()
        assert np.abs(prepare(data, PREPROCESSING) - reference(open_photo(data))).max() <= 1, path.name


def test_resizing_is_what_torchvision_does(abid: Path) -> None:
    from torchvision.transforms import functional  # other tests do without its second of imports

    path = abid / "bin-images" / "00200.jpg"
    theirs = functional.center_crop(functional.resize(Image.open(path), [256]), [224])
    assert reference(open_photo(path.read_bytes())).astype(np.uint8).tobytes() == theirs.tobytes()


def test_scaled_decoding_of_large_photos_keeps_parity(abid: Path) -> None:
    for path in sorted((abid / "bin-images").glob("*.jpg"))[::250]:
        small = open_photo(path.read_bytes())
        size = tuple(round(4.5 * side / 8) * 8 for side in small.size)
        large = small.resize((size[0], size[1]), Image.Resampling.LANCZOS)
        data = encoded(large, quality=90)
        assert 512 <= min(open_photo(data, needed_side=256).size) < min(large.size)
        difference = np.abs(prepare(data, PREPROCESSING) - reference(open_photo(data)))
        assert difference.max() <= 6 and difference.mean() < 0.4, path.name


@given(width=st.integers(32, 4000), height=st.integers(32, 4000), side=st.integers(16, 512))
def test_the_shorter_side_gets_its_length_and_the_ratio_is_kept(width: int, height: int, side: int) -> None:
    resized = resized_size((width, height), side)
    assert min(resized) == side
    exact = max(width, height) * side / min(width, height)
    assert exact - 1 < max(resized) <= max(exact, side)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    image = textured(96, 64)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = open_photo(encoded(image, "PNG", exif=exif))
    turned = TURNS.get(orientation)
    assert upright.tobytes() == (image if turned is None else image.transpose(turned)).tobytes()


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("L", (64, 64), 100), "PNG", 100),
        (Image.new("L", (64, 64), 100), "JPEG", 100),
        (Image.new("1", (64, 64), 1), "PNG", 255),
        (Image.new("P", (64, 64), 0), "PNG", 0),
        (Image.fromarray(np.full((64, 64), 100 * 257, dtype=np.uint16)), "PNG", 100),
        (Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "PNG", 255),
        (Image.new("LA", (64, 64), (80, 255)), "PNG", 80),
        (Image.new("CMYK", (64, 64), (0, 0, 0, 155)), "JPEG", 100),
    ],
    ids=["grey png", "grey jpeg", "1 bit", "palette", "16 bit", "transparent", "grey alpha", "cmyk"],
)
def test_every_colour_mode_becomes_the_rgb_it_shows(image: Image.Image, kind: str, expected: int) -> None:
    opened = open_photo(encoded(image, kind))
    assert opened.mode == "RGB"
    assert np.abs(np.asarray(opened).astype(int) - expected).max() <= 1


def test_a_polyglot_is_read_as_the_photo_it_is() -> None:
    data = encoded(textured(80, 80))
    assert open_photo(data + b"PK\x03\x04<script>alert(1)</script>").tobytes() == open_photo(data).tobytes()


def _animated_png() -> bytes:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    return encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])


def _bomb() -> bytes:
    """A PNG whose header promises 60000 x 60000 pixels."""
    return _with_png_size(encoded(Image.new("L", (64, 64)), "PNG"), 60_000, 60_000)


def _with_png_size(data: bytes, width: int, height: int) -> bytes:
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff", "unreadable"),
        (b"\x89PNG\r\n\x1a\n", "unreadable"),
        (b"GIF89a" + bytes(100), "not_jpeg_or_png"),
        (encoded(Image.new("RGB", (64, 64)), "WEBP"), "not_jpeg_or_png"),
        (encoded(Image.new("RGB", (64, 64)), "TIFF"), "not_jpeg_or_png"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_jpeg_or_png"),
        (encoded(textured(300, 300))[:-2000], "unreadable"),
        (encoded(textured(300, 300), "PNG")[:-2000], "unreadable"),
        (_bomb(), "too_many_pixels"),
        (_with_png_size(_bomb(), 6000, 5000), "too_many_pixels"),
        (encoded(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
        (encoded(Image.new("RGB", (1000, MIN_SIDE - 1))), "too_small"),
        (encoded(Image.new("RGB", (2000, 100))), "aspect_ratio"),
        (_animated_png(), "animated"),
        (bytes(17 * 1024 * 1024), "too_many_bytes"),
    ],
)
def test_what_is_no_photo_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(PhotoError) as refused:
        prepare(data, PREPROCESSING)
    assert refused.value.reason == reason
    assert str(refused.value)


def test_a_refusal_survives_a_process_boundary() -> None:
    copy = pickle.loads(pickle.dumps(PhotoError("empty", "the photo is empty")))
    assert (copy.reason, str(copy)) == ("empty", "the photo is empty")


@given(data=st.binary(max_size=400), kind=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b""]))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused_and_never_crash(data: bytes, kind: bytes) -> None:
    with pytest.raises(PhotoError) as refused:
        prepare(kind + data, PREPROCESSING)
    assert refused.value.reason in REASONS


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[float, int]]:
    return draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=30))


@given(edits=mutations(), cut=st.floats(0.01, 1.0), kind=st.sampled_from(["JPEG", "PNG"]), early=st.booleans())
@settings(max_examples=150, deadline=None)
def test_mutated_photos_give_pixels_or_a_reason(
    edits: list[tuple[float, int]], cut: float, kind: str, early: bool
) -> None:
    data = bytearray(encoded(textured(160, 120), kind))
    # Headers are where parsers break: half of the time every edit falls there.
    reach = min(700, len(data)) if early else len(data)
    for place, value in edits:
        data[int(place * reach)] = value
    try:
        pixels = prepare(bytes(data[: max(1, int(cut * len(data)))]), PREPROCESSING)
    except PhotoError as refused:
        assert refused.reason in REASONS
    else:
        assert pixels.shape == (224, 224, 3) and pixels.dtype == np.uint8


def test_mutated_real_photos_give_pixels_or_a_reason(abid: Path) -> None:
    random = np.random.default_rng(5)
    for path in sorted((abid / "bin-images").glob("*.jpg"))[::40]:
        data = bytearray(path.read_bytes())
        for place in random.integers(0, len(data), 12):
            data[place] = random.integers(0, 256)
        try:
            assert prepare(bytes(data), PREPROCESSING).shape == (224, 224, 3)
        except PhotoError as refused:
            assert refused.reason in REASONS


@pytest.mark.parametrize(
    "wrong",
    [{"crop": 300}, {"crop": 0}, {"shorter_side": 5000}, {"std": (0.1, 0.0, 0.1)}, {"mean": (0.5, 0.5)}],
)
def test_preprocessing_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Preprocessing(**wrong)  # type: ignore[arg-type]
