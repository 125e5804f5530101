"""How far rounding alone carries a step: the same step with every function of the library off by one rounding.

A saturated sigmoid's slope y (1 - y) is the difference of nearly equal numbers: its true value may be 1e-12, and
a rounding of y changes it by 1e-16, the ten-thousandth part. No library is wrong there. The effect of rounding is
measured by Monte Carlo arithmetic (Parker, UCLA technical report CSD-970002, 1997).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from backends import Array, NumpyBackend, Tree, tree_map
from backends.base import Namespace
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.difference import difference
from nnbackprop.training.trainer import Trainer

from .backend_run import BackendRun, StepTrace
from .results import Kind

ROUNDED = ("matmul", "sum", "mean", "exp", "expm1", "log", "log1p", "tanh", "sqrt")
"""Functions whose last bits differ from library to library; other operators are exactly rounded on all."""

TRIES = 3
FACTOR = 100
"""A sum of a thousand terms has some thirty roundings and a perturbed one has one; tries see a third of most."""


class PerturbedBackend(NumpyBackend):
    """NumPy whose functions are off by each number's own rounding, up or down at random; kernels are not fused."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.Generator(np.random.Philox(key=seed))
        self.xp = Namespace(np, **{name: _perturbed(getattr(self.xp, name), rng) for name in ROUNDED})


def perturb(array: Array, size: float, rng: np.random.Generator) -> Array:
    """`array` with each number moved by the share `size` of itself, up or down at random."""
    return array * (1 + size * rng.choice((-1, 1), array.shape)).astype(array.dtype)


def _perturbed(function: Callable[..., Any], rng: np.random.Generator) -> Callable[..., Any]:
    def rounded(*arguments: Any, **options: Any) -> Any:
        result = np.asarray(function(*arguments, **options))
        return perturb(result, np.finfo(result.dtype).eps, rng) if result.dtype.kind == "f" else result

    return rounded


@dataclass(frozen=True, eq=False)
class Rounding:
    """The effect of rounding on the steps of `trainer` on `train`."""

    trainer: Trainer
    train: Dataset

    @cached_property
    def runs(self) -> tuple[BackendRun, ...]:
        """Perturbed runs of the same training, made when first needed."""
        trainers = (replace(self.trainer, backend=PerturbedBackend(seed)) for seed in range(TRIES))
        return tuple(BackendRun(trainer, self.train) for trainer in trainers)

    def sizes(
        self, before: Tree, drift: Mapping[str, float], k: int, reference: StepTrace
    ) -> dict[tuple[Kind, str], float]:
        """How far each tensor moves, by (kind, tensor): FACTOR times the largest ||perturbed - reference||.

        `before` is what the reference library began step `k` from, and `reference` what it computed; `drift` is
        the relative difference of each of the other library's weights, such as dense1.W, before the step.
        """
        shares = iter(drift.get(tensor, 0.0) for kind, _, tensor in reference if kind == "weights")
        rng = np.random.Generator(np.random.Philox(key=k))
        moved = tree_map(lambda a: perturb(a, next(shares), rng), before["params"])
        sizes: dict[tuple[Kind, str], float] = {}
        for run in self.runs:
            _, trace = run.step(run.from_host({**before, "params": moved}), next(run.batches(k)))
            for (kind, layer, tensor), a in trace.items():
                norm = FACTOR * difference(a, reference[kind, layer, tensor]).norm
                sizes[kind, tensor] = max(sizes.get((kind, tensor), 0.0), norm)
        return sizes
