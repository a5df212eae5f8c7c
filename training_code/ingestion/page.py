"""The exploration as one HTML page: self-contained, no scripts, works offline."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup
from PIL import Image

from binventory.pages import charts, document
from ingestion.rows import Kept
from ingestion.unit_files import write_whole
from photo import open_photo

_THUMBNAIL: Final = 150
_QUALITY: Final = 72
_COLUMNS: Final = ("listed", "kept", "skipped", "quarantined")
_MANY: Final = 20
"""Quantity from which bins are counted together."""


def write_page(
    path: Path,
    exploration: Mapping[str, Any],
    books: Mapping[str, Any],
    samples: Mapping[int, Sequence[Kept]],
    photos: Mapping[str, bytes],
) -> None:
    """Write the page. `photos`: those of `samples` as the shards keep them, by id; absent ones are left out."""
    page = document.render(
        Path(__file__).with_name("page.html"),
        document=exploration,
        books=books,
        tiles=_tiles(exploration, books),
        columns=_COLUMNS,
        lines=_lines(books),
        photos=list(_photos(samples, photos)),
        quantities=_quantities(exploration["quantity"]["histogram"]),
        most_seen={sku: times for sku, times in exploration["skus"]["most_seen"] if times > 1},
        bars=_bars,
    )
    write_whole(path, page.encode())


def _bars(values: Mapping[str, int], *, warn: bool = False) -> Markup:
    return Markup(charts.bars(values, warn=warn))


def _tiles(exploration: Mapping[str, Any], books: Mapping[str, Any]) -> list[tuple[str, str]]:
    published, quantity, skus = exploration["published"], exploration["quantity"], exploration["skus"]
    mean = quantity["mean"]
    return [
        (f"{books['listed']:,}", f"listed, of {published['photos']:,} published"),
        (f"{books['kept']:,}", "kept, with 1 to 5 items"),
        (f"{sum(books['skipped'].values()):,}", "skipped"),
        (f"{sum(books['quarantined'].values()):,}", "quarantined"),
        ("unknown" if mean is None else f"{mean:.2f}", f"items a bin; {published['mean_quantity']} published"),
        (f"{skus['distinct']:,}", f"SKUs seen, of {published['skus']:,} published"),
    ]


def _lines(books: Mapping[str, Any]) -> list[tuple[str, list[int]]]:
    """Name and numbers of each line of the books: all photos, each split, each count."""
    whole = [books["listed"], books["kept"], *(sum(books[name].values()) for name in _COLUMNS[2:])]
    parts = [("split", books["per_split"]), ("count", books["per_class"])]
    return [("all", whole)] + [
        (f"{kind} {name}", [line[column] for column in _COLUMNS])
        for kind, lines in parts
        for name, line in sorted(lines.items())
    ]


def _photos(
    samples: Mapping[int, Sequence[Kept]], photos: Mapping[str, bytes]
) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """By count: id, split and JPEG in base64 of each sample whose photo is there."""
    for count, rows in sorted(samples.items()):
        figures = [
            {"id": row.id, "split": row.split, "data": _thumbnail(photos[row.id])} for row in rows if row.id in photos
        ]
        if figures:
            yield count, figures


def _thumbnail(photo: bytes) -> str:
    image = open_photo(photo, needed_side=_THUMBNAIL)
    image.thumbnail((_THUMBNAIL * 2, _THUMBNAIL), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return base64.b64encode(out.getvalue()).decode()


def _quantities(histogram: Mapping[str, int]) -> dict[str, int]:
    """Bins by recorded quantity, those with many items together."""
    bins = {int(quantity): number for quantity, number in histogram.items()}
    shown = {str(quantity): bins[quantity] for quantity in sorted(bins) if quantity < _MANY}
    if rest := sum(number for quantity, number in bins.items() if quantity >= _MANY):
        shown[f"{_MANY} or more"] = rest
    return shown
