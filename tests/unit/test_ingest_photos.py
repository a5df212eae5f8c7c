"""What ingest does to a photo: the same pixels as the resize of training and serving, or a refusal."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cykooz_resizer import CpuExtensions, Resizer
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import photo
from binventory.core.contents import md5_of
from ingestion import intake
from ingestion.intake import ShardPhoto, SourcePhoto, Workbench, four_channels, take_in


def textured(width: int, height: int, seed: int) -> Image.Image:
    """An image with structure at every scale, as photos have."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def resized(image: Image.Image, side: int, bench: Workbench | None = None) -> NDArray[np.uint8]:
    """An RGB image, [height, width, 3], after ingest's resize."""
    return (bench or Workbench()).resize_shorter_side(four_channels(image), side)[:, :, :3]


def is_the_same_picture(image: Image.Image, side: int) -> bool:
    """Whether both resizes agree: a value in ten is rounded the other way, and hardly ever one is in both passes."""
    ours, reference = resized(image, side), np.asarray(photo.resize_shorter_side(image, side))
    assert ours.shape == reference.shape
    levels = np.abs(ours.astype(int) - reference)
    return int(levels.max()) <= 2 and float((levels > 1).mean()) < 0.001 and float(levels.mean()) < 0.25


@given(
    width=st.integers(32, 900), height=st.integers(32, 900), side=st.sampled_from([48, 256]), seed=st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_resizing_agrees_with_the_common_one(width: int, height: int, side: int, seed: int) -> None:
    assert is_the_same_picture(textured(width, height, seed), side)


def test_an_image_larger_than_one_block_of_pillows_memory_is_read_to_its_end() -> None:
    assert is_the_same_picture(textured(3000, 2500, 1), 256)


def test_the_bytes_are_the_same_with_and_without_vector_instructions() -> None:
    images = [textured(300 + 7 * n, 400 - 5 * n, n) for n in range(8)]
    fast = [resized(image, 256).tobytes() for image in images]
    plain = Resizer()
    plain.cpu_extensions = CpuExtensions.none
    assert [resized(image, 256, Workbench(plain)).tobytes() for image in images] == fast


def test_threads_do_not_disturb_each_other() -> None:
    images = [textured(300 + 7 * n, 400 - 5 * n, n) for n in range(24)]
    alone = [resized(image, 256).tobytes() for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda image: resized(image, 256).tobytes(), images)) == alone


def test_a_workbench_keeps_nothing_of_the_photo_before() -> None:
    images = [textured(300 + 7 * n, 400 - 5 * n, n) for n in range(24)]
    alone = [resized(image, 256).tobytes() for image in images]
    bench = Workbench()
    assert [resized(image, 256, bench).tobytes() for image in images] == alone


def test_real_photos_are_resized_to_the_same_picture(abid: Path) -> None:
    for path in sorted((abid / "bin-images").glob("*.jpg"))[::20]:
        assert is_the_same_picture(photo.open_photo(path.read_bytes()), 256), path.name


