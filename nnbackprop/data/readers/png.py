"""A PNG image as grey values; its size is checked before a pixel of it is decoded.

Pillow decodes it, as PNG alone: a file's name does not choose among Pillow's forty decoders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop._files import open_data
from nnbackprop.data.limits import MemoryBudget
from nnbackprop.errors import DataError

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
BYTES_PER_PIXEL = 16  # at most, while it is decoded


def read(path: Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """(rows, columns) float64 in 0..1, black 0; colours by their luminance, transparency ignored.

    Raises DataError, naming the file, if it is not a PNG, does not have `shape`, is animated, is truncated, or
    is larger than `limits` allow.
    """
    from PIL.PngImagePlugin import PngImageFile  # Image.open would judge the size by a limit of its own

    with open_data(path, "PNG") as stream, PngImageFile(stream) as image:
        columns, rows = image.size
        if shape is not None and (rows, columns) != shape:
            raise DataError(
                f"{path} is {rows} x {columns} and this network takes images of {shape[0]} x {shape[1]}, white on "
                "black as in its training data: resize it first."
            )
        if image.is_animated:
            raise DataError(f"{path} is an animation of {image.n_frames} images: save one of them as a file.")
        MemoryBudget(str(path)).reserve(rows * columns * BYTES_PER_PIXEL)
        return _grey(image)


def _grey(image: Any) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits
        return np.asarray(image, np.float64) / (2**16 - 1)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"), np.float64) / (2**8 - 1)
    colours = np.asarray(image.convert("RGB"), np.float32) / (2**8 - 1)
    return np.asarray(colours @ np.array(LUMINANCE, np.float32), np.float64)
