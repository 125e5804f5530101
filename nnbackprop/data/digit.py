"""A photographed or drawn digit made like MNIST's: bright ink on a dark background, of their position and size.

MNIST's digits were "size normalized to fit in a 20x20 pixel box while preserving their aspect ratio" and "centered
in a 28x28 image by computing the center of mass of the pixels" (LeCun, Cortes and Burges,
http://yann.lecun.com/exdb/mnist/). Each step is a function from picture to picture, float64 (rows, columns) in
0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nnbackprop.errors import DataError

from .background import background_of, border, some_images
from .dataset import Dataset

DIGITS = frozenset(map(str, range(10)))
SIDE, BOX = 28, 20  # pixels of MNIST's images, and of the box that holds the ink
MAX_SIDE = 384  # of a picture while its digit is looked for
INK = 0.2  # brightness from which a pixel belongs to the digit's strokes
MIN_CONTRAST = 0.08  # between ink and paper, of the range from black to white
MAX_INK = 0.6  # share of the picture that ink may cover
NOISE = 3.0  # standard deviations of the paper that count as paper
FRAGMENT = 0.05  # of the largest stroke: smaller ones are specks
FADING = 25  # a stroke fades within the longer side divided by this
EMPTY_BORDER = 0.98  # share of the border's pixels without ink in images of MNIST's kind


@dataclass(frozen=True, eq=False)
class Step:
    """A picture on the way from a file to a network's input, and what was done to get it."""

    name: str
    picture: np.ndarray
    note: str


def is_mnist_like(dataset: Dataset) -> bool:
    """Whether samples are digits, all ten or some, prepared as MNIST's: 28 x 28 with a dark, empty border, or its
    inner 20 x 20.
    """
    some_digits = dataset.classes and DIGITS.issuperset(dataset.classes)
    if not some_digits or dataset.image_shape not in ((SIDE, SIDE), (BOX, BOX)):
        return False
    images = some_images(dataset)
    dark = border(images) <= INK * images.max()
    return bool(np.median(dark) and (dark.mean() >= EMPTY_BORDER or dataset.image_shape == (BOX, BOX)))


def to_mnist_digit(
    grey: np.ndarray, opacity: np.ndarray | None, shape: tuple[int, int] = (SIDE, SIDE)
) -> list[Step]:
    """The steps from a picture's luminance and opacity (rows, columns) uint8 to a digit of `shape`.

    The shape is 28 x 28 or 20 x 20, opacity is None where nothing is transparent. A picture of that shape is only
    inverted, where its background is bright. DataError if there is no digit in it.
    """
    picture = grey / 255 if opacity is None else over_paper(grey / 255, opacity / 255)
    check_ink(picture, 0.0, most=1.0)
    steps = [Step("grey", picture, f"{picture.shape[0]} x {picture.shape[1]}")]
    level, inverted = background_of(picture[np.newaxis])[0], dark_on_light(picture)
    if picture.shape == shape:
        if inverted:
            steps.append(Step("inverted", 1 - picture, "inverted, as its ink is dark"))
        check_ink(steps[-1].picture, 0.0)
        return steps
    if inverted:
        steps.append(
            Step("inverted", 1 - picture, f"inverted, as its ink is dark on paper of brightness {level:.2f}")
        )
    ink, noise = without_paper(steps[-1].picture)
    check_ink(ink, noise)
    ink /= ink.max()
    steps.append(Step("ink", ink, "paper taken off"))
    cropped = crop(ink)
    steps.append(Step("cropped", cropped, f"cropped to {cropped.shape[0]} x {cropped.shape[1]}"))
    fitted = fit(cropped)
    steps.append(Step("fitted", fitted, f"fitted into {BOX} x {BOX}"))
    steps.append(Step("centred", centre(fitted), f"centred by mass in {SIDE} x {SIDE}"))
    if shape == (BOX, BOX):
        margin = (SIDE - BOX) // 2
        inner = steps[-1].picture[margin:-margin, margin:-margin]
        steps.append(Step("inner", inner, f"cut to the inner {BOX} x {BOX}"))
    return steps


def over_paper(grey: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """A transparent picture over white where its ink is dark, over black where it is bright."""
    ink = (grey * opacity).sum() / max(opacity.sum(), 1e-9)
    paper = 1.0 if ink < 0.5 else 0.0
    return grey * opacity + paper * (1 - opacity)


def dark_on_light(picture: np.ndarray) -> bool:
    """Whether what stands out from the background is darker than it."""
    low, high = np.percentile(picture, (0.5, 99.5))
    level = background_of(picture[np.newaxis])[0]
    return bool(level - low > high - level)


def without_paper(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """Bright ink less the paper, at least 0, and the paper's noise, a standard deviation.

    The paper's brightness is a quadratic surface through the pixels that are no ink: light falls unevenly. What
    rises above it by less than `NOISE` standard deviations is paper.
    """
    terms = _quadratic_terms(picture.shape)
    values, rest, paper = picture.ravel(), picture.ravel(), np.ones(picture.size, bool)
    for _ in range(4):
        on_paper = terms * paper
        rest = values - np.linalg.lstsq(on_paper @ terms.T, on_paper @ values, rcond=None)[0] @ terms
        paper = rest <= max(otsu(rest), rest.min())
    noise = 1.4826 * float(np.median(np.abs(rest[paper] - np.median(rest[paper]))))
    return np.maximum(rest - NOISE * noise, 0).reshape(picture.shape), noise


@lru_cache(maxsize=1)  # a drawing is prepared anew with each of its points
def _quadratic_terms(shape: tuple[int, int]) -> np.ndarray:
    """1, x, y, x^2, x y and y^2 of each pixel, (6, pixels), where x and y go from -1 to 1."""
    rows, columns = (np.linspace(-1, 1, side) for side in shape)
    y, x = (a.ravel() for a in np.meshgrid(rows, columns, indexing="ij"))
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])


