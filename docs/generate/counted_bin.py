"""`python -m docs.generate.counted_bin RESULT.json`: draws a counted bin and an audit row from a rehearsal's result.

RESULT.json is the output of `binventory rehearse --json` on rendered photos. `make docs` does not run this, because it
needs a trained model; so the picture is as old as the rehearsal that it names in its title.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from PIL import Image

from binventory.render import render_bucket
from docs.generate.svg import picture

REPOSITORY: Final = Path(__file__).resolve().parent.parent.parent
_CARD: Final = 470
_PHOTO: Final = (200, 150)
_BAR: Final = 100
_ROW: Final = 22


def main() -> None:
    """Write docs/pictures/counted-bin.svg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    drawn = draw(json.loads(parser.parse_args().result.read_text()))
    (REPOSITORY / "docs" / "pictures" / "counted-bin.svg").write_text(drawn)


def draw(result: Mapping[str, Any]) -> str:
    """The picture: the surest right answer for a test photo, and the bin that the audit lists first.

    Raises SystemExit where the result is not of the photos that a rehearsal renders.
    """
    right = [item for item in result["counted"] if item["recorded"] == item["answer"]["count"]]
    counted = max(right, key=lambda item: max(item["answer"]["probabilities"].values()))
    suspect = min(result["audited"], key=lambda item: item["recorded_probability"])
    answers = {item["image_id"]: item["answer"]["probabilities"] for item in result["counted"]}
    with tempfile.TemporaryDirectory() as folder:
        # One id in forty has a defect, and some defects leave no photo.
        ids = round(1.05 * result["source"]["photos"])
        bucket = render_bucket(Path(folder), photos=ids)
        for item in (counted, suspect):
            if bucket.counts.get(item["image_id"]) != item["recorded"]:
                raise SystemExit(f"bin {item['image_id']} is not a rendered one: rehearse without --photos")
        photos = bucket.folder / "bin-images"
        cards = [
            _card(
                20,
                "box",
                f"binventory count {counted['image_id']}.jpg",
                photos / f"{counted['image_id']}.jpg",
                answers[counted["image_id"]],
                counted["recorded"],
                f"count {counted['answer']['count']}",
            ),
            _card(
                40 + _CARD,
                "box strong",
                "binventory audit: first in the list",
                photos / f"{suspect['image_id']}.jpg",
                answers[suspect["image_id"]],
                suspect["recorded"],
                f"recorded {suspect['recorded']}, likely {suspect['likely']}",
            ),
        ]
        parts = [part for card in cards for part in card]
    return picture("A bin that was counted, and a bin whose record is probably wrong", 60 + 2 * _CARD, 240, parts)


def _card(
    left: int, style: str, title: str, photo: Path, probabilities: Mapping[str, float], recorded: int, verdict: str
) -> Iterator[str]:
    yield f'<rect class="{style}" x="{left}" y="20" width="{_CARD}" height="200" rx="8"/>'
    yield f'<text class="title" x="{left + 12}" y="45">{title}</text>'
    image = Image.open(photo)
    image.thumbnail((2 * _PHOTO[0], 2 * _PHOTO[1]))
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=80)
    data = base64.b64encode(encoded.getvalue()).decode()
    yield (
        f'<image x="{left + 12}" y="58" width="{_PHOTO[0]}" height="{_PHOTO[1]}" href="data:image/jpeg;base64,{data}"/>'
    )
    x = left + 232
    for number, (count, probability) in enumerate(probabilities.items()):
        y = 72 + _ROW * number
        note = "  recorded" if int(count) == recorded else ""
        yield f'<text x="{x}" y="{y}">{count}</text>'
        width = max(1, round(probability * _BAR))
        yield f'<rect class="head" x="{x + 18}" y="{y - 11}" width="{width}" height="12" rx="2"/>'
        yield f'<text class="quiet" x="{x + 26 + width}" y="{y}">{probability:.2f}{note}</text>'
    yield f'<text class="title" x="{x}" y="202">{verdict}</text>'


if __name__ == "__main__":
    main()
