"""The picture of a counted bin: it shows the bins of the rehearsal whose result it is given, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from binventory.render import render_bucket
from docs.generate.counted_bin import draw

PHOTOS = 20


def result(folder: Path, change: int) -> dict[str, Any]:
    """Of a rehearsal on rendered photos, whose records say so much more than is there."""
    sound = [item for item in render_bucket(folder, photos=PHOTOS).counts.items() if 1 <= item[1] <= 5][:2]
    shares = {str(count): 0.2 for count in range(1, 6)}
    counted = [
        {
            "image_id": image_id,
            "recorded": count + change,
            "answer": {"count": count + change, "probabilities": shares},
        }
        for image_id, count in sound
    ]
    audited = [{**item, "recorded_probability": 0.2, "likely": 1} for item in counted]
    return {"counted": counted, "audited": audited, "source": {"photos": PHOTOS}}


def test_the_bins_of_a_rehearsal_are_drawn(tmp_path: Path) -> None:
    assert draw(result(tmp_path, 0)).count("<image ") == 2


def test_a_result_on_other_photos_is_refused(tmp_path: Path) -> None:
    """A rendered bin with the same id is another bin."""
    with pytest.raises(SystemExit, match="is not a rendered one: rehearse without --photos"):
        draw(result(tmp_path, 1))
