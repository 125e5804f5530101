"""The windows of a kernel on images, channels last: by basic slices, and back without scatter.

x is (n, rows, columns, channels) everywhere; a kernel and a stride are pairs of rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from backends import Array
from nnbackprop.errors import ImageTooSmallError, ShapeError, UsageError

from .base import Shape, is_whole

Pair = tuple[int, int]


class AxisWindow(NamedTuple):
    """The windows along one axis of an image: their size and stride, and the zeros before and after the image."""

    size: int
    stride: int
    before: int = 0
    after: int = 0


def pair(value: int | Pair, name: str) -> Pair:
    """`value` for rows and columns alike, or both; UsageError unless whole numbers of at least 1."""
    both = value if isinstance(value, tuple) else (value, value)
    if len(both) != 2 or not all(is_whole(number, 1) for number in both):
        raise UsageError(
            f"{name} is a whole number of at least 1, or a pair of them for rows and columns; got {value!r}."
        )
    return both


def image_shape(in_shape: Shape, layer: str) -> tuple[int, int, int]:
    """A sample's rows, columns and channels; ShapeError says how to make an image of what is none."""
    if len(in_shape) != 3:
        if len(in_shape) == 2:
            advice = (
                f"reshape the inputs to one channel, as in inputs.reshape(-1, {in_shape[0]}, {in_shape[1]}, 1)"
            )
        else:
            advice = (
                "put it before Flatten() and Dense, and reshape flat inputs, as in inputs.reshape(-1, 28, 28, 1)"
            )
        raise ShapeError(
            f"got samples of shape {in_shape}; {layer} takes images, shape (rows, columns, channels): {advice}."
        )
    return in_shape


def window_counts(in_shape: Shape, size: Pair, stride: Pair, layer: str) -> Pair:
    """How many windows fit down and across images of `in_shape` (derivation, D36).

    ImageTooSmallError where none does.
    """
    rows, columns, channels = image_shape(in_shape, layer)
    if size[0] > rows or size[1] > columns:
        raise ImageTooSmallError(
            f"got images of {rows} rows, {columns} columns and {channels} channels, and the {size[0]}x{size[1]} "
            f"window of {layer} is larger: use a smaller one, padding, or fewer layers that shrink the image. "
            "Channels come last; where these are (channels, rows, columns), use np.moveaxis(inputs, 1, -1)."
        )
    return (rows - size[0]) // stride[0] + 1, (columns - size[1]) // stride[1] + 1


def pad(xp: Any, x: Array, rows: Pair, columns: Pair) -> Array:
    """x with lines of zeros before and after its rows and its columns."""
    if any(rows):
        zero = _zeros(xp, x[:, :1, :, :])
        x = xp.concat([zero] * rows[0] + [x] + [zero] * rows[1], axis=1)
    if any(columns):
        zero = _zeros(xp, x[:, :, :1, :])
        x = xp.concat([zero] * columns[0] + [x] + [zero] * columns[1], axis=2)
    return x


def windows(x: Array, size: Pair, stride: Pair) -> list[Array]:
    """For each place in the kernel, row by row, the numbers of x under it: arrays (n, rows', columns', c)."""
    rows, columns = ((x.shape[1 + i] - size[i]) // stride[i] * stride[i] + 1 for i in (0, 1))
    return [
        x[:, i : i + rows : stride[0], j : j + columns : stride[1], :]
        for i in range(size[0])
        for j in range(size[1])
    ]


def window_columns(
    xp: Any, x: Array, size: Pair, stride: Pair, padding: tuple[Pair, Pair], turned: bool = False
) -> Array:
    """The windows of a padded x as rows, (n rows' columns', kh kw c); turned, their places from last to first."""
    parts = windows(pad(xp, x, *padding), size, stride)
    return xp.reshape(xp.concat(parts[::-1] if turned else parts, axis=3), (-1, len(parts) * x.shape[3]))


def sum_windows(xp: Any, parts: Sequence[Array], size: Pair, stride: Pair, in_shape: Shape) -> Array:
    """The transpose of `windows`: each number of each part added where it came from, (n, *in_shape).

    Row r of the image is row i of window w where r = stride w + i. So the parts whose i have the same remainder by
    the stride are added, each shifted by i // stride, and the sums are interleaved.
    """
    most = tuple((size[axis] - 1) // stride[axis] for axis in (0, 1))  # the largest shifts
    sums: list[list[Array | None]] = [[None] * stride[1] for _ in range(stride[0])]
    for place, part in enumerate(parts):
        (down, i), (across, j) = divmod(place // size[1], stride[0]), divmod(place % size[1], stride[1])
        shifted = pad(xp, part, (down, most[0] - down), (across, most[1] - across))
        total = sums[i][j]
        sums[i][j] = shifted if total is None else total + shifted
    zeros = xp.zeros_like(sums[0][0])
    x = interleave(xp, [[zeros if total is None else total for total in line] for line in sums])
    x = x[:, : min(in_shape[0], x.shape[1]), : min(in_shape[1], x.shape[2]), :]
    return pad(xp, x, (0, in_shape[0] - x.shape[1]), (0, in_shape[1] - x.shape[2]))


def interleave(xp: Any, parts: Sequence[Sequence[Array]]) -> Array:
    """y with y[:, i::s, j::t, :] = parts[i][j], of s rows of t arrays (n, h, w, c): (n, h s, w t, c)."""
    n, h, w, c = parts[0][0].shape
    lines = [xp.reshape(xp.stack(line, axis=3), (n, h, w * len(line), c)) for line in parts]
    return xp.reshape(xp.stack(lines, axis=2), (n, h * len(lines), w * len(parts[0]), c))


def _zeros(xp: Any, x: Array) -> Array:
    """Zeros of x's shape, which nobody need know: the batch of a traced ONNX graph has no length."""
    return 0 * xp.astype(x > 0, x.dtype)
