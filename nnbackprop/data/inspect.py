"""A data set shown in the terminal: parts, class balance, notes, and a few images, upright."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from rich.cells import set_cell_size
from rich.color import Color
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.style import Style
from rich.table import Column
from rich.table import Table as Grid
from rich.text import Text

from .dataset import Dataset
from .split import Splits

MAX_CLASSES, MAX_IMAGES = 20, 10
GAP, BAR_WIDTH = 2, 24
SHADES = " .:-=+*#%@"
Pixel = np.ndarray  # () grey or (3,) colours, in 0..1
Cell = Callable[[Pixel, Pixel], Segment]  # the character of an upper and a lower pixel


def describe(splits: Splits) -> RenderableType:
    """What `nnbackprop data inspect` prints, as a rich renderable."""
    parts = {"train": splits.train} | ({"test": splits.test} if splits.test else {})
    counts = _class_counts(parts) if splits.train.classes else _target_ranges(parts)
    blocks: list[RenderableType] = [_summary(parts), "", counts]
    if notes := dict.fromkeys(note for part in parts.values() for note in part.reader_notes):
        blocks += ["", *(Text(f"- {note}") for note in notes)]
    if splits.train.image_shape:
        blocks += ["", SampleImages(splits.train)]
    return Group(*blocks)


def _summary(parts: dict[str, Dataset]) -> Grid:
    grid, columns = _grid("", *parts), parts.values()
    shape = " x ".join(map(str, next(iter(columns)).image_shape or ()))
    for name, values in {
        "samples": [f"{len(part):,}" for part in columns],
        "features": [f"{part.n_features}{shape and f' ({shape})'}" for part in columns],
        "type": [str(part.inputs.dtype) for part in columns],
        "range": [f"{part.inputs.min():g} .. {part.inputs.max():g}" for part in columns],
        "mean": [f"{part.inputs.mean(dtype=np.float64):.4g}" for part in columns],
        "source": [part.source for part in columns],
    }.items():
        grid.add_row(name, *map(Text, values))
    return grid


def _class_counts(parts: dict[str, Dataset]) -> Grid:
    """Samples of each class, and a bar of those in the training part."""
    grid = _grid("class", *parts, "")
    counts = {name: part.counts() for name, part in parts.items()}
    train = counts["train"]
    for k, name in enumerate(parts["train"].classes[:MAX_CLASSES]):
        bar = ProgressBar(int(train.max()), int(train[k]), width=BAR_WIDTH)
        grid.add_row(Text(name), *(f"{count[k]:,}" for count in counts.values()), bar)
    if (more := len(train) - MAX_CLASSES) > 0:
        grid.add_row("...", *("" for _ in counts), f"{more} more classes")
    return grid


def _target_ranges(parts: dict[str, Dataset]) -> Grid:
    """The range and mean of each target that is a number."""
    grid, train = _grid("target", *parts), parts["train"]
    names = train.target_names or [f"target {k}" for k in range(train.targets.shape[1])]
    for k, name in enumerate(names[:MAX_CLASSES]):
        columns = [part.targets[:, k] for part in parts.values()]
        grid.add_row(Text(name), *(f"{t.min():g} .. {t.max():g}, mean {t.mean():.4g}" for t in columns))
    return grid


def _grid(*names: str) -> Grid:
    """A table that wraps long text: some terminals have no ellipsis."""
    return Grid(*(Column(name, overflow="fold") for name in names))


@dataclass(frozen=True)
class SampleImages:
    """The first image of each class, or without classes the first ones, side by side, two pixels a character.

    As many as two rows hold.
    """

    dataset: Dataset

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Half blocks in colour; lit or not where there is no colour; ASCII shades where there are no blocks."""
        colour = console.color_system is not None and not console.no_color
        cell = _ascii_cell if options.ascii_only else _colour_cell if colour else _binary_cell
        images = [(name, _downsample(image, options.max_width)) for name, image in _first_images(self.dataset)]
        columns = max(1, (options.max_width + GAP) // (images[0][1].shape[1] + GAP))
        for first in range(0, min(len(images), 2 * columns), columns):
            yield from _row(images[first : first + columns], cell)


def _first_images(dataset: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """(class name, image with values in 0..1) of the first sample of each class, ten at most.

    Without classes, of the first samples, which have no name.
    """
    first, names = np.arange(len(dataset)), [""] * MAX_IMAGES
    if dataset.classes:
        labels, first = np.unique(dataset.targets, return_index=True)
        names = [dataset.classes[k] for k in labels[:MAX_IMAGES]]
    for name, i in zip(names, first, strict=False):
        image = np.nan_to_num(dataset.image(int(i)).astype(np.float64))
        image -= image.min()
        yield name, image / (image.max() or 1)


def _downsample(image: np.ndarray, width: int) -> np.ndarray:
    """Every n-th pixel where the image is wider than `width`, padded to an even number of rows."""
    step = -(-image.shape[1] // max(1, width))
    image = image[::step, ::step]
    return np.pad(image, ((0, len(image) % 2), *[(0, 0)] * (image.ndim - 1)))


def _row(images: list[tuple[str, np.ndarray]], cell: Cell) -> Iterator[Segment]:
    """Images side by side, and the names of their classes below."""
    gap = Segment(" " * GAP)
    for y in range(0, len(images[0][1]), 2):
        for _, image in images:
            yield from (cell(top, bottom) for top, bottom in zip(image[y], image[y + 1], strict=True))
            yield gap
        yield Segment.line()
    for name, image in images:
        yield Segment(set_cell_size(name.center(image.shape[1]), image.shape[1]))
        yield gap
    yield Segment.line()


def _colour_cell(top: Pixel, bottom: Pixel) -> Segment:
    colours = (Color.from_rgb(*np.rint(255 * np.broadcast_to(pixel, 3)).tolist()) for pixel in (top, bottom))
    return Segment("▀", Style.from_color(*colours))


def _binary_cell(top: Pixel, bottom: Pixel) -> Segment:
    return Segment(" ▀▄█"[int(top.mean() >= 0.5) + 2 * int(bottom.mean() >= 0.5)])


def _ascii_cell(top: Pixel, bottom: Pixel) -> Segment:
    return Segment(SHADES[round(float(top.mean() + bottom.mean()) / 2 * (len(SHADES) - 1))])
