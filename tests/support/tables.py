"""Tables that tests write: a census-like one, mixed and with missing values."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_table(path: str | Path, columns: Mapping[str, Sequence[Any]], header: bool = True) -> None:
    """A CSV file of the columns; None is an empty cell."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def income_table(n: int, seed: int = 0) -> dict[str, Sequence[Any]]:
    """Like UCI's census income set (Adult): numbers and text, some missing, and two classes."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 12, n).clip(17, 90).round()
    hours = rng.normal(40, 10, n).clip(1, 99).round()
    gain = np.where(rng.random(n) < 0.08, rng.lognormal(8, 1, n), 0).round()
    years = {"school": -1, "some college": -0.3, "bachelor": 0.7, "master": 1.1, "doctor": 1.8}
    education = rng.choice(list(years), n, p=[0.35, 0.25, 0.25, 0.1, 0.05])
    work = rng.choice(["private", "gov", "self"], n, p=[0.7, 0.15, 0.15])
    sex = rng.choice(["f", "m"], n)
    z = 0.06 * (age - 40) - 0.0025 * (age - 45) ** 2 + np.vectorize(years.get)(education) + 0.04 * (hours - 40)
    z += 0.0003 * gain + 0.5 * (sex == "m") + 0.6 * (work == "self") * (age > 45) - 2.2
    income = np.where(rng.random(n) < 1 / (1 + np.exp(-1.7 * z)), ">50K", "<=50K")
    table = {"age": age, "workclass": work, "education": education, "hours": hours, "gain": gain}
    shares = {"age": 0.05, "workclass": 0.06, "education": 0.02, "hours": 0.03, "gain": 0.0}
    holed = {
        name: [None if gone else value for gone, value in zip(rng.random(n) < shares[name], column, strict=True)]
        for name, column in table.items()
    }
    return {**holed, "sex": sex, "income": income}
