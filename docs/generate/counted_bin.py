"""`python -m docs.generate.counted_bin RESULT.json`: draws a counted bin and an audit row from a rehearsal's result.

RESULT.json is the output of `binventory rehearse --json` on rendered photos. `make docs` does not run this, because it
needs a trained model; so the picture is as old as the rehearsal that it names in its title.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image

from binventory.render import render_bucket
from docs.generate.svg import LINE, Box, picture

REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent
_CARD: Final = 470
_PHOTO: Final = (200, 150)
_BAR: Final = 100


def main() -> None:
    """Write docs/pictures/counted-bin.svg."""
    (path,) = map(Path, sys.argv[1:])
    drawn = draw(json.loads(path.read_text()))
    (REPOSITORY / "docs" / "pictures" / "counted-bin.svg").write_text(drawn)


def draw(result: Mapping[str, Any]) -> str:
    """The picture: the surest right answer for a test photo, and the bin that the audit lists first."""
    right = [item for item in result["counted"] if item["recorded"] == item["answer"]["count"]]
    counted = max(right, key=lambda item: max(item["answer"]["probabilities"].values()))
    suspect = min(result["audited"], key=lambda item: item["recorded_probability"])
    answers = {item["image_id"]: item["answer"]["probabilities"] for item in result["counted"]}
    with tempfile.TemporaryDirectory() as folder:
        # One id in forty has a defect, and some defects leave no photo.
        ids = round(1.05 * result["source"]["photos"])
        photos = render_bucket(Path(folder), photos=ids).folder / "bin-images"
        first = Box(f"binventory count {counted['image_id']}.jpg", (), 20, 20, _CARD)
        second = Box("binventory audit: first in the list", (), 40 + _CARD, 20, _CARD, strong=True)
        parts = [
            *_card(
                first, photos / f"{counted['image_id']}.jpg", counted["answer"]["probabilities"], counted["recorded"]
            ),
            f'<text class="title" x="{first.x + 232}" y="{first.y + 182}">count {counted["answer"]["count"]}</text>',
            *_card(second, photos / f"{suspect['image_id']}.jpg", answers[suspect["image_id"]], suspect["recorded"]),
            f'<text class="title" x="{second.x + 232}" y="{second.y + 182}">'
            f"recorded {suspect['recorded']}, likely {suspect['likely']}</text>",
        ]
    return picture("A bin that was counted, and a bin whose record is probably wrong", 60 + 2 * _CARD, 240, parts)


def _card(box: Box, photo: Path, probabilities: Mapping[str, float], recorded: int) -> Iterator[str]:
    style = "box strong" if box.strong else "box"
    yield f'<rect class="{style}" x="{box.x}" y="{box.y}" width="{box.width}" height="200" rx="8"/>'
    yield f'<text class="title" x="{box.x + 12}" y="{box.y + 25}">{box.title}</text>'
    image = Image.open(photo)
    image.thumbnail((2 * _PHOTO[0], 2 * _PHOTO[1]))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=80)
    data = base64.b64encode(encoded.getvalue()).decode()
    yield (
        f'<image x="{box.x + 12}" y="{box.y + 38}" width="{_PHOTO[0]}" height="{_PHOTO[1]}" '
        f'href="data:image/jpeg;base64,{data}"/>'
    )
    for number, (count, probability) in enumerate(probabilities.items()):
        y = box.y + 52 + LINE * number + 4 * number
        x = box.x + 232
        note = "  recorded" if int(count) == recorded else ""
        yield f'<text x="{x}" y="{y}">{count}</text>'
        width = max(1, round(probability * _BAR))
        yield f'<rect class="head" x="{x + 18}" y="{y - 11}" width="{width}" height="12" rx="2"/>'
        yield (f'<text class="quiet" x="{x + 26 + width}" y="{y}">{probability:.2f}{note}</text>')


if __name__ == "__main__":
    main()
