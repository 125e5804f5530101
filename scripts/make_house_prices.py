"""Write nnbackprop/data/tables/house-prices.csv: 2,000 houses that do not exist, with a price each.

The price is a product of factors that meet each other, as in a market: the value of a square metre falls with the
distance from the centre, faster in some districts than in others; old houses are dear again where they are in good
condition; a garden is worth more far out. Noise of 7% is on top, which no model can predict.

Numbers are made of Philox's words, which NumPy promises never to change, so that the file is the same everywhere.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]  # this checkout

from nnbackprop._random import philox  # noqa: E402

PATH = ROOT / "nnbackprop" / "data" / "tables" / "house-prices.csv"
HOUSES = 2000
NOISE = 0.07  # standard deviation of the logarithm of a price
COLUMNS = ("area", "rooms", "age", "distance", "district", "condition", "garden", "price")
DISTRICTS = {"old town": (1.35, 0.16), "harbour": (1.1, 0.1), "north": (1.0, 0.04), "hills": (1.2, -0.02)}
"""What a square metre is worth at the centre, relative to the north, and its fall by kilometre."""
CONDITIONS = {"poor": 0.78, "fair": 0.92, "good": 1.0, "new": 1.12}


def uniform(what: str) -> np.ndarray:
    """(HOUSES,) numbers in 0..1, a stream for each purpose."""
    words = philox(0, "house-prices", what).random_raw(HOUSES)
    return (words >> np.uint64(11)) * 2.0**-53


def normal(what: str) -> np.ndarray:
    """(HOUSES,) standard normal numbers by Box and Muller's transform."""
    radius = np.sqrt(-2 * np.log1p(-uniform(what + ", radius")))
    return radius * np.cos(2 * np.pi * uniform(what + ", angle"))


def houses() -> list[tuple[object, ...]]:
    """The rows of the table."""
    area = np.clip(np.exp(4.5 + 0.45 * normal("area")), 25, 400).round()
    rooms = np.clip(np.round(area / 26 + 0.7 * normal("rooms")), 1, 12)
    age = np.floor(120 * uniform("age") ** 1.5)
    distance = np.round(0.2 + 14 * uniform("distance") ** 1.3, 1)
    district = [list(DISTRICTS)[int(4 * u)] for u in uniform("district")]
    condition = [list(CONDITIONS)[int(4 * u)] for u in uniform("condition") ** 0.8]
    garden = uniform("garden") < 0.15 + 0.05 * distance
    noise = NOISE * normal("noise")
    columns = zip(area, rooms, age, distance, district, condition, garden, noise, strict=True)
    return [
        (
            f"{a:.0f}",
            f"{r:.0f}",
            f"{y:.0f}",
            f"{d:.1f}",
            where,
            state,
            "yes" if g else "no",
            price(a, r, y, d, where, state, g, e),
        )
        for a, r, y, d, where, state, g, e in columns
    ]


def price(
    area: float,
    rooms: float,
    age: float,
    distance: float,
    district: str,
    condition: str,
    garden: bool,
    noise: float,
) -> str:
    """The price in whole hundreds."""
    level, fall = DISTRICTS[district]
    metre = 4200 * level * math.exp(-fall * distance) * CONDITIONS[condition]
    period = 1 - 0.3 * math.exp(-(((age - 55) / 25) ** 2))  # built after the war, which few like
    if age > 80 and condition in ("good", "new"):
        period *= 1.25
    crowded = 1 - 0.12 * max(0.0, rooms / area * 26 - 1)
    value = metre * area**0.94 * period * crowded + (9000 + 3500 * distance if garden else 0)
    return f"{100 * round(value * math.exp(noise) / 100):d}"


def table() -> str:
    """The file's text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *houses()])
    return text.getvalue()


if __name__ == "__main__":
    PATH.write_text(table(), encoding="utf-8")
    print(f"{PATH.relative_to(ROOT)}: {HOUSES:,} houses")