def encoded(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def taken_in(data: bytes, *, as_sent: bool = False) -> ShardPhoto:
    return take_in(data, md5_of(data), Workbench(), as_sent=as_sent)


def taken_in_by_pillow(data: bytes) -> ShardPhoto:
    """The way of the photos that are not plain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "plain_jpeg_size", lambda data: None)
        return taken_in(data)


@given(
    width=st.integers(32, 700),
    height=st.integers(32, 700),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from([0, 1, 2]),
    progressive=st.booleans(),
    comment=st.binary(max_size=20),
)
@settings(max_examples=40, deadline=None)
def test_a_plain_jpeg_gives_the_bytes_that_it_gives_by_pillow(
    width: int, height: int, quality: int, subsampling: int, progressive: bool, comment: bytes
) -> None:
    options = {"quality": quality, "subsampling": subsampling, "progressive": progressive, "comment": comment}
    data = encoded(textured(width, height, width), **options)
    if max(width, height) <= 8 * min(width, height):
        assert intake.plain_jpeg_size(data) == (width, height)
        assert taken_in(data) == taken_in_by_pillow(data)


def test_real_photos_are_plain_and_give_the_bytes_that_they_give_by_pillow(abid: Path) -> None:
    for path in sorted((abid / "bin-images").glob("*.jpg"))[::10]:
        data = path.read_bytes()
        assert intake.plain_jpeg_size(data) is not None, path.name
        assert taken_in(data) == taken_in_by_pillow(data), path.name


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2) + content


@pytest.mark.parametrize("marker", [*range(0xE1, 0xF0), 0xC1, 0xC3, 0xC9, 0xDC])
def test_a_jpeg_with_a_segment_that_may_mean_something_is_not_plain(marker: int) -> None:
    data = encoded(textured(300, 260, 1))
    assert intake.plain_jpeg_size(data[:20] + segment(marker, b"some content") + data[20:]) is None


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damage_ends_as_it_does_with_pillow(data: st.DataObject) -> None:
    whole = bytearray(encoded(textured(280, 260, 1), quality=40))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    hurt = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    assert outcome(taken_in, hurt) == outcome(taken_in_by_pillow, hurt)


def outcome(take: Callable[[bytes], ShardPhoto], data: bytes) -> ShardPhoto | str:
    try:
        return take(data)
    except photo.PhotoError as error:
        return error.reason


@pytest.mark.parametrize(
    ("size", "reason"), [((24, 60), "too_small"), ((300, 33), "aspect_ratio"), ((5100, 5000), "too_many_pixels")]
)
def test_a_plain_jpeg_of_a_wrong_size_is_refused_before_it_is_decoded(size: tuple[int, int], reason: str) -> None:
    data = encoded(Image.new("RGB", size))
    assert intake.plain_jpeg_size(data) == size
    with pytest.MonkeyPatch.context() as patch, pytest.raises(photo.PhotoError) as refused:
        patch.setattr(Workbench, "decode", None)
        taken_in(data)
    assert refused.value.reason == reason


def test_a_photo_larger_than_the_memory_that_is_kept_is_taken_in() -> None:
    large = encoded(textured(2400, 2000, 1))
    assert taken_in(large) == taken_in_by_pillow(large)


@pytest.mark.parametrize(
    ("mode", "kind", "orientation"), [("RGB", "JPEG", 1), ("RGB", "JPEG", 6), ("L", "JPEG", 1), ("CMYK", "JPEG", 1)]
)
def test_the_manifest_describes_the_photo_as_it_came(mode: str, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    textured(600, 400, 1).convert(mode).save(out, kind, exif=exif)
    data = out.getvalue()
    taken = taken_in(data)
    assert taken.source == SourcePhoto(len(data), kind, mode, 600, 400, md5_of(data))
    turned = orientation == 6
    assert (taken.width, taken.height) == ((256, 384) if turned else (384, 256))
    with Image.open(io.BytesIO(taken.data)) as shard:
        assert (shard.mode, shard.size, dict(shard.getexif())) == ("RGB", (taken.width, taken.height), {})


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("RGB", "JPEG", {"quality": 95}),
    "grey": ("L", "JPEG", {}),
    "print colours": ("CMYK", "JPEG", {}),
    "turned": ("RGB", "JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    "png": ("RGB", "PNG", {}),
    "transparent png": ("RGBA", "PNG", {}),
    "palette png": ("P", "PNG", {}),
    "several pictures in one": ("RGB", "MPO", {"save_all": True}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_to_be_judged_keeps_its_bytes_and_says_what_they_show(kind: str) -> None:
    mode, format_, options = KINDS[kind]
    image = textured(600, 400, 1).convert(mode)
    if format_ == "MPO":
        options = {**options, "append_images": [image]}
    out = io.BytesIO()
    image.save(out, format_, **options)
    kept, small = taken_in(out.getvalue(), as_sent=True), taken_in(out.getvalue())
    assert kept.data == out.getvalue() != small.data
    assert kept.source == small.source
    assert (
        (kept.width, kept.height)
        == photo.open_photo(kept.data).size
        == ((400, 600) if kind == "turned" else (600, 400))
    )
    assert (kept.suffix, small.suffix) == (".png" if format_ == "PNG" else ".jpg", ".jpg")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_photo_that_would_not_be_answered_is_not_kept_to_be_judged(data: st.DataObject) -> None:
    whole = bytearray(encoded(textured(280, 260, 1), quality=40))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    hurt = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        photo.prepare(hurt, photo.Preprocessing())
    except photo.PhotoError as refused:
        with pytest.raises(photo.PhotoError) as refused_too:
            taken_in(hurt, as_sent=True)
        assert refused_too.value.reason == refused.reason
    else:
        assert taken_in(hurt, as_sent=True).data == hurt


@given(
    st.data(),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
    st.sampled_from([0, 5]),
    st.sampled_from([(280, 261), (33, 64)]),
)
@settings(max_examples=200, deadline=None)
def test_a_photo_to_be_judged_is_refused_for_the_damage_that_refuses_it_for_training(
    data: st.DataObject, subsampling: int, progressive: bool, restarts: int, size: tuple[int, int]
) -> None:
    options = {"subsampling": subsampling, "progressive": progressive, "restart_marker_blocks": restarts}
    whole = bytearray(encoded(textured(*size, 1), quality=40, **options))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    hurt = bytes(whole[: data.draw(st.integers(len(whole) // 2, len(whole)))])
    judged, small = outcome(lambda photo: taken_in(photo, as_sent=True), hurt), outcome(taken_in, hurt)
    assert (
        judged == small if isinstance(judged, str) else isinstance(small, ShardPhoto) and judged.source == small.source
    )


def test_a_plain_photo_to_be_judged_is_looked_at_without_its_whole_picture() -> None:
    data = encoded(textured(601, 400, 1))
    with pytest.MonkeyPatch.context() as patch:
        for whole in ("decode", "resize_shorter_side"):
            patch.setattr(Workbench, whole, None)
        patch.setattr(intake, "read_header", None)
        kept = taken_in(data, as_sent=True)
    assert (kept.width, kept.height, kept.data) == (601, 400, data)
