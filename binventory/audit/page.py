"""The audit as one HTML page that a person walks through with the keyboard: nothing is loaded from elsewhere.

Text from the inventory system stays text: the browser gets it as JSON and shows it as text, and the page's content
security policy allows only this page's script.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup
from PIL import Image

from binventory.audit.database import Disagreement
from binventory.audit.summary import TOP_SKUS, Summary
from binventory.pages import document

PHOTOS_A_CHUNK: Final = 50
PRINTED: Final = 100
_MAX_PIXELS: Final = 25_000_000
_DATA_MARK: Final = "<!--data-->"
_DECIMALS: Final = 4
_HERE: Final = Path(__file__).parent

PhotoReader = Callable[[Disagreement], bytes | None]
"""The photo's bytes, or None when it cannot be read any more."""


def write_page(
    path: Path,
    rows: Callable[[], Iterable[Disagreement]],
    *,
    most: int,
    summary: Summary,
    classes: tuple[int, ...],
    read_photo: PhotoReader,
    audit: str,
    threads: int = 4,
    on_done: Callable[[int], None] = lambda count: None,
) -> None:
    """Write the page to `path`, chunk by chunk.

    rows: gives the listed bins, worst first, each time it is called; most: bins that the page has at most; audit: name
    under which the browser keeps marks.
    """
    printed = itertools.islice(rows(), min(most, PRINTED))
    before, after = _frame(summary, classes, audit, printed, most).split(_DATA_MARK)
    side = thumbnail_side(summary.listed)
    with path.open("w", encoding="utf-8") as stream, ThreadPoolExecutor(max_workers=threads) as pool:
        stream.write(before)
        for chunk in _chunks(itertools.islice(rows(), most)):
            thumbnails = pool.map(lambda found: thumbnail(read_photo(found), side), chunk)
            cells = [_cells(found, classes) for found in chunk]
            stream.write(f'<script type="application/json" class="bins">{_script_json(cells)}</script>\n')
            stream.write('<script type="text/plain" class="photos">\n' + "\n".join(thumbnails) + "\n</script>\n")
            on_done(len(chunk))
        stream.write(after)


def thumbnail_side(bins: int) -> int:
    """Shorter side of the photos in a page with so many bins: large while they are few, so that it stays light."""
    return 320 if bins <= 500 else 240 if bins <= 2000 else 160


def thumbnail(data: bytes | None, side: int) -> str:
    """The photo as base64 WebP with its shorter side at `side` pixels at most; "" when it is no photo."""
    if data is None:
        return ""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                return ""
            image.draft("RGB", (2 * side, 2 * side))
            scale = side / min(image.size)
            rgb = image.convert("RGB")
            if scale < 1:
                rgb = rgb.resize(
                    (round(rgb.width * scale), round(rgb.height * scale)), Image.Resampling.BILINEAR, reducing_gap=2
                )
            buffer = io.BytesIO()
            rgb.save(buffer, "WEBP", quality=50, method=2)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    return base64.b64encode(buffer.getvalue()).decode()


def _frame(summary: Summary, classes: tuple[int, ...], audit: str, printed: Iterable[Disagreement], most: int) -> str:
    """The page without its bins, with a mark where they go."""
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    facts = {"audit": audit, "classes": classes, "photosAChunk": PHOTOS_A_CHUNK}
    return document.render(
        _HERE / "page.html",
        summary=summary,
        model=summary.model,
        trust=summary.model.trust,
        classes=classes,
        printed=list(printed),
        most=most,
        top_skus=TOP_SKUS,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=Markup(digest),
        facts=Markup(_script_json(facts)),
        data_goes_here=Markup(_DATA_MARK),
    )


def _cells(found: Disagreement, classes: tuple[int, ...]) -> list[Any]:
    """One bin as page.js unpacks it."""
    return [
        found.image_id,
        found.recorded,
        found.likely,
        round(found.recorded_probability, _DECIMALS),
        round(found.likely_probability, _DECIMALS),
        None if found.wrong_probability is None else round(found.wrong_probability, _DECIMALS),
        round(found.expected_count, _DECIMALS),
        [round(found.probabilities[count], _DECIMALS) for count in classes],
        [[line.sku, line.name, line.quantity] for line in found.lines],
    ]


def _script_json(value: Any) -> str:
    """JSON that cannot end or open an element, wherever it stands in HTML."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _chunks(rows: Iterable[Disagreement]) -> Iterator[list[Disagreement]]:
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, PHOTOS_A_CHUNK)):
        yield chunk
