"""Initial weights: drawn on the host, from a stream of each layer's own, then moved to the device.

Every draw is made in float64 and cast, so float32 and float64 networks begin at the same numbers, and
every backend begins at the same bits.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nnbackprop._random import philox
from nnbackprop.errors import ShapeError, UsageError


class InitRng(np.random.Generator):
    """The generator of one layer's first parameters: Philox under a key of (seed, path, "weights").

    `path` is the layer's place in the network: "2" for the third layer, "2.0" for the first layer of a third that
    is itself a Sequential, "" for the network. With `shapes_only` constants take no memory either: see `Empty`.
    """

    def __init__(self, seed: int = 0, path: str = "", shapes_only: bool = False) -> None:
        super().__init__(philox(seed, path, "weights"))
        self.seed, self.path, self.shapes_only = seed, path, shapes_only

    def child(self, i: int) -> InitRng:
        """The generator of child `i` of the layer at this path."""
        return InitRng(self.seed, f"{self.path}.{i}" if self.path else str(i), self.shapes_only)


def cast(drawn: np.ndarray, dtype: str) -> np.ndarray:
    """`drawn` in `dtype`; what overflows becomes infinite, with which a trainer does not start."""
    with np.errstate(over="ignore"):
        return drawn.astype(dtype)


class Initializer(ABC):
    """Draws a parameter of `shape`; the shape of a weight matrix is (fan_in, fan_out)."""

    @abstractmethod
    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Return an array of `shape` and `dtype` ("float32" or "float64"), drawn from `rng`."""


def constant(value: float, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array of one number; a read-only view of it, in no memory, where `rng` asks for shapes only."""
    if isinstance(rng, InitRng) and rng.shapes_only:
        return np.broadcast_to(np.full((), value, dtype), shape)
    return np.full(shape, value, dtype)


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros: right for biases, wrong for the weights of hidden layers, whose units would stay alike."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return constant(0, rng, shape, dtype)


@dataclass(frozen=True)
class Ones(Initializer):
    """All ones: for the scales of normalization."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return constant(1, rng, shape, dtype)


@dataclass(frozen=True)
class Empty(Initializer):
    """A read-only view of one zero: an array of any size that takes no memory, for its shape and dtype."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.broadcast_to(np.zeros((), dtype), shape)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform on [-limit, limit), `limit` above 0."""

    limit: float

    def __post_init__(self) -> None:
        if not (self.limit > 0 and 2 * self.limit < math.inf):
            raise UsageError(
                f"Uniform weights need a limit above 0, whose double is finite, as in uniform:0.12; got "
                f"{self.limit!r}."
            )

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return cast(rng.uniform(-self.limit, self.limit, shape), dtype)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normal with a given standard deviation, above 0, and mean."""

    std: float
    mean: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.std < math.inf and math.isfinite(self.mean)):
            raise UsageError(
                f"Normal weights need a standard deviation above 0 and a finite mean, as in normal:1 or "
                f"normal:0.5:0; got std {self.std!r}, mean {self.mean!r}."
            )

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return cast(rng.normal(self.mean, self.std, shape), dtype)


@dataclass(frozen=True)
class _Scaled(Initializer):
    """Zero-mean weights whose variance follows from the fans of their matrix, normal or uniform."""

    distribution: Literal["normal", "uniform"] = "normal"

    def __post_init__(self) -> None:
        if self.distribution not in ("normal", "uniform"):
            raise UsageError(f"The distribution must be 'normal' or 'uniform'; got {self.distribution!r}.")

    @abstractmethod
    def _variance(self, fan_in: int, fan_out: int) -> float:
        """The variance of one weight of a (fan_in, fan_out) matrix."""

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return self._draw(rng, shape, dtype, 1)

    def _draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str, places: int) -> np.ndarray:
        """An array of `shape` (fan_in, fan_out / places)."""
        if len(shape) != 2 or min(shape) < 1:
            raise ShapeError(
                f"{type(self).__name__} scales by the fans of a weight matrix and needs a shape "
                f"(fan_in, fan_out) of positive numbers; got {shape}."
            )
        variance = self._variance(shape[0], places * shape[1])
        if self.distribution == "uniform":
            return Uniform(math.sqrt(3 * variance))(rng, shape, dtype)
        return Normal(math.sqrt(variance))(rng, shape, dtype)


@dataclass(frozen=True)
class _ForKernel(Initializer):
    """`scaled` for a convolution: each input leads into every filter at `places` places of the output."""

    scaled: _Scaled
    places: int

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return self.scaled._draw(rng, shape, dtype, self.places)


def for_kernel(init: Initializer, places: int) -> Initializer:
    """`init` for weights (fan_in, filters) of a convolution, whose fan-out is `places` times its filters."""
    return _ForKernel(init, places) if isinstance(init, _Scaled) else init


@dataclass(frozen=True)
class He(_Scaled):
    """Variance 2 / fan_in, for ReLU layers: He et al., "Delving deep into rectifiers", ICCV 2015, eq. 10."""

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 2 / fan_in


@dataclass(frozen=True)
class Glorot(_Scaled):
    """Variance 2 / (fan_in + fan_out), for tanh layers: Glorot and Bengio, AISTATS 2010, eq. 12 and 16."""

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 2 / (fan_in + fan_out)


@dataclass(frozen=True)
class LeCun(_Scaled):
    """Variance 1 / fan_in: LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, eq. 16."""

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 1 / fan_in


@dataclass(frozen=True)
class FanOutNormal(_Scaled):
    """Variance 1 / fan_out, the nodes a layer's links lead into: Rashid, "Make Your Own Neural Network".

    The book writes it `normal(0.0, pow(nodes, -0.5), ...)` with the nodes of the *next* layer.
    """

    def _variance(self, fan_in: int, fan_out: int) -> float:
        return 1 / fan_out


INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    "he-normal": lambda: He("normal"),
    "he-uniform": lambda: He("uniform"),
    "glorot-normal": lambda: Glorot("normal"),
    "glorot-uniform": lambda: Glorot("uniform"),
    "lecun-normal": lambda: LeCun("normal"),
    "lecun-uniform": lambda: LeCun("uniform"),
    "uniform": Uniform,
    "normal": Normal,
    "fan-out-normal": lambda: FanOutNormal(),
    "zeros": Zeros,
}
"""Initializers by their names in a configuration; numbers follow a name after colons."""

INITIALIZER_FORMS = (
    "he-normal, he-uniform, glorot-normal, glorot-uniform, lecun-normal, lecun-uniform, uniform:LIMIT, \
normal:STD, normal:STD:MEAN, fan-out-normal, zeros"
)


def parse_initializer(text: str) -> Initializer:
    """Return the initializer of a configuration: "he-normal", "uniform:0.12", "normal:1", "fan-out-normal", ...

    Raises:
        UsageError: the name is not known, or its numbers are missing, too many or not numbers.
    """
    name, *numbers = text.split(":")
    try:
        return INITIALIZERS[name](*map(float, numbers))
    except UsageError:  # a ValueError, which says more
        raise
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{text!r} is not an initializer; there are {INITIALIZER_FORMS}.") from None
