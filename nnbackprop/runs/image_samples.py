"""An image file as a trained network takes it: in the size, channels, range and background of training images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnbackprop.data import digit
from nnbackprop.data.background import background_of
from nnbackprop.data.readers import image
from nnbackprop.errors import DataError

from .trained_model import TrainedModel

MIN_RANGE = 8  # of 255, between the darkest and the brightest pixel of an image that is not blank
INVERTED = 0.6 * 255  # between the background of an image and that of the training images


@dataclass(frozen=True, eq=False)
class ImageSample:
    """An image as inputs (1, features), and what was done to it or is amiss with it, a sentence each."""

    inputs: np.ndarray
    notes: tuple[str, ...]


def read_image(path: Path, trained: TrainedModel, as_is: bool = False) -> ImageSample:
    """Bring an image to what a network was trained on.

    For a network trained on digits of MNIST's kind it becomes such a digit (`data.digit`), unless `as_is`; for any
    other it is resized. Transparent pixels are composed over the background of the training images. Raises
    DataError for a file that cannot be read, and for a picture in which no digit is found.
    """
    if trained.image_shape is None:
        raise DataError(
            f"{path} is an image, and this network takes rows of {trained.n_features} numbers: it was trained on "
            f"{trained.config.data}. Give a file of such rows."
        )
    with image.quiet():
        return _read_digit(path, trained) if trained.mnist_like and not as_is else _read_any(path, trained)


def _read_digit(path: Path, trained: TrainedModel) -> ImageSample:
    rows, columns = trained.image_shape or (0, 0)
    try:
        steps = digit.to_mnist_digit(*image.read_layers(path, digit.MAX_SIDE), (rows, columns))
    except DataError as error:
        unread = str(path) in str(error)
        raise error if unread else DataError(f"{path} {error} --as-is predicts it as it is.") from None
    done = [step.note for step in steps[1:]]
    notes = (f"prepared as MNIST's digits were: {', '.join(done)}. --as-is leaves it as it is.",) if done else ()
    return ImageSample(in_range(steps[-1].picture * 255, trained), notes)


def _read_any(path: Path, trained: TrainedModel) -> ImageSample:
    rows, columns, *colours = trained.image_shape or ()
    header = image.read_header(path)
    behind = tuple(round(value * 255 / _white(trained)) for value in trained.background) or image.WHITE
    pixels = image.read(path, "rgb" if colours else "grey", (rows, columns), behind)
    notes = []
    if (header.rows, header.columns) != (rows, columns):
        stretched = ", which stretches it" if header.rows * columns != header.columns * rows else ""
        notes.append(f"{header.rows} x {header.columns}, resized to {rows} x {columns}{stretched}.")
    if header.transparent:
        notes.append("has transparency, composed over the background of the training images.")
    if header.colour and not colours:
        notes.append("has colours, read as their luminance, as the network takes grey images.")
    if colours and not header.colour:
        notes.append("is grey, read as three equal channels, as the network takes colours.")
    if int(pixels.max()) - int(pixels.min()) < MIN_RANGE:
        notes.append("is blank: all of its pixels are nearly the same, and the prediction means nothing.")
    elif trained.background and np.abs(np.subtract(background_of(pixels[np.newaxis]), behind)).min() > INVERTED:
        notes.append(
            "has a background as bright as that of the training images is dark, or the other way round: the "
            "network has not seen such images. Invert it, and predict again."
        )
    return ImageSample(in_range(pixels, trained), tuple(notes))


def _white(trained: TrainedModel) -> float:
    """What white is in the training data: 1, 255, or its largest value where that is far from both."""
    largest = trained.max_input
    return 1 if largest <= 2 else 255 if largest > 127 else largest


def in_range(pixels: np.ndarray, trained: TrainedModel) -> np.ndarray:
    """Pixels of 0..255 as (1, features) in the range of the training data, whole numbers unless that is 0..1."""
    white = _white(trained)
    scaled = pixels if white == 255 else pixels * white / 255
    return (scaled if white == 1 else np.rint(scaled)).reshape(1, -1)
