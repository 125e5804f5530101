"""The convolutional layer: the same weighted sum at every place of an image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from backends import Array, Formula
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.initializers import He, Initializer, InitRng, Zeros
from nnbackprop.nn.rng import RngKey

from .base import Backward, LayerParams, Shape
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
    2006.) The fan-in of He's weights is kh kw in.

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
        if not isinstance(self.filters, int) or self.filters < 1:
            raise ShapeError(f"A Conv2D layer needs a whole number of filters, at least 1; got {self.filters!r}.")
        kernel, _, padding = self._size, self._stride, self.padding
        if padding not in ("valid", "same") and not (isinstance(padding, int) and 0 <= padding < min(kernel)):
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
        return Dense(self.filters, self.weight_init, self.bias, self.bias_init)

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
        places = self._places(in_shape)
        params, _ = self._dense.build(rng, (self._size[0] * self._size[1] * in_shape[2],), dtype)
        return params, (*places, self.filters)

    def _places(self, in_shape: Shape) -> Pair:
        """The rows and columns of z; ShapeError for samples that are no images or too small."""
        rows, columns, channels = image_shape(in_shape, "Conv2D")
        down, across = self._padding(in_shape)
        return window_counts(
            (rows + sum(down), columns + sum(across), channels), self._size, self._stride, "Conv2D"
        )

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Any]:
        """z = cols W + b (derivation, D37, D38).

        Backward makes the windows anew: kept, they would take kh kw times the memory of x.
        """
        places = self._places(x.shape[1:])
        z, _ = self._dense.forward(xp, params, self._columns(xp, x), None)  # (n rows' columns', filters)
        return xp.reshape(z, (x.shape[0], *places, self.filters)), x

    def backward(self, xp: Any, params: LayerParams, cache: Any, dy: Array, need_dx: bool) -> Backward:
        """dW = cols^T dz, db = 1^T dz, dx = dz, spread and padded, by the turned kernel (derivation, D39, D40)."""
        x, dz = cache, dy
        cols = self._columns(xp, x)
        _, grads = self._dense.backward(xp, params, cols, xp.reshape(dz, (-1, self.filters)), need_dx=False)
        if not need_dx:
            return None, grads
        (kh, kw), (_, rows, columns, channels) = self._size, x.shape
        down, across = self._padding(x.shape[1:])
        dz = _dilate(xp, dz, self._stride)
        before = kh - 1 - down[0], kw - 1 - across[0]
        after = rows + kh - 1 - before[0] - dz.shape[1], columns + kw - 1 - before[1] - dz.shape[2]
        padding = (before[0], after[0]), (before[1], after[1])  # to (n, rows + kh - 1, columns + kw - 1, filters)
        turned = xp.specialize(Formula.WINDOW_COLUMNS, window_columns)(dz, (kh, kw), (1, 1), padding, True)
        W = xp.matrix_transpose(xp.reshape(params["W"], (kh * kw, channels, self.filters)))
        W = xp.reshape(W, (kh * kw * self.filters, channels))
        return xp.reshape(xp.matmul(turned, W), tuple(x.shape)), grads

    def _columns(self, xp: Any, x: Array) -> Array:
        """The windows of x as rows, (n rows' columns', kh kw c)."""
        columns = xp.specialize(Formula.WINDOW_COLUMNS, window_columns)
        return columns(x, self._size, self._stride, self._padding(x.shape[1:]))


def _dilate(xp: Any, dz: Array, stride: Pair) -> Array:
    """dz with stride - 1 zeros between its rows, and between its columns."""
    if stride == (1, 1):
        return dz
    rows, columns = ((dz.shape[1 + i] - 1) * stride[i] + 1 for i in (0, 1))
    zeros = xp.zeros_like(dz)
    spread = [[zeros] * stride[1] for _ in range(stride[0])]
    spread[0][0] = dz
    return interleave(xp, spread)[:, :rows, :columns, :]
