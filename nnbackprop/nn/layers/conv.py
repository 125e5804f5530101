"""The convolutional layer: the same weighted sum at every place of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from backends import Array, Formula
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.initializers import He, Initializer, InitRng, Zeros, for_kernel
from nnbackprop.nn.rng import RngKey

from .base import Backward, LayerParams, Shape, is_whole, sum_over_batch, use_python_numbers
from .dense import Dense
from .windows import AxisWindow, Pair, image_shape, interleave, pair, window_columns, window_counts


@dataclass(frozen=True)
class Conv2D:
    """z[r, s] = b + the sum over i, j of x[r stride + i, s stride + j] W[i, j], at every place of an image.

    x is (n, rows, columns, in), channels last, padded with zeros; z is (n, rows', columns', filters), W
    (kh kw in, filters), whose rows go through the kernel row by row, and b (filters,). It is what the field calls
    convolution: the kernel is not flipped. `padding` is "valid" for none, "same" for an output of
    ceil(rows / stride) rows, or the number of lines of zeros on every side. "same" puts the odd line after the
    image, as TensorFlow does.

    With cols (n rows' columns', kh kw in) the windows, z = cols W + b is a Dense layer's. Backward, from dz:
    dW = cols^T dz, db = the sum of dz over batch and places, and dx is a convolution too: of dz, with stride - 1
    zeros between its numbers and zeros around, by the kernel turned by 180 degrees, W[i, j]^T.
    (LeCun et al., Backpropagation applied to handwritten zip code recognition, Neural Computation 1989; as one
    product: Chellapilla, Puri and Simard, High performance convolutional neural networks for document processing,
    2006.) The fan-in of its weights is kh kw in, for He's variance, and the fan-out kh kw filters, for Glorot's.

    >>> layer, xp = nb.Conv2D(1, kernel_size=2), nb.select("numpy").xp
    >>> params = {"W": np.ones((4, 1)), "b": np.zeros(1)}
    >>> image = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> z, cache = layer.forward(xp, params, image, None)
    >>> z[0, :, :, 0]  # 0 + 1 + 3 + 4 ...
    array([[ 8., 12.],
           [20., 24.]])

    Raises:
        ShapeError: fewer than 1 filter; when built, samples that are not (rows, columns, channels), or a kernel
            larger than the padded image.
        UsageError: a kernel size or stride that is not one or two whole numbers of at least 1, a padding that is
            none of the above or not smaller than the kernel, an initializer that is none.
    """

    filters: int
    kernel_size: int | Pair = 3
    stride: int | Pair = 1
    padding: Literal["valid", "same"] | int = "valid"
    weight_init: Initializer = He()
    bias: bool = True
    bias_init: Initializer = Zeros()

    regularized: ClassVar[tuple[str, ...]] = ("W",)
    copies_windows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        use_python_numbers(self)
        if not is_whole(self.filters, 1):
            raise ShapeError(f"A Conv2D layer needs a whole number of filters, at least 1; got {self.filters!r}.")
        kernel, _, padding = self._size, self._stride, self.padding
        if padding not in ("valid", "same") and not (is_whole(padding, 0) and padding < min(kernel)):
            raise UsageError(
                f'The padding of a Conv2D layer is "valid", "same", or a whole number of at least 0 and below the '
                f"kernel's {min(kernel)}, since windows would else hold zeros alone; got {padding!r}."
            )
        _ = self._dense  # which checks the initializers

    @property
    def _size(self) -> Pair:
        return pair(self.kernel_size, "kernel_size")

    @property
    def _stride(self) -> Pair:
        return pair(self.stride, "stride")

    @cached_property
    def _dense(self) -> Dense:
        """The layer's product: a Dense layer whose samples are windows."""
        weight_init = for_kernel(self.weight_init, math.prod(self._size))
        return Dense(self.filters, weight_init, self.bias, self.bias_init)

    def _padding(self, in_shape: Shape) -> tuple[Pair, Pair]:
        """Lines of zeros before and after the rows, and the columns."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        if isinstance(self.padding, int):
            return (self.padding, self.padding), (self.padding, self.padding)
        rows, columns = (
            max((-(-length // stride) - 1) * stride + size - length, 0)
            for length, size, stride in zip(in_shape[:2], self._size, self._stride, strict=True)
        )
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)

    def axis_windows(self, in_shape: Shape) -> tuple[AxisWindow, AxisWindow]:
        """The windows along rows and columns of images of `in_shape`."""
        down, across = zip(self._size, self._stride, self._padding(in_shape), strict=True)
        return AxisWindow(down[0], down[1], *down[2]), AxisWindow(across[0], across[1], *across[2])

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """Draw W (kh kw in, filters) and b (filters,)."""
        rows, columns, channels = image_shape(in_shape, "Conv2D")
        down, across = self._padding(in_shape)
        padded = rows + sum(down), columns + sum(across), channels
        places = window_counts(padded, self._size, self._stride, "Conv2D")
        params, _ = self._dense.build(rng, (self._size[0] * self._size[1] * channels,), dtype)
        return params, (*places, self.filters)

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Any]:
        """z = cols W + b (derivation, D37, D38).

        Backward makes the windows anew: kept, they would take kh kw times the memory of x.
        """
        z = xp.native(Formula.CONV2D, conv2d)(x, params["W"], self._size, self._stride, self._padding(x.shape[1:]))
        if "b" in params:
            z += params["b"]
        return z, x

    def backward(self, xp: Any, params: LayerParams, cache: Any, dy: Array, need_dx: bool) -> Backward:
        """dW = cols^T dz, db = 1^T dz, dx = dz, spread and padded, by the turned kernel (derivation, D39, D40)."""
        x, dz, geometry = cache, dy, (self._size, self._stride, self._padding(cache.shape[1:]))
        grads = {"W": xp.native(Formula.CONV2D_WEIGHT_GRAD, conv2d_weight_grad)(x, dz, *geometry)}
        if "b" in params:
            grads["b"] = sum_over_batch(xp, dz)[0, :]
        if not need_dx:
            return None, grads
        return xp.native(Formula.CONV2D_INPUT_GRAD, conv2d_input_grad)(
            dz, params["W"], tuple(x.shape), *geometry
        ), grads


def conv2d(xp: Any, x: Array, W: Array, size: Pair, stride: Pair, padding: tuple[Pair, Pair]) -> Array:
    """z = cols W, (n, rows', columns', filters), with cols the windows of the padded x (derivation, D37, D38)."""
    cols = window_columns(xp, x, size, stride, padding)  # (n rows' columns', kh kw c)
    lengths = (length + sum(lines) for length, lines in zip(x.shape[1:3], padding, strict=True))
    places = ((n - k) // step + 1 for n, k, step in zip(lengths, size, stride, strict=True))
    return xp.reshape(xp.matmul(cols, W), (x.shape[0], *places, W.shape[1]))


def conv2d_weight_grad(
    xp: Any, x: Array, dz: Array, size: Pair, stride: Pair, padding: tuple[Pair, Pair]
) -> Array:
    """dW = cols^T dz, (kh kw c, filters) (derivation, D39)."""
    cols = window_columns(xp, x, size, stride, padding)
    return xp.matmul(xp.matrix_transpose(cols), xp.reshape(dz, (-1, dz.shape[3])))


def conv2d_input_grad(
    xp: Any, dz: Array, W: Array, shape: Shape, size: Pair, stride: Pair, padding: tuple[Pair, Pair]
) -> Array:
    """dx (n, rows, columns, c), of `shape`: dz, spread and padded, by the turned kernel (derivation, D40)."""
    (kh, kw), (_, rows, columns, channels), (down, across) = size, shape, padding
    dz = _dilate(xp, dz, stride)
    before = kh - 1 - down[0], kw - 1 - across[0]
    after = rows + kh - 1 - before[0] - dz.shape[1], columns + kw - 1 - before[1] - dz.shape[2]
    around = (before[0], after[0]), (before[1], after[1])  # to (n, rows + kh - 1, columns + kw - 1, filters)
    turned = window_columns(xp, dz, size, (1, 1), around, turned=True)
    W = xp.matrix_transpose(xp.reshape(W, (kh * kw, channels, -1)))
    W = xp.reshape(W, (-1, channels))  # (kh kw filters, c)
    return xp.reshape(xp.matmul(turned, W), shape)


def _dilate(xp: Any, dz: Array, stride: Pair) -> Array:
    """dz with stride - 1 zeros between its rows, and between its columns."""
    if stride == (1, 1):
        return dz
    rows, columns = ((dz.shape[1 + i] - 1) * stride[i] + 1 for i in (0, 1))
    zeros = xp.zeros_like(dz)
    spread = [[zeros] * stride[1] for _ in range(stride[0])]
    spread[0][0] = dz
    return interleave(xp, spread)[:, :rows, :columns, :]
