"""Traits of a photo, such as brightness and sharpness, by which evaluation makes slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from photo import open_photo, resize_shorter_side

_SIDE: Final = 256
"""Pixels of the shorter side to which photos are resized before traits are measured."""


class LabelledPhoto(Protocol):
    """A photo as shards give it."""

    @property
    def id(self) -> str:
        """Image id."""

    @property
    def photo(self) -> bytes:
        """Encoded, JPEG or PNG."""

    @property
    def count(self) -> int:
        """Recorded quantity."""

    @property
    def items(self) -> tuple[str, ...]:
        """SKUs recorded in the bin; empty where only a count is known."""


@dataclass(frozen=True, slots=True)
class PhotoTraits:
    """Traits of one photo; None where they are unknown."""

    brightness: float
    """Mean luma, 0 (black) to 1 (white)."""
    sharpness: float
    """Standard deviation of the Laplacian of luma in grey levels at one size; low means blurred."""
    megapixels: float | None
    """Size of the original photo."""
    repetition: str | None
    """Whether the bin holds one SKU several times, several SKUs once each, or a mixture."""
    seen_in_training: str | None
    """Whether the training split held a bin with one of these SKUs."""


def traits_of(photo: LabelledPhoto, training_skus: Set[str] = frozenset()) -> PhotoTraits:
    """Measure one photo. Raises PhotoError when its bytes are no photo."""
    image = resize_shorter_side(open_photo(photo.photo, needed_side=_SIDE), _SIDE)
    luma = np.asarray(image.convert("L"), dtype=np.float32)
    centre = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * centre
    pixels = int(getattr(photo, "width", 0)) * int(getattr(photo, "height", 0))
    return PhotoTraits(
        brightness=float(luma.mean()) / 255,
        sharpness=float(laplacian.std()),
        megapixels=pixels / 1e6 if pixels else None,
        repetition=_repetition(photo.items, photo.count),
        seen_in_training=_seen(photo.items, training_skus),
    )


def skus_of(photos: Iterable[LabelledPhoto]) -> frozenset[str]:
    """Every SKU recorded in any of `photos`."""
    return frozenset(sku for photo in photos for sku in photo.items)


def _repetition(items: tuple[str, ...], count: int) -> str | None:
    distinct = len(Counter(items))
    if distinct == 0:
        return None
    if count == 1:
        return "a single item"
    if distinct == 1:
        return "one SKU, repeated"
    return "all SKUs different" if distinct >= count else "some SKUs repeated"


def _seen(items: tuple[str, ...], training_skus: Set[str]) -> str | None:
    if not items or not training_skus:
        return None
    return "SKU seen in training" if not training_skus.isdisjoint(items) else "SKUs new to the model"
