"""A network in training without the trainer around it: the step, its state, and chunks of batches made ahead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from backends import Backend, Tree, leaves, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader
from nnbackprop.data.sampler import permutation
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.nn.layers import Dense, Dropout, Layer, ReLU
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam, Optimizer
from nnbackprop.training.batch_schedule import scalars_of
from nnbackprop.training.step import Objective, TrainStep

from .setting import Size

SCALE = "standard"
RATE = 0.08
"""Of W1, as in the recipe."""


@dataclass(frozen=True)
class Net:
    """A ReLU network under softmax cross-entropy, and how it is trained.

    `dropout` has a rate for the input and one for each hidden layer; `lr` is a number or the rate of every step.
    """

    hidden: tuple[int, ...]
    dropout: tuple[float, ...]
    batch: int
    optimizer: Optimizer
    lr: float | Callable[[int], float]

    @property
    def network(self) -> Sequential:
        """Its layers, to ten classes."""
        first, *rates = self.dropout
        layers: list[Layer] = [Dropout(first)] if first else []
        for units, rate in zip(self.hidden, rates, strict=True):
            layers += [Dense(units), ReLU(), *([Dropout(rate)] if rate else [])]
        return Sequential(*layers, Dense(10))

    @property
    def title(self) -> str:
        """Its sizes, such as 784-512-256-10."""
        return "-".join(map(str, (784, *self.hidden, 10)))

    def rate(self, t: int) -> float:
        """The learning rate of step `t`, counted from 0."""
        return self.lr(t) if callable(self.lr) else self.lr


def w1(size: Size, dropout: bool = True) -> Net:
    """The benchmark's W1, the recipe mnist: 784-512-256-10, dropout, SGD."""
    rates = (0.4, 0.2, 0.1) if dropout else (0.0, 0.0, 0.0)
    return Net(size.hidden, rates, size.batch, SGD(), RATE)


def w4(size: Size) -> Net:
    """The benchmark's W4: 784-4096-4096-10, batch 1,024, Adam."""
    return Net(size.wide, (0.0, 0.0, 0.0), size.wide_batch, Adam(), 0.0001)


class Training:
    """A net on a backend, its data `resident` there or not; `eager` asks every kernel of a step by itself."""

    def __init__(
        self,
        backend: Backend,
        net: Net,
        data: Dataset,
        dtype: str = "float32",
        eager: bool = False,
        resident: str = "yes",
    ) -> None:
        self.backend, self.net, self.dtype = backend, net, dtype
        self.scan = partial(Backend.scan, backend) if eager else backend.scan
        self.scaling = fit_scaling(SCALE, data)
        self.objective = Objective(net.network, SoftmaxCrossEntropy())
        self.step = TrainStep(backend.xp, self.objective, net.optimizer, None, seed=0)
        self.loader = DataLoader(backend, data, self.scaling, dtype, resident)
        self.begin(0)

    def begin(self, seed: int) -> None:
        """First weights of `seed`, which orders the batches too; what was compiled or captured stays."""
        self.seed = seed
        params = self.net.network.init((self.loader.dataset.features,), seed, self.dtype)
        self.state: Tree = self.step.begin(tree_map(self.backend.asarray, params))

    def xs(self, at: int, steps: int) -> Tree:
        """What `steps` steps from step `at` on are given, on the device."""
        return tree_map(self.backend.asarray, self.on_host(at, steps))

    def on_host(self, at: int, steps: int) -> Tree:
        """The same on the host: batches, by row number where they are resident, their numbers and scalars."""
        numbers = np.arange(at, at + steps)
        scalars = scalars_of(self.net.optimizer, self.net.rate, numbers, self.dtype)
        rows = batches(len(self.loader.dataset), self.net.batch, self.seed, numbers)
        return {**self.loader.xs(rows), "step": numbers.astype(np.int32), "scalars": scalars}

    def run(self, xs: Tree) -> None:
        """Train, as the trainer does between two looks; does not wait for the device."""
        self.state = self.scan(self.step, self.state, self.loader.data, xs, last=self.step.telling)

    def weights(self) -> Params:
        """The parameters on the host, layers without any left out."""
        return tuple(layer for layer in tree_map(self.backend.to_numpy, self.state["params"]) if layer)


def batches(samples: int, batch: int, seed: int, numbers: np.ndarray) -> np.ndarray:
    """Row numbers (steps, batch) of the steps `numbers`, a new order each epoch, the ragged batch left out."""
    a_epoch = samples // batch
    epochs = {
        e: permutation(seed, e + 1, samples) for e in range(numbers[0] // a_epoch, numbers[-1] // a_epoch + 1)
    }
    return np.stack([epochs[t // a_epoch][t % a_epoch * batch :][:batch] for t in numbers.tolist()])


def apart(a: Tree, b: Tree) -> float:
    """||a - b|| / ||b|| over all arrays of two trees on the host."""
    pairs = [(x.astype(np.float64), y.astype(np.float64)) for x, y in zip(leaves(a), leaves(b), strict=True)]
    return float(np.sqrt(sum(np.sum((x - y) ** 2) for x, y in pairs) / sum(np.sum(y**2) for _, y in pairs)))


def same_bits(a: Tree, b: Tree) -> bool:
    """Whether every number of two trees on the host is the same."""
    return all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))
