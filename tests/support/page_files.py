"""The files that the documents say a reader has: each is made when a command first names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import nnbackprop as nb
from nnbackprop.data.bundled import TABLES, mnist_20x20
from tests.support.tables import write_table

SMALL_MNIST = "digits.npz"
"""MNIST's first 600 training and 200 test images."""


def small_mnist(path: Path) -> None:
    data = nb.load("mnist")
    assert data.test is not None
    train, test = data.train, data.test
    shape = (-1, *(train.image_shape or ()))
    np.savez(
        path,
        x_train=np.asarray(train.inputs[:600]).reshape(shape),
        y_train=np.asarray(train.targets[:600]),
        x_test=np.asarray(test.inputs[:200]).reshape(shape),
        y_test=np.asarray(test.targets[:200]),
    )


def animals(path: Path) -> None:
    """Labels by name, a text column, and missing numbers where the page says so."""
    rng = np.random.default_rng(0)
    heavy = np.arange(120) % 2
    weight = 4 + 26 * heavy + rng.normal(0, 3, 120)
    table: dict[str, Any] = {"weight": weight.round(1), "ears": rng.choice(["long", "short"], 120)}
    write_table(path, table | {"class": np.where(heavy, "dog", "cat")})


def houses(path: Path) -> None:
    rng = np.random.default_rng(0)
    area, rooms = rng.uniform(40, 200, 90).round(1), rng.integers(1, 7, 90)
    table: dict[str, Any] = {
        "area": area,
        "rooms": rooms,
        "price": (2000 * area + 9000 * rooms + rng.normal(0, 5000, 90)).round(2),
    }
    if path.suffix == ".csv":
        write_table(path, table)
    else:
        parquet(path, table)


def parquet(path: Path, table: dict[str, Any]) -> None:
    import polars

    polars.DataFrame(table).write_parquet(path)


def like_house_prices(path: Path) -> None:
    """The first rows of the table in the package."""
    lines = (TABLES / "house-prices.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:20]), encoding="utf-8")


def films(path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 3))
    genres: dict[str, Any] = {
        name: (x[:, k] > 0).astype(int) for k, name in enumerate(("comedy", "drama", "horror"))
    }
    write_table(path, genres | {"length": x[:, 0], "pace": x[:, 1], "dark": x[:, 2]})


def flowers(path: Path) -> None:
    """Rows as the iris table has them."""
    lines = (TABLES / "iris.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0], *lines[1::10]]), encoding="utf-8")


def clicks(path: Path) -> None:
    rng = np.random.default_rng(0)
    parquet(path, {"a": rng.random(80), "b": rng.random(80), "bought": np.arange(80) % 2})


def photos(path: Path) -> None:
    """Two classes of colour images of noise, brighter in one channel."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("cat", "dog")):
        (path / name).mkdir(parents=True)
        for i in range(12):
            photo(path / name / f"{i}.png", channel, rng)


def photo(path: Path, channel: int = 0, rng: np.random.Generator | None = None) -> None:
    pixels = (rng or np.random.default_rng(1)).integers(0, 120, (40, 48, 3), np.uint8)
    pixels[..., channel] += 110
    Image.fromarray(pixels).save(path)


def seven(path: Path) -> None:
    """A 7 in dark ink on white paper."""
    picture = Image.new("L", (200, 220), 255)
    draw = ImageDraw.Draw(picture)
    draw.line([(45, 45), (152, 45), (85, 179)], fill=0, width=16, joint="curve")
    picture.save(path, quality=95)


def settings(path: Path) -> None:
    path.write_text(f'data = "{SMALL_MNIST}"\nhidden = [8]\nepochs = 1\n', encoding="utf-8")


def searched(path: Path) -> None:
    """A recipe of a search, as docs/commands.md explains it."""
    settings(path)
    path.write_text(
        path.read_text(encoding="utf-8") + "validation = 0.1\n[search]\ntrials = 2\nlr = [0.01, 0.001]\n",
        encoding="utf-8",
    )


def matlab(path: Path) -> None:
    """The arrays of the exercise's file: 5,000 digits of 20 x 20, sorted by class, of which every tenth."""
    from scipy.io import savemat

    raw = mnist_20x20()
    labels = np.asarray(raw.labels)[::10]
    savemat(path, {"X": np.asarray(raw.inputs, np.float64)[::10], "y": np.where(labels == 0, 10, labels)[:, None]})


MAKERS: dict[str, Callable[[Path], None]] = {
    SMALL_MNIST: small_mnist,
    "animals.csv": animals,
    "my.csv": animals,
    "houses.parquet": houses,
    "films.csv": films,
    "flowers.csv": flowers,
    "clicks.parquet": clicks,
    "photos": photos,
    "other.png": photo,
    "seven.jpg": seven,
    "digit.png": seven,
    "mine.toml": settings,
    "small.toml": searched,
    "ex4data1.mat": matlab,
}

OF_A_PAGE: dict[tuple[str, str], Callable[[Path], None]] = {
    ("README.md", "new.csv"): animals,
    ("README.md", "new.parquet"): houses,
    ("README.md", "new.jpg"): photo,
    ("docs/data.md", "new.csv"): animals,
    ("docs/images.md", "new.jpg"): photo,
    ("docs/tasks.md", "houses.csv"): houses,
    ("docs/house-prices.md", "houses.csv"): like_house_prices,
}


def make(page: str, name: str) -> None:
    """Make the file or folder of this name in the working folder, if it is one of those above and not there."""
    maker = OF_A_PAGE.get((page, name)) or MAKERS.get(name)
    if maker and not Path(name).exists():
        maker(Path(name))
