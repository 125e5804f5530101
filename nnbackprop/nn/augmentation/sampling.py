"""Bilinear sampling of images at given places: four `take`s and two elementwise kernels."""

from __future__ import annotations

from typing import Any

from backends import Array, device_of


def bilinear(xp: Any, images: Array, rows: Array, columns: Array) -> Array:
    """The images' values at places between pixels, by bilinear interpolation.

    images (n, height, width, channels), at least 2 x 2; rows and columns (n, height width), where pixel i of the
    result comes from. A place outside the image gets the value of the border next to it. Returns images.
    """
    n, height, width, channels = images.shape
    index, fy, fx = xp.fuse(bilinear_place)(rows, columns, height - 1, height - 2, width - 1, width - 2, width, 0)
    first = xp.arange(0, n * height * width, height * width, dtype=xp.int32, device=device_of(images))
    index = xp.reshape(xp.astype(index, xp.int32) + xp.reshape(first, (-1, 1)), (-1,))
    pixels = xp.reshape(images, (-1, channels) if channels > 1 else (-1,))
    corners = [xp.take(pixels[offset:, ...], index, axis=0) for offset in (0, 1, width, width + 1)]
    weights = (xp.reshape(f, (-1, 1) if channels > 1 else (-1,)) for f in (fy, fx))
    return xp.reshape(xp.fuse(interpolate)(*corners, *weights), images.shape)


def bilinear_place(
    xp: Any,
    y: Array,
    x: Array,
    last_row: float,
    last_but_one_row: float,
    last_column: float,
    last_but_one_column: float,
    width: float,
    zero: float,
) -> tuple[Array, Array, Array]:
    """The index within its image of the pixel above and left of (y, x), and the parts of y and x beyond it."""
    y = xp.minimum(xp.maximum(y, zero), last_row)
    x = xp.minimum(xp.maximum(x, zero), last_column)
    y0 = xp.minimum(xp.floor(y), last_but_one_row)
    x0 = xp.minimum(xp.floor(x), last_but_one_column)
    return y0 * width + x0, y - y0, x - x0


def interpolate(xp: Any, a: Array, b: Array, c: Array, d: Array, fy: Array, fx: Array) -> Array:
    """Between a and b above and c and d below, fy of the way down and fx across: an elementwise kernel."""
    above, below = a + fx * (b - a), c + fx * (d - c)
    return above + fy * (below - above)
