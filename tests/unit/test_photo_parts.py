"""The parts of photos: without its metadata a photo shows the same, and what would hold a decoder is refused."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import photo
from binventory.core.contents import md5_of
from ingestion import intake
from photo import PhotoError, open_photo, read_header
from photo_parts import MAX_PARTS, Parts, jpeg_parts, orientation_of, png_parts
from tests.hostile_photos import (
    chunk,
    encoded,
    inflating_exif,
    jpeg_of_scans,
    png_of_zeros,
    segment,
    with_chunks,
    with_segments,
)


def textured(seed: int, size: tuple[int, int] = (90, 70)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def reason_of(data: bytes) -> str:
    with pytest.raises(PhotoError) as refused:
        open_photo(data)
    return refused.value.reason


@st.composite
def jpegs(draw: st.DrawFn) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = draw(st.integers(0, 9))
    exif[0x010E] = draw(st.text(st.characters(codec="ascii"), max_size=30))
    data = encoded(
        textured(draw(st.integers(0, 99))).convert(draw(st.sampled_from(["RGB", "L", "CMYK"]))),
        progressive=draw(st.booleans()),
        exif=exif,
        comment=draw(st.binary(max_size=30)),
        icc_profile=draw(st.binary(max_size=200)),
    )
    # Thumbnails and profiles may hold what looks like a scan.
    extra = draw(st.lists(st.tuples(st.sampled_from([0xE2, 0xED, 0xFE]), st.binary(max_size=40)), max_size=4))
    return with_segments(data, *(segment(marker, b"\xff\xda" + content) for marker, content in extra))


@given(data=jpegs(), tail=st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_jpeg_shows_the_same_without_its_metadata(data: bytes, tail: bytes) -> None:
    whole = Image.open(io.BytesIO(data))
    parts = jpeg_parts(data + tail)
    alone = Image.open(io.BytesIO(parts.picture))
    assert alone.tobytes() == whole.tobytes()
    assert not {"exif", "comment", "icc_profile"} & set(alone.info)
    said = whole.getexif().get(0x0112)
    assert parts.orientation == (said if said in range(1, 9) else 1)


@given(
    mode=st.sampled_from(["RGB", "L", "LA", "RGBA", "P", "1"]),
    orientation=st.integers(0, 9),
    text=st.binary(max_size=60),
    tail=st.binary(max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_a_png_shows_the_same_without_its_metadata(mode: str, orientation: int, text: bytes, tail: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = textured(1).convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    data = with_chunks(encoded(image, "PNG", exif=exif, **options), chunk(b"tEXt", text), chunk(b"prVt", text))
    parts = png_parts(data + tail)
    alone, whole = Image.open(io.BytesIO(parts.picture)), Image.open(io.BytesIO(data))
    assert alone.convert("RGBA").tobytes() == whole.convert("RGBA").tobytes()
    assert parts.orientation == (orientation if orientation in range(1, 9) else 1)
    assert b"tEXt" not in parts.picture and parts.frames == 1


@given(data=st.binary(max_size=300), kind=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
def test_any_bytes_have_parts(data: bytes, kind: bytes) -> None:
    for parts in (jpeg_parts(kind + data), png_parts(kind + data)):
        assert isinstance(parts, Parts) and 1 <= parts.orientation <= 8
        assert len(parts.picture) <= len(kind + data)
    assert 1 <= orientation_of(b"MM\0*" + data) <= 8


@given(extra=st.integers(0, 80), restarts=st.booleans())
@settings(max_examples=20, deadline=None)
def test_every_scan_is_counted_and_nothing_else(extra: int, restarts: bool) -> None:
    options: dict[str, Any] = {"restart_marker_blocks": 1} if restarts else {}
    data = encoded(textured(2), progressive=True, **options)
    thumbnail = segment(0xE1, b"Exif\0\0" + encoded(textured(3, (40, 40))))
    scans = data.count(b"\xff\xda")
    last = data[data.rindex(b"\xff\xda") : -2]
    whole = with_segments(data[:-2] + last * extra + data[-2:] + encoded(textured(4)), thumbnail)
    assert jpeg_parts(whole).scans == scans + extra
    assert jpeg_parts(whole[:-10]).scans == scans + extra
    assert jpeg_parts(encoded(textured(2))).scans == 1


@pytest.mark.parametrize(
    ("size", "scans", "taken"),
    [((640, 420), 100, True), ((640, 420), 101, False), ((5000, 5000), 16, True), ((5000, 5000), 17, False)],
)
def test_scans_are_counted_before_one_is_drawn(size: tuple[int, int], scans: int, taken: bool) -> None:
    data = jpeg_of_scans(size, scans)
    if taken:
        assert read_header(data).scans == scans
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "load", None)
        assert reason_of(data) == "too_many_scans"
        # Ingest decodes plain JPEGs without Pillow.
        assert intake.plain_jpeg_size(data) == size
        patch.setattr(intake.Workbench, "decode", None)
        with pytest.raises(PhotoError, match="scans"):
            intake.take_in(data, md5_of(data), intake.Workbench(), as_sent=False)


def test_more_parts_than_any_photo_has_are_refused() -> None:
    jpeg, png = encoded(textured(5)), encoded(textured(5), "PNG")
    many = MAX_PARTS + 1
    scan = jpeg.index(b"\xff\xda")
    for data in (
        with_segments(jpeg, segment(0xFE) * many),
        jpeg[:-2] + segment(0xFE) * many + jpeg[-2:],
        jpeg[:scan] + segment(0xDB) * many + jpeg[scan:],
        with_chunks(png, chunk(b"tEXt") * many),
        with_chunks(png, chunk(b"IDAT") * many),
    ):
        assert reason_of(data) == "too_many_parts"
    assert open_photo(with_segments(jpeg, segment(0xFE) * 9000)).size == (90, 70)
    assert open_photo(with_chunks(png, chunk(b"tEXt") * 9000)).size == (90, 70)


def test_metadata_takes_no_memory() -> None:
    exif = inflating_exif(4000, 60_000)
    texts = chunk(b"zTXt", b"k\0\0" + b"x" * 1000) * 900
    for data in (
        with_segments(encoded(textured(6)), *[segment(0xE1, b"Exif\0\0" + exif)] * 20),
        with_chunks(encoded(textured(6), "PNG"), chunk(b"eXIf", exif), texts),
    ):
        tracemalloc.start()
        assert read_header(data).image.size == (90, 70)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * len(data) + 2**20


def test_a_decode_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [encoded(textured(7)), encoded(textured(7), "PNG")]
    headers = [read_header(data) for data in photos]
    monkeypatch.setattr(photo, "DECODE_SECONDS", -1.0)
    for data, header in zip(photos, headers, strict=True):
        assert reason_of(data) == "too_slow"
        with pytest.raises(PhotoError) as refused:
            header.decode()
        assert refused.value.reason == "too_slow"


def test_what_takes_long_or_much_memory_is_large() -> None:
    small, large = (1200, 900), (2000, 1500)
    for size, expected in ((small, False), (large, True)):
        assert read_header(png_of_zeros(*size, rows=1)).large is expected
        assert read_header(encoded(Image.new("RGB", size))).large is expected
    photo_of_a_phone = encoded(Image.new("RGB", (4000, 3000)))
    assert read_header(photo_of_a_phone).large and not read_header(photo_of_a_phone, needed_side=256).large
    assert read_header(jpeg_of_scans((1200, 900), 60), needed_side=256).large
    assert read_header(jpeg_of_scans((3000, 2000), 10), needed_side=256).large
