"""How far rounding alone would carry a step: the same step with every function of the library a rounding off.

A saturated sigmoid's slope y (1 - y) is the difference of nearly equal numbers: its true value may be 1e-12, and
a rounding of y changes it by 1e-16, the ten-thousandth part. No library is wrong there. What rounding does is
asked by doing it: Monte Carlo arithmetic (Parker, UCLA technical report CSD-970002, 1997).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from backends import Array, NumpyBackend, Tree
from backends.base import Namespace
from nnbackprop.data.dataset import Dataset
from nnbackprop.training.trainer import Trainer

from .backend_run import BackendRun, Shown
from .results import Kind, difference

ROUNDED = ("matmul", "sum", "mean", "exp", "expm1", "log", "log1p", "tanh", "sqrt")
"""Functions whose last bits differ from library to library; other operators are exactly rounded on all."""

TRIES = 3
FACTOR = 100
"""A sum of a thousand terms has some thirty roundings and a shaken one has one; the tries see a third of most."""


class ShakenBackend(NumpyBackend):
    """NumPy whose functions are each number's own rounding off, up or down at random; rules are not fused."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.Generator(np.random.Philox(key=seed))
        self.xp = Namespace(np, **{name: _shaken(getattr(self.xp, name), rng) for name in ROUNDED})


def shake(array: Array, size: float, rng: np.random.Generator) -> Array:
    """`array` with each number moved by the share `size` of itself, up or down at random."""
    return array * (1 + size * rng.choice((-1, 1), array.shape)).astype(array.dtype)


def _shaken(function: Callable[..., Any], rng: np.random.Generator) -> Callable[..., Any]:
    def rounded(*arguments: Any, **options: Any) -> Any:
        result = np.asarray(function(*arguments, **options))
        return shake(result, np.finfo(result.dtype).eps, rng) if result.dtype.kind == "f" else result

    return rounded


@dataclass(frozen=True, eq=False)
class Rounding:
    """What rounding does to a step of `trainer` on `train`."""

    trainer: Trainer
    train: Dataset

    @cached_property
    def lanes(self) -> tuple[BackendRun, ...]:
        """Some shaken lanes of the same training, made when they are first asked."""
        shaken = (replace(self.trainer, backend=ShakenBackend(seed)) for seed in range(TRIES))
        return tuple(BackendRun.of(trainer, self.train) for trainer in shaken)

    def sizes(
        self, before: Tree, drift: Mapping[str, float], k: int, rows: np.ndarray, first: Shown
    ) -> dict[tuple[Kind, str], float]:
        """How far each tensor is moved, by (kind, tensor): FACTOR times the largest ||shaken - first|| of all.

        `before` is what the first library began step `k` from, and `first` what it made; `drift` is the share by
        which each of the other library's weights, such as dense1.W, was another.
        """
        sizes: dict[tuple[Kind, str], float] = {}
        for lane in self.lanes:
            rng = np.random.Generator(np.random.Philox(key=k))
            moved = tuple(
                {name: shake(a, drift.get(f"{layer}.{name}", 0.0), rng) for name, a in params.items()}
                for layer, params in zip(lane.names, before["params"], strict=True)
            )
            _, shown = lane.step(lane.at({**before, "params": moved}), k, rows)
            pairs = zip(shown.tensors(lane.names), first.tensors(lane.names), strict=True)
            for (kind, _, name, a), (*_, b) in pairs:
                apart = FACTOR * difference(k + 1, kind, "", name, a, b).norm
                sizes[kind, name] = max(sizes.get((kind, name), 0.0), apart)
        return sizes
