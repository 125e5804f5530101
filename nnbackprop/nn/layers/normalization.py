"""Normalization: to mean 0 and variance 1, over the batch or over the features, then a learnt scale and shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from backends import Array
from nnbackprop.errors import ShapeError, UsageError
from nnbackprop.nn.initializers import InitRng, Ones, Zeros
from nnbackprop.nn.rng import RngKey

from .base import Backward, Cache, LayerParams, Shape, sum_over_batch, use_python_numbers, vector_length


@dataclass(frozen=True)
class BatchNorm:
    """y = gamma xh + beta, xh = (x - m) / sqrt(v + eps), with gamma, beta, m, v (k,), and x and y (n, k).

    Of images, x and y (n, rows, columns, k), every place counts as a sample: a mean and a variance a channel. In
    training m and v are the batch's mean and variance (divided by N, the number of samples, or of places in all
    of them). In evaluation they are the running ones, the buffers `mean` and `var`: after a training step
    mean <- (1 - momentum) mean + momentum m, and var likewise with the variance divided by N - 1, as PyTorch's
    BatchNorm1d and BatchNorm2d.

    Backward, through m and v: dx = gamma / sqrt(v + eps) (dy - mean(dy) - xh mean(dy xh)), sums and means over the
    batch and all places; dgamma = sum dy xh, dbeta = sum dy. In evaluation, where m and v are constants,
    dx = gamma / sqrt(v + eps) dy. (Ioffe and Szegedy, Batch normalization: accelerating deep network training by
    reducing internal covariate shift, ICML 2015, algorithm 1 and sections 3 and 3.2, of convolutions.)

    The batch is what x holds. Where that is a shard of a batch, and `xp.batch_means` gives means over all shards,
    it is the whole batch: m, then v, in forward, mean(dy) and mean(dy xh) in backward.

    Raises:
        UsageError: a momentum outside 0 < momentum <= 1, an eps that is not above 0.
        ShapeError: when built, samples that are neither (features,) nor (rows, columns, channels); in training, a
            batch of one vector, or of one image of one pixel.
    """

    momentum: float = 0.1
    eps: float = 1e-5

    buffers: ClassVar[tuple[str, ...]] = ("mean", "var")
    full_precision: ClassVar[bool] = True

    def __post_init__(self) -> None:
        use_python_numbers(self)
        _check_eps(self.eps)
        if not 0 < self.momentum <= 1:
            raise UsageError(
                f"momentum is the share of a new batch in the running statistics, above 0 and at most 1; got "
                f"{self.momentum!r}."
            )

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        if len(in_shape) not in (1, 3):
            raise ShapeError(
                f"got samples of shape {in_shape}; BatchNorm takes vectors, shape (features,), or images, shape "
                "(rows, columns, channels): put Flatten() before it, or reshape grey images to one channel."
            )
        initial = {"gamma": Ones(), "beta": Zeros(), "mean": Zeros(), "var": Ones()}
        return {name: draw(rng, in_shape[-1:], dtype) for name, draw in initial.items()}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Cache]:
        """y = gamma xh + beta, of the batch with a key, else of the running statistics (derivation, D46)."""
        shape, dtype, p = x.shape, x.dtype, _rows(xp, params)
        x = _matrix(xp, _cast(xp, x, params["gamma"]))  # (N, k)
        if key is None:
            mean, var = p["mean"], p["var"]
        else:
            if x.shape[0] < 2:
                raise ShapeError(
                    "BatchNorm got a training batch of 1 sample, which has no variance; it needs 2. Choose "
                    "a batch size that leaves no last batch of 1 sample, or use LayerNorm."
                )
            (mean,) = xp.batch_means(_sum(xp, x, shape) / x.shape[0])
            (var,) = xp.batch_means(_sum(xp, xp.fuse(squared_deviation)(x, mean), shape) / x.shape[0])
        inv = 1 / xp.sqrt(var + self.eps)  # (1, k)
        y, xh = xp.fuse(normalize)(x, mean, inv, p["gamma"], p["beta"])
        return _shaped(xp, _cast(xp, y, dtype), shape), (xh, inv, None if key is None else (mean, var))

    def backward(self, xp: Any, params: LayerParams, cache: Cache, dy: Array, need_dx: bool) -> Backward:
        """dgamma, dbeta, and dx, in training and in evaluation (derivation, D47, D48, D50)."""
        xh, inv, batch = cache
        shape, dtype = dy.shape, dy.dtype
        dy, n = _matrix(xp, _cast(xp, dy, xh)), xh.shape[0]
        dgamma, dbeta = _sum(xp, dy * xh, shape), _sum(xp, dy, shape)  # (1, k)
        grads = {"gamma": dgamma[0, :], "beta": dbeta[0, :]}
        if not need_dx:
            return None, grads
        scale = _rows(xp, params)["gamma"] * inv
        if batch is None:
            return _shaped(xp, _cast(xp, dy * scale, dtype), shape), grads
        sum_dy, sum_dy_xh = xp.batch_means(dbeta, dgamma)  # of a shard, dy is dJ/dy over its share of the batch
        dx = xp.fuse(normalize_vjp)(dy, xh, sum_dy / n, sum_dy_xh / n, scale)
        return _shaped(xp, _cast(xp, dx, dtype), shape), grads

    def new_buffers(self, xp: Any, params: LayerParams, cache: Cache) -> LayerParams:
        """The running mean and variance, moved towards the batch's (derivation, D49).

        Unchanged after a pass in evaluation.
        """
        xh, _, batch = cache
        if batch is None:
            return {name: params[name] for name in self.buffers}
        n, (mean, var) = xp.whole_batch_size(xh.shape[0]), batch
        kernel = xp.fuse(running_average)
        return {
            "mean": kernel(params["mean"], mean[0, :], 1 - self.momentum, self.momentum),
            "var": kernel(params["var"], var[0, :], 1 - self.momentum, self.momentum * n / (n - 1)),
        }


@dataclass(frozen=True)
class LayerNorm:
    """y = gamma xh + beta, xh = (x - m) / sqrt(v + eps), with x and y (n, k), gamma, beta (k,) and m, v (n, 1).

    m and v are the mean and variance (divided by k) of each sample's features, in training and evaluation alike.
    Backward, with dxh = gamma dy: dx = (dxh - mean(dxh) - xh mean(dxh xh)) / sqrt(v + eps), means over the
    features; dgamma = sum dy xh, dbeta = sum dy over the batch. (Ba, Kiros and Hinton, Layer normalization, 2016.)

    Raises:
        UsageError: an eps that is not above 0.
        ShapeError: when built, samples that are not vectors.
    """

    eps: float = 1e-5

    full_precision: ClassVar[bool] = True

    def __post_init__(self) -> None:
        use_python_numbers(self)
        _check_eps(self.eps)

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        k = vector_length(in_shape, "LayerNorm")
        return {"gamma": Ones()(rng, (k,), dtype), "beta": Zeros()(rng, (k,), dtype)}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Cache]:
        """y = gamma xh + beta, of each sample (derivation, D51)."""
        dtype, p = x.dtype, _rows(xp, params)
        x = _cast(xp, x, params["gamma"])
        mean = xp.mean(x, axis=1, keepdims=True)  # (n, 1)
        d = x - mean
        inv = 1 / xp.sqrt(xp.mean(d * d, axis=1, keepdims=True) + self.eps)
        y, xh = xp.fuse(normalize)(x, mean, inv, p["gamma"], p["beta"])
        return _cast(xp, y, dtype), (xh, inv)

    def backward(self, xp: Any, params: LayerParams, cache: Cache, dy: Array, need_dx: bool) -> Backward:
        """dgamma, dbeta, and dx through each sample's mean and variance (derivation, D52)."""
        (xh, inv), dtype = cache, dy.dtype
        dy = _cast(xp, dy, xh)
        grads = {"gamma": sum_over_batch(xp, dy * xh)[0, :], "beta": sum_over_batch(xp, dy)[0, :]}
        if not need_dx:
            return None, grads
        dxh = dy * _rows(xp, params)["gamma"]
        means = xp.mean(dxh, axis=1, keepdims=True), xp.mean(dxh * xh, axis=1, keepdims=True)
        return _cast(xp, xp.fuse(normalize_vjp)(dxh, xh, *means, inv), dtype), grads


