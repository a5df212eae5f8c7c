"""Augmented views of a photo: random resized crop, flip, rotation and colour jitter as one warp and one colour matrix.

Every random choice is drawn from a generator the caller seeds from (seed, photo, view), so a view never depends on
which process, worker or attempt made it. That is what makes resumed and distributed runs repeat exactly.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photo import WHOLE

# Luminance weights of ITU-R 601, as in every colour jitter.
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """How far a view may differ from the photo. The defaults are mild: a crop must not hide the items it counts."""

    smallest_area: float = 0.5
    """Smallest share of the photo's area that a crop keeps."""
    widest_aspect: float = 4 / 3
    """Largest ratio of the sides of a crop before it is made square."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    rotation: float = 10.0
    """Largest rotation either way, degrees."""
    colour: float = 0.2
    """Largest relative change of brightness, contrast and saturation."""
    whole: bool = False
    """Whether a view shows the whole frame, moved a little, in place of a crop of it."""
    zoom: float = 0.12
    """Whole frames: largest relative change of scale."""
    stretch: float = 0.06
    """Whole frames: largest relative change of the ratio of the sides."""
    shift: float = 0.06
    """Whole frames: largest move each way, as a share of the side."""

    @classmethod
    def of(cls, fit: str) -> Augmentation:
        """The views for photos that are fitted to the network in this way, one of FITS."""
        # Measured with fine-tuning on 4,510 photos (docs/training.md): milder turns, stronger changes of light.
        return cls(rotation=7.0, colour=0.25, whole=True) if fit == WHOLE else cls()


def view_random(seed: int, photo: str, view: int) -> Random:
    """The random source of one view of one photo, the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{photo}/{view}".encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "big"))


def augment(image: Image.Image, side: int, random: Random, augmentation: Augmentation) -> NDArray[np.uint8]:
    """One augmented view, uint8 RGB [side, side, 3], of an RGB image."""
    warp = _warp(image.size, side, random, augmentation)
    view = image.transform((side, side), Image.Transform.AFFINE, warp, Image.Resampling.BILINEAR, fillcolor="grey")
    grey = view.convert("L").reduce(16)
    mean = float(np.asarray(grey, dtype=np.float32).mean())
    return np.asarray(view.convert("RGB", _colour_matrix(mean, random, augmentation)), dtype=np.uint8)


def _warp(
    size: tuple[int, int], side: int, random: Random, augmentation: Augmentation
) -> tuple[float, float, float, float, float, float]:
    """Coefficients that map output pixels to input pixels: scale to the crop, flip, rotate about its centre."""
    width, height = size
    frame = _moved_frame if augmentation.whole else _random_crop
    centre_x, centre_y, crop_width, crop_height = frame(width, height, random, augmentation)
    angle = math.radians(random.uniform(-augmentation.rotation, augmentation.rotation))
    mirror = -1.0 if random.random() < augmentation.flip else 1.0
    across, down = mirror * crop_width / side, crop_height / side
    a, b = across * math.cos(angle), -down * math.sin(angle)
    d, e = across * math.sin(angle), down * math.cos(angle)
    half = side / 2
    return a, b, centre_x - (a + b) * half, d, e, centre_y - (d + e) * half


def _random_crop(
    width: int, height: int, random: Random, augmentation: Augmentation
) -> tuple[float, float, float, float]:
    """Centre and sides of a part of the photo."""
    area = width * height * random.uniform(augmentation.smallest_area, 1.0)
    aspect = math.exp(random.uniform(-1, 1) * math.log(augmentation.widest_aspect))
    crop_width, crop_height = min(width, math.sqrt(area * aspect)), min(height, math.sqrt(area / aspect))
    centre_x = crop_width / 2 + random.random() * (width - crop_width)
    centre_y = crop_height / 2 + random.random() * (height - crop_height)
    return centre_x, centre_y, crop_width, crop_height


def _moved_frame(
    width: int, height: int, random: Random, augmentation: Augmentation
) -> tuple[float, float, float, float]:
    """Centre and sides of the whole frame, moved and scaled a little; what lies outside the photo is grey."""
    zoom, stretch, across, down = (random.uniform(-1, 1) for _ in range(4))
    scale = 1 + zoom * augmentation.zoom
    return (
        width * (0.5 + across * augmentation.shift),
        height * (0.5 + down * augmentation.shift),
        width * scale,
        height * scale * (1 + stretch * augmentation.stretch),
    )


def _colour_matrix(mean: float, random: Random, augmentation: Augmentation) -> tuple[float, ...]:
    """Brightness, contrast (about the photo's mean grey) and saturation as one 3 x 4 matrix for Image.convert."""
    brightness, contrast, saturation = (1 + random.uniform(-1, 1) * augmentation.colour for _ in range(3))
    gain = brightness * contrast
    offset = (1 - contrast) * mean * brightness
    rows = [
        [gain * ((1 - saturation) * weight + (saturation if i == j else 0.0)) for j, weight in enumerate(_GREY)]
        for i in range(3)
    ]
    return tuple(value for row in rows for value in (*row, offset))
