"""Layers as people write them themselves, wrong and right, and the images they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backends import Array
from nnbackprop.data.dataset import Dataset
from nnbackprop.nn.layers import Activation
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential


@dataclass(frozen=True)
class OwnBatchNorm:
    """Batch normalization over `axes`, written by hand; the flags take a part of it away."""

    axes: tuple[int, ...] = (0,)
    updates: tuple[str, ...] = ("mean", "var")  # running statistics that new_buffers moves
    evaluates: bool = True  # by the running statistics; if not, by the batch's

    buffers: ClassVar[tuple[str, ...]] = ("mean", "var")

    def build(self, rng: Any, in_shape: tuple[int, ...], dtype: str) -> tuple[Any, tuple[int, ...]]:
        shape = tuple(1 if axis + 1 in self.axes else size for axis, size in enumerate(in_shape))
        ones, zeros = np.ones(shape, dtype), np.zeros(shape, dtype)
        return {"gamma": ones, "beta": zeros, "mean": zeros.copy(), "var": ones.copy()}, in_shape

    def forward(self, xp: Any, p: Any, x: Array, key: Any) -> tuple[Array, Any]:
        batch = key is not None or not self.evaluates
        m = xp.mean(x, axis=self.axes, keepdims=True) if batch else p["mean"]
        v = xp.mean((x - m) ** 2, axis=self.axes, keepdims=True) if batch else p["var"]
        inv = 1 / xp.sqrt(v + 1e-5)
        xh = (x - m) * inv
        return p["gamma"] * xh + p["beta"], (xh, inv, m, v, batch)

    def backward(self, xp: Any, p: Any, cache: Any, dy: Array, need_dx: bool) -> tuple[Array, Any]:
        xh, inv, *_, batch = cache
        summed = tuple(axis for axis in range(xh.ndim) if axis == 0 or axis in self.axes)
        like = p["gamma"].shape
        grads = {
            "gamma": xp.reshape(xp.sum(dy * xh, axis=summed), like),
            "beta": xp.reshape(xp.sum(dy, axis=summed), like),
        }
        d = dy * p["gamma"]
        if batch:
            means = (xp.mean(a, axis=self.axes, keepdims=True) for a in (d, d * xh))
            d = d - next(means) - xh * next(means)
        return d * inv, grads

    def new_buffers(self, xp: Any, p: Any, cache: Any) -> Any:
        *_, m, v, _ = cache
        new = {"mean": m, "var": v}
        moved = {
            name: 0.9 * p[name] + 0.1 * xp.reshape(xp.mean(new[name], axis=0), p[name].shape)
            for name in self.updates
        }
        return {name: moved.get(name, p[name]) for name in ("mean", "var")}


@dataclass(frozen=True)
class UndeclaredStatistics(OwnBatchNorm):
    """Running statistics that the class does not declare: `buffers` is missing."""

    buffers: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class Standardize(Activation):
    """(x - mean) / std over `axes`, in training and evaluation alike: without parameters."""

    axes: tuple[int, ...]

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        d = x - xp.mean(x, axis=self.axes, keepdims=True)
        inv = 1 / xp.sqrt(xp.mean(d * d, axis=self.axes, keepdims=True) + 1e-5)
        return d * inv, (d * inv, inv)

    def vjp(self, xp: Any, cache: Any, dy: Array) -> Array:
        xh, inv = cache
        mean, along = (xp.mean(a, axis=self.axes, keepdims=True) for a in (dy, dy * xh))
        return (dy - mean - xh * along) * inv


class BatchNormalization(Standardize):
    """By its name of a batch."""


class InstanceNorm(Standardize):
    """Each sample and channel by itself."""


@dataclass(frozen=True)
class OwnDropout(Activation):
    """Dropout by NumPy's generator, which does not look at the key; with a seed it is the same in every call."""

    rate: float = 0.4
    seed: int | None = 0
    inverted: bool = True

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        keep = np.random.default_rng(self.seed).random(x.shape) >= self.rate
        mask = xp.asarray((keep / (1 - self.rate if self.inverted else 1)).astype(str(x.dtype).split(".")[-1]))
        return x * mask, mask

    def vjp(self, xp: Any, mask: Any, dy: Array) -> Array:
        return dy * mask


@dataclass(frozen=True)
class Masked(Activation):
    """Keeps what a rule says: "size" of at least 0.5 (hard shrinkage), or every other unit, "places"."""

    rule: str

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        kept = (
            np.abs(np.asarray(x)) >= 0.5 if self.rule == "size" else np.arange(x.shape[1]) % 2 + np.zeros(x.shape)
        )
        mask = xp.asarray(kept.astype(str(x.dtype)))
        return x * mask, mask

    def vjp(self, xp: Any, mask: Any, dy: Array) -> Array:
        return dy * mask


class AlwaysTraining(Sequential):
    """A network that draws a key of its own where it gets none."""

    def forward(self, xp: Any, params: Any, x: Array, key: RngKey | None = None) -> tuple[Array, tuple]:
        return super().forward(xp, params, x, key or RngKey(0, xp.asarray(np.int32(0))))


@dataclass(frozen=True)
class OwnSoftmax(Activation):
    """exp(x) / sum over `axes`."""

    axes: tuple[int, ...]

    def forward(self, xp: Any, params: Any, x: Array, key: Any) -> tuple[Array, Any]:
        e = xp.exp(x - xp.max(x, axis=self.axes, keepdims=True))
        y = e / xp.sum(e, axis=self.axes, keepdims=True)
        return y, y

    def vjp(self, xp: Any, y: Any, dy: Array) -> Array:
        return y * (dy - xp.sum(y * dy, axis=self.axes, keepdims=True))


def smooth_images(n: int, rows: int, columns: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Images like photographs, (n, rows, columns, channels): neighbours and channels are alike."""
    rng = np.random.default_rng(seed)
    filters = []
    for size in (rows, columns):
        place = np.arange(size)
        filters.append(np.exp(-((place[:, None] - place) ** 2) / 18))
    grey, colours = rng.standard_normal((n, 1, rows, columns)), rng.standard_normal((n, channels, rows, columns))
    fields = filters[0] @ (grey + 0.5 * colours) @ filters[1]
    return np.ascontiguousarray(np.moveaxis(fields / fields.std(), 1, 3))


def image_data(images: np.ndarray, classes: int = 4) -> Dataset:
    """Images whose classes differ by a bright place, as a data set."""
    labels = (np.arange(len(images)) % classes).astype(np.int32)
    images = images.copy()
    for image, label in zip(images, labels, strict=True):
        image.reshape(-1)[label * (image.size // classes) :][: image.size // classes] += 1.0
    return Dataset(images, labels, tuple("abcdefghij"[:classes]))
