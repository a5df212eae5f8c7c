"""Where the items of a rendered bin stand: in front of and on top of each other, but each can be seen and counted."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

import numpy as np

from binventory.render.items import Sku, Stock

SEEN: Final = 0.7
"""Share of its front that every item shows. What is hidden can be counted by nobody, and teaches nothing."""
_DRAWS: Final = 30
"""Arrangements that are drawn at most; of a bin that is too full, the one that hides least is taken."""
_UNCROWDED: Final = 3.2
"""Items up to which each has its full size; more are drawn smaller, as if the camera stood farther away."""
_GRID: Final = 40
"""Cells a side on which it is measured what hides what."""


@dataclass(frozen=True)
class Pod:
    """Where the inside of the bin is, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True)
class Placed:
    """An item at its place: centre and foot of its front, in pixels; the nearer, the larger the depth order."""

    sku: Sku
    centre: float
    foot: float
    width: float
    height: float
    tilt: float


def arrange(stock: tuple[Stock, ...], pod: Pod, rng: random.Random) -> list[Placed]:
    """Places every item, the farthest first; nearer ones hide parts of them, but none more than SEEN allows."""
    best: list[Placed] = []
    shown = -1.0
    for _ in range(_DRAWS):
        found = _drawn(stock, pod, rng)
        least = _least_seen(found, pod)
        if least > shown:
            best, shown = found, least
        if shown >= SEEN:
            break
    return best


def _least_seen(items: list[Placed], pod: Pod) -> float:
    """Share of its front that the item shows which is hidden most, each taken as an upright rectangle."""
    cells = np.zeros((_GRID, _GRID), dtype=np.intp)
    sizes = []
    for number, item in enumerate(items, start=1):
        left = max(0, int((item.centre - item.width / 2 - pod.left) / pod.width * _GRID))
        right = min(_GRID, math.ceil((item.centre + item.width / 2 - pod.left) / pod.width * _GRID))
        top = max(0, int((item.foot - item.height - pod.top) / pod.height * _GRID))
        bottom = min(_GRID, math.ceil((item.foot - pod.top) / pod.height * _GRID))
        cells[top:bottom, left:right] = number
        sizes.append(max(1, (bottom - top) * (right - left)))
    seen = np.bincount(cells.ravel(), minlength=len(items) + 1)[1:].tolist()
    return min((shown / size for shown, size in zip(seen, sizes, strict=True)), default=1.0)


def _drawn(stock: tuple[Stock, ...], pod: Pod, rng: random.Random) -> list[Placed]:
    """Places every item; the farthest come first, so that nearer ones hide parts of them."""
    items = [line.sku for line in stock for _ in range(line.quantity)]
    rng.shuffle(items)
    columns = max(len(items), 3)
    crowd = min(1.0, _UNCROWDED / max(1, len(items))) ** 0.5
    slots = rng.sample(range(columns), len(items))
    placed: list[tuple[float, Placed]] = []
    for sku, slot in zip(items, slots, strict=True):
        depth = rng.random()
        scale = (1 - 0.25 * depth) * crowd
        wide = sku.size * pod.width * scale
        high = min(wide * sku.aspect, pod.height * 0.8)
        centre = pod.left + pod.width * (slot + 0.5 + rng.uniform(-0.3, 0.3)) / columns
        centre = min(max(centre, pod.left + wide * 0.6), pod.right - wide * 0.6)
        foot = pod.bottom - pod.height * (0.02 + 0.12 * depth)
        if placed and rng.random() < 0.3:
            under = rng.choice(placed)[1]
            if under.foot - under.height - high > pod.top:
                centre, foot = under.centre + rng.uniform(-0.2, 0.2) * wide, under.foot - under.height * 0.96
        placed.append((depth, Placed(sku, centre, foot, wide, high, rng.gauss(0, 4))))
    return [item for _, item in sorted(placed, key=lambda pair: -pair[0])]