def otsu(values: np.ndarray) -> float:
    """The threshold of greatest variance between its two sides (Otsu 1979, IEEE Trans. SMC 9, 62-66)."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * difference**2)
    return float(edges[1 + int(np.argmax(between))])


def check_ink(ink: np.ndarray, noise: float, most: float = MAX_INK) -> None:
    """DataError unless a picture has ink that stands out from its background, and covers `most` of it at most."""
    if ink.max() - ink.min() < max(MIN_CONTRAST, 2 * NOISE * noise):
        raise DataError("is blank: all of its pixels are nearly the same. Give a picture of one digit.")
    if (share := float((ink > INK * ink.max()).mean())) > most:
        raise DataError(
            f"has ink on {share:.0%} of it, so no digit is found. Give a picture of one digit on plain paper."
        )


def crop(ink: np.ndarray) -> np.ndarray:
    """The rectangle of the digit's strokes; specks, and what only reaches in from the edge, are erased."""
    strokes = _strokes(ink >= INK)
    kept = np.where(_grown(strokes), ink, 0.0)
    rows, columns = (np.flatnonzero(strokes.any(axis=axis)) for axis in (1, 0))
    return kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def fit(ink: np.ndarray) -> np.ndarray:
    """Resized, its ratio kept, so that the longer side is 20; the brightest pixel is white again."""
    from PIL import Image

    scale = BOX / max(ink.shape)
    height, width = (max(1, math.floor(side * scale + 0.5)) for side in ink.shape)
    resized = Image.fromarray(ink.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    fitted = np.asarray(resized, np.float64).clip(0, 1)
    return fitted / fitted.max()


def centre(ink: np.ndarray) -> np.ndarray:
    """28 x 28, with the centre of mass of `ink` in the pixel below and right of the middle, as in MNIST's images.

    `ink` fits into 20 x 20, and is never moved beyond the edge.
    """
    picture = np.zeros((SIDE, SIDE))
    corner = []
    for axis, side in enumerate(ink.shape):
        mass = ink.sum(axis=1 - axis)
        middle = float((np.arange(side) + 0.5) @ mass / mass.sum())
        corner.append(min(max(0, math.ceil(SIDE / 2 - middle)), SIDE - side))
    picture[corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return picture


def _strokes(mask: np.ndarray) -> np.ndarray:
    """The pixels of strokes: connected ones, of some size, that do not touch the edge if the largest does not."""
    labels = _connected(mask)
    names, sizes = np.unique(labels[mask], return_counts=True)
    edge = set(np.unique(border(labels[np.newaxis])).tolist())
    inside = ~np.isin(names, list(edge))
    candidates = inside if inside.any() and sizes[inside].max() >= FRAGMENT * sizes.max() else np.ones_like(inside)
    kept = names[candidates & (sizes >= FRAGMENT * sizes[candidates].max())]
    return np.isin(labels, kept)


def _connected(mask: np.ndarray) -> np.ndarray:
    """A number for each pixel, the same for those that are connected, 0 where `mask` is False.

    The greatest number spreads along rows and columns, whole runs at once, until nothing changes.
    """
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        before = labels
        labels = _spread(_spread(labels, mask).T, mask.T).T
        if np.array_equal(labels, before):
            return labels


def _spread(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The greatest label of each horizontal run of `mask`, and of its diagonal neighbours, all along the run."""
    padded = np.pad(labels, ((1, 1), (1, 1)))
    near = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    near = np.maximum(np.maximum(near[:, :-2], near[:, 1:-1]), near[:, 2:])
    starts = np.diff(mask, axis=1, prepend=False) & mask
    runs = np.cumsum(starts.ravel()).reshape(mask.shape)  # a number for each run
    greatest = np.zeros(int(runs.max(initial=0)) + 1, labels.dtype)
    np.maximum.at(greatest, runs[mask], near[mask])
    return np.where(mask, greatest[runs], 0)


def _grown(mask: np.ndarray) -> np.ndarray:
    """A mask and the pixels near it, where strokes fade."""
    reach = max(2, max(mask.shape) // FADING)
    for axis in (0, 1):
        padded = np.pad(mask, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)])
        mask = np.any([padded.take(range(i, i + mask.shape[axis]), axis) for i in range(2 * reach + 1)], axis=0)
    return mask
