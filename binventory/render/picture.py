"""Draws a bin as its station camera sees it: yellow fabric pod, items behind elastic tape bands, blur and noise."""

from __future__ import annotations

import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from binventory.render.arrangement import Placed, Pod, arrange
from binventory.render.items import Colour, Stock, make_stock

Point = tuple[float, float]

_FABRIC: Colour = (206, 186, 118)
_TAPE: Colour = (176, 168, 156)
# Sensor noise is drawn once and every photo takes its own window of it: drawing it anew doubles the time of a photo.
_GRAIN = np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)
_TAGS: tuple[Colour, ...] = ((196, 64, 56), (110, 160, 200), (222, 138, 92), (60, 80, 72), (44, 44, 60))


def render_bin(seed: int, count: int, *, view: int = 0) -> Image.Image:
    """A photo (RGB, about 470 x 350 pixels) of a bin holding `count` items; equal arguments give equal pixels.

    `view` photographs the same bin again: same items at the same places, other light, frame and noise.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    return draw(make_stock(random.Random(f"stock {seed} {count}"), count), seed, view)


def draw(stock: tuple[Stock, ...], seed: int, view: int = 0) -> Image.Image:
    """The photo of a bin with this stock. The seed places the items, the view moves the camera."""
    place = random.Random(f"place {seed}")
    camera = random.Random(f"camera {seed} {view}")
    width, height = int(place.triangular(340, 640, 440)), int(place.triangular(270, 560, 340))
    pod = Pod(width * 0.05, height * 0.07, width * 0.95, height * 0.88)
    image = Image.new("RGB", (width, height), _FABRIC)
    _draw_pod(image, pod, place)
    for item in arrange(stock, pod, place):
        _DRAWERS[item.sku.kind](image, item, place)
    _draw_tag(image, pod, place)
    _draw_bands(image, pod, place)
    return _photograph(image, camera)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (max(0, min(255, round(channel * factor))) for channel in colour)
    return red, green, blue


def _draw_pod(image: Image.Image, pod: Pod, rng: random.Random) -> None:
    pen = ImageDraw.Draw(image)
    depth = pod.width * rng.uniform(0.06, 0.12)
    back = Pod(pod.left + depth, pod.top + depth * 0.7, pod.right - depth, pod.bottom - depth * 1.1)
    corners = [(pod.left, pod.top), (pod.right, pod.top), (pod.right, pod.bottom), (pod.left, pod.bottom)]
    inner = [(back.left, back.top), (back.right, back.top), (back.right, back.bottom), (back.left, back.bottom)]
    for side, light in enumerate((0.45, 0.7, 0.85, 0.62)):
        after = (side + 1) % 4
        floor = (168, 160, 140) if side == 2 else _FABRIC
        pen.polygon([corners[side], corners[after], inner[after], inner[side]], fill=_shade(floor, light))
    pen.polygon(inner, fill=_shade(_FABRIC, rng.uniform(0.55, 0.75)))
    for edge in (pod.top, pod.bottom):
        pen.line([(0, edge), (image.width, edge + rng.uniform(-3, 3))], fill=_shade(_FABRIC, 1.15), width=3)


def _turned(item: Placed, points: list[Point]) -> list[Point]:
    """Points given as shares of the item (x from -0.5 to 0.5, y up from its foot), turned by its tilt."""
    angle = math.radians(item.tilt)
    cos, sin = math.cos(angle), math.sin(angle)
    flat = [(x * item.width, -y * item.height) for x, y in points]
    return [(item.centre + x * cos - y * sin, item.foot + x * sin + y * cos) for x, y in flat]


def _draw_box(image: Image.Image, item: Placed, rng: random.Random) -> None:
    pen = ImageDraw.Draw(image)
    sku, depth, rise = item.sku, rng.uniform(0.08, 0.22), rng.uniform(0.05, 0.14)
    lean = rng.choice((-1, 1)) * depth
    front = _turned(item, [(-0.5, 0), (0.5, 0), (0.5, 1 - rise), (-0.5, 1 - rise)])
    top = _turned(item, [(-0.5, 1 - rise), (0.5, 1 - rise), (0.5 + lean, 1), (-0.5 + lean, 1)])
    edge = 0.5 if lean > 0 else -0.5
    side = _turned(item, [(edge, 0), (edge, 1 - rise), (edge + lean, 1), (edge + lean, rise)])
    pen.polygon(side, fill=_shade(sku.colour, 0.55))
    pen.polygon(top, fill=_shade(sku.colour, 1.2))
    pen.polygon(front, fill=sku.colour, outline=_shade(sku.colour, 0.6))
    stripe = 0.12 + 0.5 * (sku.size * 37 % 1)
    pen.polygon(_turned(item, [(-0.5, stripe), (0.5, stripe), (0.5, stripe + 0.16), (-0.5, stripe + 0.16)]), sku.accent)
    font = ImageFont.load_default(max(8, item.width / 7))
    pen.text(_turned(item, [(-0.44, 0.82)])[0], sku.name[:12], fill=_shade(sku.accent, 1.3), font=font)
    if rng.random() < 0.6:
        _draw_barcode(pen, item, rng)


def _draw_barcode(pen: ImageDraw.ImageDraw, item: Placed, rng: random.Random) -> None:
    left, low, wide, high = rng.uniform(-0.4, 0.0), rng.uniform(0.05, 0.4), 0.32, 0.2
    sticker = [(left, low), (left + wide, low), (left + wide, low + high), (left, low + high)]
    pen.polygon(_turned(item, sticker), fill=(232, 232, 228))
    at = left + 0.03
    while at < left + wide - 0.03:
        pen.line(_turned(item, [(at, low + 0.06), (at, low + high - 0.03)]), fill=(40, 40, 40))
        at += rng.choice((0.012, 0.02, 0.03))


def _draw_bag(image: Image.Image, item: Placed, rng: random.Random) -> None:
    """A soft polybag: its content, then translucent film with bright creases."""
    waves = [(rng.uniform(0.01, 0.045), rng.randint(2, 7), rng.uniform(0, math.tau)) for _ in range(4)]
    outline: list[Point] = []
    for step in range(40):
        turn = math.tau * step / 40
        radius = 1 + sum(size * math.sin(n * turn + phase) for size, n, phase in waves)
        # A squarish blob: film bulges to the sides and lies flat on the floor.
        x, y = math.cos(turn), math.sin(turn)
        square = (abs(x) ** 3 + abs(y) ** 3) ** (-1 / 3)
        outline.append((0.47 * radius * square * x, 0.46 + 0.46 * radius * square * y))
    pen = ImageDraw.Draw(image)
    pen.polygon(_turned(item, outline), fill=_shade(item.sku.colour, 0.8), outline=_shade(item.sku.colour, 0.5))
    left, low = rng.uniform(-0.3, 0), rng.uniform(0.2, 0.5)
    print_ = [(left, low), (left + 0.36, low + 0.04), (left + 0.34, low + 0.3), (left - 0.03, low + 0.24)]
    pen.polygon(_turned(item, print_), fill=item.sku.accent)
    gloss = ImageDraw.Draw(image, "RGBA")
    gloss.polygon(_turned(item, outline), fill=(236, 236, 230, 46))
    for _ in range(rng.randint(8, 16)):
        x, y, turn = rng.uniform(-0.38, 0.38), rng.uniform(0.15, 0.8), rng.uniform(0, math.pi)
        length = rng.uniform(0.05, 0.2)
        crease = [(x, y), (x + length * math.cos(turn), y + length * math.sin(turn))]
        gloss.line(_turned(item, crease), fill=(250, 250, 246, rng.randint(70, 190)), width=rng.choice((1, 1, 2, 3)))


def _draw_bottle(image: Image.Image, item: Placed, rng: random.Random) -> None:
    pen = ImageDraw.Draw(image)
    neck = rng.uniform(0.14, 0.24)
    strips = 12
    for strip in range(strips):
        left, right = -0.5 + strip / strips, -0.5 + (strip + 1) / strips
        light = 0.55 + 0.65 * math.cos((left + 0.15) * 2.6) ** 2
        body = _turned(item, [(left, 0), (right, 0), (right, 0.78), (left, 0.78)])
        pen.polygon(body, fill=_shade(item.sku.colour, light))
        label = _turned(item, [(left, 0.2), (right, 0.2), (right, 0.58), (left, 0.58)])
        pen.polygon(label, fill=_shade(item.sku.accent, light))
    shoulder = [(-0.5, 0.78), (0.5, 0.78), (neck, 0.88), (-neck, 0.88)]
    pen.polygon(_turned(item, shoulder), fill=_shade(item.sku.colour, 0.9))
    cap = [(-neck, 0.86), (neck, 0.86), (neck, 1), (-neck, 1)]
    pen.polygon(_turned(item, cap), fill=_shade(item.sku.accent, 0.8))
    pen.line(_turned(item, [(-0.22, 0.05), (-0.22, 0.75)]), fill=(244, 244, 240), width=max(1, int(item.width * 0.07)))


_DRAWERS = {"box": _draw_box, "bag": _draw_bag, "bottle": _draw_bottle}


def _draw_tag(image: Image.Image, pod: Pod, rng: random.Random) -> None:
    """The bin's name with its square code, on the rim below (or above) the opening."""
    pen = ImageDraw.Draw(image)
    high = image.height * 0.09
    left = image.width * rng.uniform(0.25, 0.6)
    top = image.height * 0.9 if rng.random() < 0.8 else -high * 0.3
    pen.rounded_rectangle((left, top, left + high * 3, top + high), 4, fill=(236, 232, 214))
    pen.rectangle((left + 3, top + 3, left + high * 1.7, top + high - 3), fill=rng.choice(_TAGS))
    name = f"{rng.randint(1, 4)}{rng.choice('ABCDEFGHIJ')}"
    pen.text((left + high * 0.35, top), name, fill=(250, 250, 250), font=ImageFont.load_default(high * 0.8))
    cell = (high - 8) / 8
    for row in range(8):
        for column in range(8):
            if rng.random() < 0.5:
                x, y = left + high * 1.85 + column * cell, top + 4 + row * cell
                pen.rectangle((x, y, x + cell, y + cell), fill=(40, 40, 44))


