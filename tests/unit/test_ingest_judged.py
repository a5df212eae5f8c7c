"""Validation and test photos keep their bytes; training photos are resized."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ingestion import work
from ingestion.intake import take_in
from ingestion.job import ingest
from ingestion.run import IngestSettings, JobMachine
from ingestion.work import WorkLimits
from shards import Placed, ShardWriter, read_at, read_shards
from tests.unit.bin_bucket import bucket, write

SPLITS = ("train", "validation", "test")
KINDS = (((600, 480), "RGB", "JPEG"), ((480, 600), "RGBA", "PNG"), ((500, 400), "CMYK", "JPEG"))


def encoded(seed: int, size: tuple[int, int], mode: str, kind: str) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(size).convert(mode).save(out, kind)
    return out.getvalue()


def run(photos: Path, output: Path, limits: WorkLimits | None = None) -> None:
    asyncio.run(ingest(IngestSettings(str(photos)), JobMachine(), output, limits=limits or WorkLimits.of(1)))


def test_what_is_judged_is_what_came_and_what_is_learned_from_is_small(tmp_path: Path) -> None:
    objects = bucket()
    for number, key in enumerate(sorted(key for key in objects if key.startswith("bin-images/"))):
        objects[key] = encoded(number, *KINDS[number % len(KINDS)])
    run(write(tmp_path / "in", objects), tmp_path / "out")
    lines = [line for path in (tmp_path / "out/report").glob("manifest-*") for line in path.read_text().splitlines()]
    manifest = {row["id"]: row for row in map(json.loads, lines)}
    judged = {"JPEG": 0, "PNG": 0}
    for split in SPLITS:
        for sample in read_shards(tmp_path / "out" / split):
            original, row = objects[f"bin-images/{sample.id}.jpg"], manifest[sample.id]
            with Image.open(io.BytesIO(original)) as source, Image.open(io.BytesIO(sample.photo)) as kept:
                assert (sample.width, sample.height) == (row["source"]["width"], row["source"]["height"]) == source.size
                assert (row["width"], row["height"], row["size"]) == (*kept.size, len(sample.photo))
                assert min(kept.size) == (256 if split == "train" else min(source.size))
                judged[str(source.format)] += split != "train"
            assert (sample.photo == original) == (split != "train")
            assert read_at(tmp_path / "out" / row["shard"], row["offset"], row["size"]) == sample.photo
    assert min(judged.values()) > 2
    page = (tmp_path / "out/report/exploration.html").read_text()
    assert all(f"bin {photo}," in page for photo in manifest), "photos of every kind are shown"


def test_photos_that_keep_their_bytes_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, most, sizes = 0, 0, []
    add = ShardWriter.add

    def taken(*arguments: Any, as_sent: bool) -> Any:
        nonlocal held, most
        photo = take_in(*arguments, as_sent=as_sent)
        if as_sent:
            held += len(photo.data)
            most = max(most, held)
            sizes.append(len(photo.data))
        return photo

    def added(self: ShardWriter, name: str, photo: bytes, *arguments: Any, **options: Any) -> Placed:
        nonlocal held
        held -= 0 if self._path.parent.name == "train" else len(photo)
        return add(self, name, photo, *arguments, **options)

    monkeypatch.setattr(work, "take_in", taken)
    monkeypatch.setattr(ShardWriter, "add", added)
    photos = write(tmp_path / "in", bucket(blocks=10, photos=20))
    budget = 3 * max(path.stat().st_size for path in (photos / "bin-images").iterdir())
    run(photos, tmp_path / "out", replace(WorkLimits.of(1), kept_bytes=budget))
    assert held == 0 and len(sizes) == 40
    assert max(sizes) < most <= budget < sum(sizes)
