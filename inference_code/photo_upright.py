"""A decoded photo as an upright RGB image, in bands of rows: the whole image would take the photo's memory once more.

A photo of 25 million pixels has 100 MB once it is decoded. Colours are converted and rows are turned a band at a time,
and each band is resized before the next one is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from photo_parts import UPRIGHT

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

LARGE_PIXELS: Final = 2 * 1024 * 1024
"""Images of more are resized band by band."""
_BAND: Final = 256
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations whose rows are columns of the file, those whose first row, and those whose first column is its last.
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
_FROM_THE_END: Final = frozenset({3, 4, 7, 8})
_FROM_THE_RIGHT: Final = frozenset({2, 3, 6, 7})


@dataclass(frozen=True)
class Upright:
    """A decoded image in the colours of its file, and the orientation in which it is to be seen, 1 to 8.

    `drawn` is where the photo lies in the image: a decoder of a part of the size fills the last column and row up.
    """

    image: Image.Image
    orientation: int = UPRIGHT
    drawn: Box | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the upright image."""
        width, height = self.image.size
        return (height, width) if self.orientation in _SIDEWAYS else (width, height)

    @property
    def content(self) -> Box:
        """Where the photo lies in the upright image."""
        width, height = self.size
        _, _, right, bottom = self.drawn or (0, 0, *self.image.size)
        across, down = (bottom, right) if self.orientation in _SIDEWAYS else (right, bottom)
        left = width - across if self.orientation in _FROM_THE_RIGHT else 0
        top = height - down if self.orientation in _FROM_THE_END else 0
        return left, top, left + across, top + down

    def whole(self) -> Image.Image:
        """The upright RGB image. The decoded one is closed where another is made."""
        if self._is_upright_rgb:
            return self.image
        rgb = Image.new("RGB", self.size)
        for top, band in self._bands():
            rgb.paste(band, (0, top))
        self.image.close()
        return rgb

    def resized(self, side: int, box: Box | None = None) -> Image.Image:
        """The box of the upright RGB image, by default the content, as `side` x `side` pixels, bilinear.

        A large image is resized row by row, and then column by column: Pillow itself begins with either.
        """
        box = box or self.content
        width, height = self.size
        if width * height <= LARGE_PIXELS:
            return self.whole().resize((side, side), Image.Resampling.BILINEAR, box=box)
        left, top, right, bottom = box
        rows = Image.new("RGB", (side, height))
        for first, band in self._bands():
            size = side, band.height
            rows.paste(band.resize(size, Image.Resampling.BILINEAR, box=(left, 0, right, band.height)), (0, first))
        return rows.resize((side, side), Image.Resampling.BILINEAR, box=(0, top, side, bottom))

    @property
    def _is_upright_rgb(self) -> bool:
        return self.image.mode == "RGB" and self.orientation not in _TURNS

    def _bands(self) -> Iterator[tuple[int, Image.Image]]:
        """Each band's first row, and its upright RGB image."""
        width, height = self.image.size
        rows = self.size[1]
        for top in range(0, rows, _BAND):
            bottom = min(top + _BAND, rows)
            start, end = (rows - bottom, rows - top) if self.orientation in _FROM_THE_END else (top, bottom)
            sideways = self.orientation in _SIDEWAYS
            band = _rgb(self.image.crop((start, 0, end, height) if sideways else (0, start, width, end)))
            turn = _TURNS.get(self.orientation)
            yield top, band if turn is None else band.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    """The image in the colours that it shows."""
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow's own conversion clips at 255, which would turn every photo white.
        grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
