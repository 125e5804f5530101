"""The common style of all plots, and how they are saved; matplotlib's global state is never touched."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style as styles
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from nnbackprop._files import write_atomically

DPI = 130

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, told apart by people of any colour vision."""

GREY = "#666666"

STYLE = {
    "font.size": 9.5,
    "text.parse_math": False,  # a class may be called $
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
}


class Plot(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)


def style() -> AbstractContextManager[None]:
    """Make and save figures within it: the user's own matplotlibrc changes nothing."""
    return styles.context(["default", STYLE])


def new_plot(title: str, width: float = 7.5, height: float = 4.5) -> tuple[Figure, Axes]:
    """A figure of one plot, in inches."""
    figure, (axes,) = new_plots(title, 1, width, height)
    return figure, axes


def new_plots(title: str, columns: int, width: float, height: float = 4.5) -> tuple[Figure, list[Axes]]:
    """A figure of plots side by side, `width` and `height` inches in all."""
    figure = _titled(title, width, height)
    plots = list(figure.subplots(1, columns, squeeze=False).flat)
    for axes in plots:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, plots


def new_image_grid(title: str, rows: int, columns: int, side: float) -> tuple[Figure, np.ndarray]:
    """A figure of (rows, columns) plots without ticks, each `side` inches square with space for text above."""
    figure = _titled(title, max(columns * side, 6.0), rows * (side + 0.3) + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#CCCCCC")
    return figure, grid


def new_rows(
    title: str, columns: Sequence[int], width: float, heights: Sequence[float]
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows of plots one below the other, with so many `columns` and of these `heights` in inches."""
    figure = _titled(title, width, sum(heights) + 0.5)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    return figure, [list(part.subplots(1, n, squeeze=False)[0]) for part, n in zip(parts, columns, strict=True)]


def text_figure(title: str, lines: Sequence[str] = ()) -> Figure:
    """A figure of text alone: a title, and lines in columns."""
    height = 0.6 + 0.17 * len(lines)
    figure = _titled(title, 7.5, height)
    figure.text(0.02, 1 - 0.5 / height, "\n".join(lines), va="top", family="monospace")
    return figure


def _titled(title: str, width: float, height: float) -> Figure:
    figure = Plot(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold")
    return figure


def shorten(name: str, characters: int) -> str:
    """A name of at most so many characters, in one line."""
    name = " ".join(name.split())
    return name if len(name) <= characters else name[: characters - 1] + "…"


def printable(classes: Sequence[str]) -> list[str]:
    """Class names as the font can write them; the number of a class where it cannot."""
    font = get_font(findfont(FontProperties()))
    return [name if all(map(font.get_char_index, map(ord, name))) else str(i) for i, name in enumerate(classes)]


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    content = io.BytesIO()
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(content)  # figure.savefig would draw twice, once to lay the figure out
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all, and make its folder if need be."""
    content = png(figure)
    with contextlib.suppress(OSError):  # writing into it says what is wrong
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def draw(path: Path, plot: Callable[..., Figure], *arguments: Any) -> None:
    """Make a figure in the common style and write it as PNG; RunFolderError if it cannot be written."""
    with style():
        save(plot(*arguments), path)