def squared_deviation(xp: Any, x: Array, mean: Array) -> Array:
    """(x - mean)^2: an elementwise kernel."""
    d = x - mean
    return d * d


def normalize(xp: Any, x: Array, mean: Array, inv: Array, gamma: Array, beta: Array) -> tuple[Array, Array]:
    """gamma xh + beta and xh = (x - mean) inv: an elementwise kernel."""
    xh = (x - mean) * inv
    return gamma * xh + beta, xh


def normalize_vjp(xp: Any, dy: Array, xh: Array, mean_dy: Array, mean_dy_xh: Array, scale: Array) -> Array:
    """scale (dy - mean(dy) - xh mean(dy xh)), an elementwise kernel (derivation, D48)."""
    return scale * (dy - mean_dy - xh * mean_dy_xh)


def running_average(xp: Any, old: Array, new: Array, old_weight: float, new_weight: float) -> Array:
    """old_weight old + new_weight new: an elementwise kernel."""
    return old_weight * old + new_weight * new


def _sum(xp: Any, x: Array, shape: Shape) -> Array:
    """The sum over the batch and all places, (1, k), of x (N, k), which was of `shape` (n, ..., k)."""
    return sum_over_batch(xp, _shaped(xp, x, shape))


def _matrix(xp: Any, x: Array) -> Array:
    """x (n, ..., k) as (N, k): a row for each place of each sample."""
    return x if x.ndim == 2 else xp.reshape(x, (-1, x.shape[-1]))


def _shaped(xp: Any, x: Array, shape: tuple[int, ...]) -> Array:
    """The opposite of `_matrix`."""
    return x if x.ndim == len(shape) else xp.reshape(x, shape)


def _rows(xp: Any, params: LayerParams) -> LayerParams:
    return {name: xp.reshape(p, (1, -1)) for name, p in params.items()}


def _cast(xp: Any, x: Array, like: Any) -> Array:
    """x in the dtype of an array, or in a dtype; only mixed precision has two."""
    dtype = getattr(like, "dtype", like)
    return x if x.dtype == dtype else xp.astype(x, dtype)


def _check_eps(eps: float) -> None:
    if not eps > 0:
        raise UsageError(f"eps keeps a variance of 0 from being divided by, and must be above 0; got {eps!r}.")
