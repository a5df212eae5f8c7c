"""Writes rendered photos and their records as the public bucket lays them out."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from PIL import Image

from binventory.core.processors import usable_cpus
from binventory.render.items import make_stock, metadata
from binventory.render.picture import draw

# Ids come in short runs, one run in each hundred, as a thin sample of the public bucket would: splits go by blocks of
# ids, and a few hundred consecutive ids would make only a handful of blocks.
RUN = 12
STRIDE = 100

_COUNTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20)
_WEIGHTS = (2, 17, 17, 19, 17, 16, 3, 2, 2, 1, 1, 1, 1, 1)
_COUNTED = (1, 2, 3, 4, 5)
_SAME_BIN = 0.08
_DEFECTS = ("truncated photo", "no record", "broken record", "no quantity", "no photo", "empty photo")
_DEFECT_EVERY = 40
_AHEAD = 256
"""Bins that wait for a thread at most."""


@dataclass(frozen=True)
class Bucket:
    """What was written: the folder, the recorded quantity of every sound photo, and the defect of every other id."""

    folder: Path
    counts: dict[str, int] = field(default_factory=dict)
    defects: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    """What really is in the bins whose recorded quantity was made wrong."""


@dataclass(frozen=True)
class _Bin:
    """All that decides the files of an id."""

    image_id: str
    stock_seed: int
    count: int
    view: int
    defect: str | None
    recorded: int


def ids_of(photos: int) -> Iterator[str]:
    """The ids of the first `photos` bins."""
    for index in range(photos):
        yield f"{(index // RUN + 1) * STRIDE + index % RUN:05d}"


def render_bucket(
    folder: Path,
    photos: int = 300,
    seed: int = 0,
    wrong_records: float = 0.0,
    say: Callable[[int], None] = lambda done: None,
) -> Bucket:
    """Renders `photos` ids into `folder` as `bin-images/NNNNN.jpg` and `metadata/NNNNN.json`.

    Some bins hold 0 or more than 5 items, some neighbouring ids show the same bin, and one id in forty has a defect,
    because the public bucket has all three. Equal arguments give equal bytes. `wrong_records` is the share of bins
    with 1 to 5 items whose record says another quantity from 1 to 5, as an audit should find them. `say` is called
    with the number of ids that are done.
    """
    if photos < 1:
        raise ValueError(f"photos must be at least 1, got {photos}")
    if not 0 <= wrong_records <= 1:
        raise ValueError(f"wrong_records must be a share from 0 to 1, got {wrong_records}")
    for part in ("bin-images", "metadata"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    bucket, bins = Bucket(folder), _bins(photos, seed, wrong_records)
    # Pillow and numpy compute without Python's lock for half of a photo's time.
    with ThreadPoolExecutor(usable_cpus()) as pool:
        while some := list(islice(bins, _AHEAD)):
            for bin_, _ in zip(some, pool.map(partial(_write, folder), some), strict=True):
                if bin_.defect:
                    bucket.defects[bin_.image_id] = bin_.defect
                else:
                    bucket.counts[bin_.image_id] = bin_.recorded
                if bin_.recorded != bin_.count:
                    bucket.wrong[bin_.image_id] = bin_.count
                say(len(bucket.counts) + len(bucket.defects))
    return bucket


def _bins(photos: int, seed: int, wrong_records: float) -> Iterator[_Bin]:
    rng, mistakes = random.Random(f"bucket {seed}"), random.Random(f"mistakes {seed}")
    stock_seed, count, view = 0, 0, 0
    for index, image_id in enumerate(ids_of(photos)):
        if index % RUN and rng.random() < _SAME_BIN:
            view += 1
        else:
            stock_seed, view = rng.getrandbits(32), 0
            count = rng.choices(_COUNTS, weights=_WEIGHTS)[0]
        defect = _DEFECTS[(index // _DEFECT_EVERY) % len(_DEFECTS)] if index % _DEFECT_EVERY == 17 else None
        recorded = count
        if not defect and count in _COUNTED and mistakes.random() < wrong_records:
            recorded = mistakes.choice([other for other in _COUNTED if other != count])
        yield _Bin(image_id, stock_seed, count, view, defect, recorded)


def _write(folder: Path, bin_: _Bin) -> None:
    image_id, seed, view, defect = bin_.image_id, bin_.stock_seed, bin_.view, bin_.defect
    stock = make_stock(random.Random(f"stock {seed} {bin_.count}"), bin_.count)
    photo = _jpeg(draw(stock, seed, view), random.Random(f"quality {seed} {view}"))
    record = metadata(stock) | {"EXPECTED_QUANTITY": bin_.recorded}
    text = json.dumps(record, indent=4)
    if defect == "truncated photo":
        photo = photo[: len(photo) // 3]
    elif defect == "empty photo":
        photo = b""
    elif defect == "broken record":
        text = text[: len(text) // 2]
    elif defect == "no quantity":
        text = json.dumps({"BIN_FCSKU_DATA": record["BIN_FCSKU_DATA"]}, indent=4)
    if defect != "no photo":
        (folder / "bin-images" / f"{image_id}.jpg").write_bytes(photo)
    if defect != "no record":
        (folder / "metadata" / f"{image_id}.json").write_text(text)


def _jpeg(image: Image.Image, rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=rng.randint(85, 93))
    return buffer.getvalue()