def _draw_bands(image: Image.Image, pod: Pod, rng: random.Random) -> None:
    """Elastic tapes over the opening: translucent, ribbed, slightly slanted, not quite straight."""
    columns = np.arange(image.width, dtype=np.float32)[None, :]
    number = rng.choice((2, 3, 3))
    for band in range(number):
        middle = pod.top + pod.height * (band + 0.5 + rng.uniform(-0.15, 0.15)) / number
        half = pod.height * rng.uniform(0.07, 0.12)
        sag = rng.uniform(-0.02, 0.02) * (columns - image.width / 2) + 2 * np.sin(columns * rng.uniform(0.005, 0.02))
        reach = half + float(np.abs(sag).max())
        first, last = max(0, int(middle - reach)), min(image.height, int(middle + reach) + 1)
        away = (np.arange(first, last, dtype=np.float32)[:, None] - middle - sag) / half
        ribs = 0.5 + 0.5 * np.cos(away * math.pi * rng.randint(4, 7))
        cover = np.where(np.abs(away) < 1, 0.16 + 0.42 * ribs, 0)
        image.paste(_TAPE, (0, first, image.width, last), Image.fromarray((cover * 255).astype(np.uint8)))


def _photograph(image: Image.Image, rng: random.Random) -> Image.Image:
    """Frame, focus, light fall-off, white balance and noise of the camera."""
    width, height = image.size
    edges = [int(rng.uniform(0, 0.02) * side) for side in (width, height, width, height)]
    if rng.random() < 0.12:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(2.0, 3.5)))
    image = image.crop((edges[0], edges[1], width - edges[2], height - edges[3]))
    # The lens: a share of each pixel's light falls on each of its four neighbours.
    spread = rng.uniform(0.15, 0.24)
    width, height = image.width - 2, image.height - 2
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] - rng.uniform(-0.3, 0.3)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - rng.uniform(-0.4, 0.2)
    light = np.float32(rng.uniform(0.72, 1.08)) * (1 - 0.18 * across**2 - 0.2 * down**2)
    x, y = rng.randrange(_GRAIN.shape[1] - width), rng.randrange(_GRAIN.shape[0] - height)
    grain = _GRAIN[y : y + height, x : x + width] * np.float32(rng.uniform(2.0, 4.5))
    balance = (1.03, 1.0, rng.uniform(0.86, 0.98))
    # Band by band: numpy takes four times as long where the three values of a pixel lie side by side.
    bands = []
    for band, share in zip(image.split(), balance, strict=True):
        sharp = np.asarray(band)
        values = np.add(sharp[:-2, 1:-1], sharp[2:, 1:-1], dtype=np.float32)
        values += sharp[1:-1, :-2]
        values += sharp[1:-1, 2:]
        values *= np.float32(spread * share)
        values += sharp[1:-1, 1:-1] * np.float32((1 - 4 * spread) * share)
        values *= light
        values += grain
        bands.append(Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8)))
    return Image.merge("RGB", bands)
