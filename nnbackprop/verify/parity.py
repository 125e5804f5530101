"""The same training on several array libraries, step by step, and how far they are apart.

Differences are relative and by norm, tensor by tensor: ||a - b|| / ||b||, b on the first library. In float64
rounding alone stays near 1e-16 a step, so 1e-12 over a hundred steps is generous to it and far below what any
mistake, or one differing dropout mask, would make.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from backends import Backend, Tree, tree_map
from nnbackprop.data.batches import Feed, cut
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling
from nnbackprop.layers import Dense, Dropout, ReLU
from nnbackprop.losses import SoftmaxCrossEntropy
from nnbackprop.network import Sequential
from nnbackprop.optimizers import Adam
from nnbackprop.penalties import WeightPenalty
from nnbackprop.training.checkpoints import flatten
from nnbackprop.training.step import Objective, TrainingStep

TOLERANCE = 1e-12
FEATURES, CLASSES, SAMPLES, BATCH = 20, 5, 160, 32


@dataclass(frozen=True)
class StepDifference:
    """How far a library is from the first after one step: the largest relative difference of each kind."""

    step: int
    loss: float
    gradients: float
    weights: float

    @property
    def largest(self) -> float:
        """The largest of the three."""
        return max(self.loss, self.gradients, self.weights)


def network() -> Sequential:
    """A small network with dropout of the input and of both hidden layers, widths that 4 does not divide."""
    return Sequential(
        Dropout(0.1), Dense(17), ReLU(), Dropout(0.4), Dense(11), ReLU(), Dropout(0.2), Dense(CLASSES)
    )


def samples(seed: int) -> Dataset:
    """Normally distributed inputs (160, 20) in classes of random direction; any data would do."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    inputs = rng.standard_normal((SAMPLES, FEATURES))
    labels = np.argmax(inputs @ rng.standard_normal((FEATURES, CLASSES)), axis=1).astype(np.int32)
    return Dataset(inputs, labels, tuple("abcde"), source="random samples")


def trajectory(backend: Backend, steps: int, seed: int = 0, dtype: str = "float64") -> Iterator[Tree]:
    """Host copies of {"loss", "gradients", "params"} after each of `steps` steps of Adam with L2."""
    objective = Objective(network(), SoftmaxCrossEntropy(), WeightPenalty(l2=1e-3))
    optimizer = Adam()
    step = TrainingStep(backend.xp, objective, optimizer, None, seed)
    feed = Feed.of(backend, samples(seed), Scaling.identity(), dtype)
    params = objective.network.build((FEATURES,), seed, dtype)
    state = step.begin(tree_map(backend.asarray, params))
    rows = [batch for chunk in cut(np.arange(SAMPLES), BATCH, 1) for batch in chunk]
    for k in range(steps):
        scalars = {name: np.array([x], dtype) for name, x in optimizer.scalars(k + 1, 0.01).items()}
        xs = {**feed.xs(rows[k % len(rows)][None]), "step": np.array([k], np.int32), "scalars": scalars}
        state = backend.loop(step, step.clear(state), feed.data, tree_map(backend.asarray, xs))
        yield tree_map(backend.to_numpy, {name: state[name] for name in ("loss", "gradients", "params")})


def differences(reference: Sequence[Tree], other: Sequence[Tree]) -> list[StepDifference]:
    """Compare two trajectories step by step."""
    kinds = ("loss", "gradients", "params")
    return [
        StepDifference(k + 1, *(_largest(a[kind], b[kind]) for kind in kinds))
        for k, (a, b) in enumerate(zip(other, reference, strict=True))
    ]


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """||a - b|| / ||b||; where b is zero, 0 if a is too and else infinite."""
    apart, size = float(np.linalg.norm(a - b)), float(np.linalg.norm(b))
    if size == 0.0:
        return 0.0 if apart == 0.0 else float("inf")
    return apart / size if np.isfinite(apart) else float("inf")


def _largest(a: Tree, b: Tree) -> float:
    others = flatten(b, "")
    return max(relative(x, others[name]) for name, x in flatten(a, "").items())
