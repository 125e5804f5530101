"""A PNG image as grey values; its size is held against what is needed before a pixel of it is decoded.

Pillow reads it, and nothing but PNG: a file's name does not choose among Pillow's forty decoders.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop._safe_open import open_file
from nnbackprop.data.limits import Budget
from nnbackprop.errors import DataError, NnbackpropError

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601
A_PIXEL = 16  # bytes, at most, while it is decoded and weighed


def read(path: Path, shape: tuple[int, int] | None = None) -> np.ndarray:
    """(rows, columns) float64 in 0..1, black 0; colours by their luminance, transparency left aside.

    Raises DataError, naming the file, where it is no PNG, has another `shape` than asked for, moves, is cut
    off, or is larger than `limits` allow.
    """
    from PIL.PngImagePlugin import PngImageFile  # Image.open would judge the size by a limit of its own

    try:
        with open_file(path) as stream, PngImageFile(stream) as image:
            _check(image, path, shape)
            return _grey(image)
    except NnbackpropError:
        raise
    except Exception as error:  # Pillow raises whatever it stumbles over
        raise DataError(f"{path} cannot be read as a PNG image: {error}.") from error


def _check(image: Any, path: Path, shape: tuple[int, int] | None) -> None:
    columns, rows = image.size
    if shape is not None and (rows, columns) != shape:
        raise DataError(
            f"{path} is {rows} x {columns} and this network takes images of {shape[0]} x {shape[1]}, white on "
            "black as in its training data: resize it first."
        )
    if image.is_animated:
        raise DataError(
            f"{path} is an animation of {image.n_frames} images: save the one that is meant by itself."
        )
    Budget(str(path)).take(rows * columns * A_PIXEL)


def _grey(image: Any) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits
        return np.asarray(image, np.float64) / (2**16 - 1)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"), np.float64) / (2**8 - 1)
    colours = np.asarray(image.convert("RGB"), np.float32) / (2**8 - 1)
    return np.asarray(colours @ np.array(LUMINANCE, np.float32), np.float64)
