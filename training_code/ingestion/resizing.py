"""`photo.resize_shorter_side` with the processor's vector instructions: a fifth of the time, the same picture.

The filter is Pillow's (bilinear with antialiasing); only the rounding between its two passes differs, which moves a
tenth of the values by one grey level, hardly ever one by two. The result is the same on every processor, with or
without vector instructions.
"""

from __future__ import annotations

import threading
from typing import Final

from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

from photo import resized_size

_BILINEAR: Final = ResizeOptions(resize_alg=ResizeAlg.convolution(FilterType.bilinear))
# A resizer keeps its working memory between calls and serves one thread at a time.
_of_thread: Final = threading.local()


def resize_shorter_side(image: Image.Image, side: int) -> Image.Image:
    """The RGB image with its shorter side at `side` pixels, aspect ratio kept; the interpreter is free meanwhile."""
    size = resized_size(image.size, side)
    if size == image.size:
        return image
    resized = Image.new("RGB", size)
    _resizer().resize_pil(image, resized, _BILINEAR)
    return resized


def _resizer() -> Resizer:
    if not hasattr(_of_thread, "resizer"):
        _of_thread.resizer = Resizer()
    return _of_thread.resizer
