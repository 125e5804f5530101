"""Maxout: the largest of several weighted sums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, ClassVar

from backends import Array
from nnbackprop.errors import ShapeError
from nnbackprop.nn.initializers import He, Initializer, InitRng, Zeros
from nnbackprop.nn.rng import RngKey

from .base import Backward, Cache, LayerParams, Shape, is_whole, use_python_numbers
from .dense import Dense
from .pooling import maximum_vjp


@dataclass(frozen=True)
class Maxout:
    """y_j = max over p of z_pj, z = x W + b, with x (n, in), y (n, units).

    W is (in, pieces units), b (pieces units,); column p units + j of W is piece p of unit j. Backward: each dy
    goes to the piece that was largest, in a tie to the first; the rest is Dense's. (Goodfellow, Warde-Farley,
    Mirza, Courville and Bengio, Maxout networks, ICML 2013, section 3.)

    Raises:
        ShapeError: fewer than 1 unit or 2 pieces, or, when built, samples that are not vectors.
        UsageError: an initializer that is none, a bias that is not True or False.
    """

    units: int
    pieces: int = 2
    weight_init: Initializer = He()
    bias: bool = True
    bias_init: Initializer = Zeros()

    regularized: ClassVar[tuple[str, ...]] = ("W",)

    def __post_init__(self) -> None:
        use_python_numbers(self)
        for name, number, least in (("units", self.units, 1), ("pieces", self.pieces, 2)):
            if not is_whole(number, least):
                raise ShapeError(
                    f"A Maxout layer needs a whole number of {name}, at least {least}; got {number!r}."
                )
        _ = self._dense  # which checks the initializers

    @cached_property
    def _dense(self) -> Dense:
        return Dense(self.pieces * self.units, self.weight_init, self.bias, self.bias_init)

    def _pieces(self, z: Array) -> list[Array]:
        return [z[:, p * self.units : (p + 1) * self.units] for p in range(self.pieces)]

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        """Draw W (in, pieces units) and b (pieces units,)."""
        params, _ = self._dense.build(rng, in_shape, dtype)
        return params, (self.units,)

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Cache]:
        """The largest of each unit's weighted sums (derivation, D53)."""
        z, _ = self._dense.forward(xp, params, x, None)  # (n, pieces units)
        y = reduce(xp.maximum, self._pieces(z))
        return y, (x, z, y)

    def backward(self, xp: Any, params: LayerParams, cache: Cache, dy: Array, need_dx: bool) -> Backward:
        """Each dy to the piece that was largest, then as Dense (derivation, D54)."""
        x, z, y = cache
        dz = xp.concat(maximum_vjp(xp, self._pieces(z), y, dy), axis=1)
        return self._dense.backward(xp, params, x, dz, need_dx)
