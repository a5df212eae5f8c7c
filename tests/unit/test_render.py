"""The renderer stands in for the public bucket: same layout, reproducible, and learnable."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from binventory.render import Bucket, render_bin, render_bucket


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    return render_bucket(tmp_path_factory.mktemp("bucket"), photos=240, seed=1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 25), view=st.integers(0, 3))
def test_equal_arguments_give_equal_pixels(seed: int, count: int, view: int) -> None:
    first, second = render_bin(seed, count, view=view), render_bin(seed, count, view=view)
    assert first.mode == "RGB"
    assert min(first.size) >= 256, "the shorter side must not need enlarging before training"
    assert first.tobytes() == second.tobytes()


def test_another_view_shows_the_same_bin_in_another_light() -> None:
    def small(image: Image.Image) -> npt.NDArray[np.float32]:
        pixels = np.asarray(image.resize((24, 24)).convert("L"), dtype=np.float32)
        pixels -= pixels.mean()
        pixels /= pixels.std()
        return pixels

    same = [np.mean((small(render_bin(s, 4)) - small(render_bin(s, 4, view=1))) ** 2) for s in range(12)]
    other = [np.mean((small(render_bin(s, 4)) - small(render_bin(s + 100, 4))) ** 2) for s in range(12)]
    assert render_bin(0, 4).tobytes() != render_bin(0, 4, view=1).tobytes()
    assert np.median(same) < np.median(other)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="count must not be negative, got -1"):
        render_bin(0, -1)


def test_a_bucket_needs_a_photo(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="photos must be at least 1"):
        render_bucket(tmp_path, photos=0)


def test_the_number_of_processors_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for processors in (1, 7):
        monkeypatch.setattr("binventory.render.bucket.usable_cpus", lambda processors=processors: processors)
        said: list[int] = []
        bucket = render_bucket(tmp_path / str(processors), 60, 3, 0.3, said.append)
        assert said == list(range(1, 61))
        files = sorted(path for path in bucket.folder.rglob("*") if path.is_file())
        contents = {path.relative_to(bucket.folder): path.read_bytes() for path in files}
        found.append((contents, list(bucket.counts.items()), bucket.defects, bucket.wrong))
    assert found[0] == found[1]


def test_the_bucket_is_laid_out_like_the_public_one(bucket: Bucket) -> None:
    for image_id, count in bucket.counts.items():
        image = Image.open(io.BytesIO((bucket.folder / "bin-images" / f"{image_id}.jpg").read_bytes()))
        image.load()
        assert image.format == "JPEG"
        record = json.loads((bucket.folder / "metadata" / f"{image_id}.json").read_text())
        assert record["EXPECTED_QUANTITY"] == count
        assert sum(sku["quantity"] for sku in record["BIN_FCSKU_DATA"].values()) == count
        for asin, sku in record["BIN_FCSKU_DATA"].items():
            assert sku["asin"] == asin
            assert set(sku) == {"asin", "height", "length", "name", "normalizedName", "quantity", "weight", "width"}
            assert sku["weight"]["unit"] == "pounds"
            assert sku["height"]["value"] > 0


def test_records_have_the_fields_of_real_ones(bucket: Bucket, abid: Path) -> None:
    def shape(value: object) -> object:
        return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value)

    def first_sku(path: Path) -> object:
        return next(iter(json.loads(path.read_text())["BIN_FCSKU_DATA"].values()))

    real = first_sku(next(iter(sorted((abid / "metadata").glob("*.json")))))
    rendered_id = next(image_id for image_id, count in bucket.counts.items() if count)
    assert shape(first_sku(bucket.folder / "metadata" / f"{rendered_id}.json")) == shape(real)


def test_the_bucket_gives_quarantine_and_the_split_work_to_do(bucket: Bucket) -> None:
    assert len(bucket.counts) + len(bucket.defects) == 240
    assert len(set(bucket.defects.values())) >= 5
    assert any(count == 0 for count in bucket.counts.values())
    assert any(count > 5 for count in bucket.counts.values())
    assert {1, 2, 3, 4, 5} <= set(bucket.counts.values())
    assert len({int(image_id) // 100 for image_id in bucket.counts}) >= 20, "enough blocks of ids for three splits"
    skus = {
        image_id: set(json.loads((bucket.folder / "metadata" / f"{image_id}.json").read_text())["BIN_FCSKU_DATA"])
        for image_id in bucket.counts
    }
    neighbours = [(a, f"{int(a) + 1:05d}") for a in skus if f"{int(a) + 1:05d}" in skus]
    assert any(skus[a] and skus[a] == skus[b] for a, b in neighbours), "some neighbours show the same bin"


def test_the_count_can_be_learned_from_the_pixels(bucket: Bucket) -> None:
    """Nearest neighbours of plain thumbnails must beat the majority, or the rehearsal would train on noise."""
    ids = [image_id for image_id, count in bucket.counts.items() if 1 <= count <= 5]
    counts = np.array([bucket.counts[image_id] for image_id in ids])
    edges = []
    for image_id in ids:
        image = Image.open(bucket.folder / "bin-images" / f"{image_id}.jpg").convert("RGB").resize((96, 96))
        pixels = np.asarray(image, dtype=np.float32)[48:82, 5:91]
        edges.append(pixels.std(axis=(0, 1)).mean() + np.abs(np.diff(pixels, axis=1)).mean())
    assert np.corrcoef(edges, counts)[0, 1] > 0.3


def test_records_are_made_wrong_where_it_is_asked_for(tmp_path: Path) -> None:
    right, wrong = render_bucket(tmp_path / "right", photos=60), render_bucket(tmp_path / "wrong", 60, 0, 0.3)
    assert not right.wrong and 5 < len(wrong.wrong) < 30
    differing = {image_id for image_id in right.counts if right.counts[image_id] != wrong.counts[image_id]}
    assert differing == set(wrong.wrong) and all(right.counts[name] == wrong.wrong[name] for name in differing)
    for image_id in differing:
        record = json.loads((wrong.folder / "metadata" / f"{image_id}.json").read_text())
        assert record["EXPECTED_QUANTITY"] == wrong.counts[image_id] in range(1, 6)
        photos = [(bucket.folder / "bin-images" / f"{image_id}.jpg").read_bytes() for bucket in (right, wrong)]
        assert photos[0] == photos[1]
