"""The contents of a rendered bin: products, quantities, and the look of each product."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
Kind = Literal["box", "bag", "bottle"]

_BRANDS = ("NORDA", "Kestrel", "Plumline", "OAKEN", "Bright&Co", "TORREN", "Mallow", "Vexa", "HUDSON", "Petrel", "Lumo")
_GOODS: dict[Kind, tuple[str, ...]] = {
    "box": ("Ceramic Mug Set", "Desk Fan 6 Inch", "LED Bulbs 60W 4 Pack", "Board Game Classic", "Phone Case Slim Fit"),
    "bag": ("Plush Bear 12 Inch", "Toddler Backpack Dinosaur", "Cotton Socks 6 Pairs", "Travel Pillow", "Yoga Strap"),
    "bottle": ("Shampoo Argan Oil 16 oz", "Multivitamin 120 Tablets", "Dish Soap Lemon", "Steel Bottle 24 oz", "Honey"),
}
_COLOURS: tuple[Colour, ...] = (
    (196, 52, 46), (38, 74, 148), (44, 120, 74), (226, 226, 220), (34, 34, 40), (222, 120, 36),
    (118, 64, 140), (150, 110, 72), (60, 150, 170), (206, 92, 140), (92, 98, 110), (232, 200, 120),
)  # fmt: skip


@dataclass(frozen=True)
class Sku:
    """One product: its record (inches, pounds) and its look."""

    asin: str
    name: str
    kind: Kind
    length: float
    width: float
    height: float
    weight: float
    colour: Colour
    accent: Colour
    aspect: float  # height of one item in the photo, divided by its width
    size: float  # width of one item, as a share of the bin's inside


@dataclass(frozen=True)
class Stock:
    """A SKU and how many of it are in the bin."""

    sku: Sku
    quantity: int


def _asin(rng: random.Random) -> str:
    return "B0" + "".join(rng.choices("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", k=8))


def make_sku(rng: random.Random) -> Sku:
    """A random product."""
    kind: Kind = rng.choices(("box", "bag", "bottle"), weights=(5, 3, 2))[0]
    aspect = {"box": (0.5, 1.5), "bag": (0.6, 1.1), "bottle": (1.7, 2.6)}[kind]
    size = {"box": (0.24, 0.44), "bag": (0.28, 0.46), "bottle": (0.13, 0.19)}[kind]
    colour, accent = rng.sample(_COLOURS, 2)
    length, width, height = sorted((rng.uniform(1.5, 14.0) for _ in range(3)), reverse=True)
    return Sku(
        asin=_asin(rng),
        name=f"{rng.choice(_BRANDS)} {rng.choice(_GOODS[kind])}",
        kind=kind,
        length=length,
        width=width,
        height=height,
        weight=rng.uniform(0.1, 4.0),
        colour=colour,
        accent=accent,
        aspect=rng.uniform(*aspect),
        size=rng.uniform(*size),
    )


def make_stock(rng: random.Random, count: int) -> tuple[Stock, ...]:
    """`count` items spread over some SKUs; often several of one, as in real bins."""
    stock: list[Stock] = []
    left = count
    while left:
        quantity = rng.randint(1, left) if rng.random() < 0.4 else 1
        stock.append(Stock(make_sku(rng), quantity))
        left -= quantity
    return tuple(stock)


def metadata(stock: tuple[Stock, ...]) -> dict[str, object]:
    """The record of a bin in the format of the public bucket's `metadata/<id>.json`."""

    def measure(value: float, unit: str) -> dict[str, object]:
        return {"unit": unit, "value": round(value, 12)}

    data = {
        line.sku.asin: {
            "asin": line.sku.asin,
            "height": measure(line.sku.height, "IN"),
            "length": measure(line.sku.length, "IN"),
            "name": line.sku.name,
            "normalizedName": line.sku.name,
            "quantity": line.quantity,
            "weight": measure(line.sku.weight, "pounds"),
            "width": measure(line.sku.width, "IN"),
        }
        for line in stock
    }
    return {"BIN_FCSKU_DATA": data, "EXPECTED_QUANTITY": sum(line.quantity for line in stock)}
