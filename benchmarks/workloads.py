"""The workloads: what each trains, and the arrays that every rival is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from backends import select
from nnbackprop.data.catalog import load
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.sampler import permutation
from nnbackprop.data.scaling import Scaling, fit_scaling
from nnbackprop.nn.initializers import Initializer, parse_initializer
from nnbackprop.nn.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Reshape,
    Sigmoid,
)
from nnbackprop.nn.layers.base import LayerParams, Params
from nnbackprop.nn.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy, one_hot
from nnbackprop.nn.mlp import mlp_layers
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.nn.trace import NetworkSummary
from nnbackprop.optim import SGD, Adam, Optimizer

HE, RELU = parse_initializer("he-normal"), ReLU()
GPU_CHUNK = 20
"""Steps of a chunk on a GPU: a captured graph and single steps."""


@dataclass(frozen=True)
class Workload:
    """A training to be timed: a network to ten classes, its data, loss and optimizer.

    Times are for `steps` steps, which `unit` puts in words. A compiled loop takes `chunk` steps at once.
    Rivals are checked by the tensors after `check_steps` steps. The loss is softmax cross-entropy, or, with target
    values `targets` of the wrong and the right class, half the squared error. `batch` is None for the full batch.
    """

    label: str
    title: str
    unit: str
    steps: int
    layers: tuple[Layer, ...]
    chunk: int = 20
    check_steps: int = 20
    targets: tuple[float, float] | None = None
    l2: float = 0.0
    adam: bool = False
    epsilon: float = 1e-8
    lr: float = 0.08
    batch: int | None = 120
    data: str = "mnist"
    scale: str = "standard"
    dtype: str = "float32"

    @property
    def network(self) -> Sequential:
        return Sequential(*self.layers)

    @property
    def without_dropout(self) -> Workload:
        """The same but for its Dropout layers."""
        return replace(self, layers=tuple(layer for layer in self.layers if not isinstance(layer, Dropout)))

    @property
    def loss(self) -> Loss:
        if self.targets is None:
            return SoftmaxCrossEntropy()
        off, on = self.targets
        return MeanSquaredError("half-sum", off_value=off, on_value=on)

    @property
    def objective(self) -> Objective:
        return Objective(self.network, self.loss, WeightPenalty(l2=self.l2) if self.l2 else None)

    @property
    def optimizer(self) -> Optimizer:
        return Adam(eps=self.epsilon) if self.adam else SGD()

    def chunk_on(self, device: str) -> int:
        """Steps that a compiled loop takes at once."""
        return self.chunk if device == "cpu" else GPU_CHUNK


def dense_layers(
    *hidden: int,
    dropout: tuple[float, ...] = (),
    activation: Layer = RELU,
    normalization: type[Layer] | None = None,
    bias: bool = True,
    init: Initializer = HE,
) -> tuple[Layer, ...]:
    """Dense layers of `hidden` units and of 10, each hidden one with its activation.

    `dropout` has the rate of the input, then of each hidden layer.
    """
    dense = [Dense(units, init, bias and normalization is None) for units in hidden]
    layers = mlp_layers(
        [*dense, Dense(10, init, bias)], activation, normalization, dropout or (0.0,) * (len(hidden) + 1)
    )
    return tuple(layers)


def convolution(filters: int, size: tuple[int, int]) -> tuple[Layer, ...]:
    """A convolution with batch normalization, which needs no bias, and ReLU."""
    return Conv2D(filters, size, weight_init=HE, bias=False), BatchNorm(), ReLU()


EPOCH = partial(Workload, unit="epoch of 60,000", steps=500)
WORKLOADS = {
    "W1": EPOCH(
        "dropout",
        "784-512-256-10, dropout, SGD, batch 120",
        layers=dense_layers(512, 256, dropout=(0.4, 0.2, 0.1)),
    ),
    "W1n": EPOCH("no dropout", "784-512-256-10, no dropout, SGD, batch 120", layers=dense_layers(512, 256)),
    "W1a": EPOCH(
        "Adam",
        "784-512-256-10, no dropout, Adam, batch 120",
        layers=dense_layers(512, 256),
        adam=True,
        lr=0.001,
    ),
    "W1b": EPOCH(
        "batch norm",
        "784-512-256-10, batch normalization, SGD, batch 120",
        layers=dense_layers(512, 256, normalization=BatchNorm),
    ),
    "W2": Workload(
        "full batch",
        "400-26-10, sigmoid, SGD, full batch of 5,000, float64",
        "1,000 iterations",
        steps=1000,
        layers=(*dense_layers(26, activation=Sigmoid(), init=parse_initializer("uniform:0.12")), Sigmoid()),
        targets=(0.0, 1.0),
        l2=2e-4,
        lr=0.12,
        batch=None,
        data="mnist-20x20",
        scale="none",
        dtype="float64",
    ),
    "W3": Workload(
        "batch of 1",
        "784-100-10, sigmoid, SGD, batch 1",
        "60,000 updates",
        steps=60_000,
        chunk=1000,
        layers=(
            *dense_layers(100, activation=Sigmoid(), bias=False, init=parse_initializer("fan-out-normal")),
            Sigmoid(),
        ),
        targets=(0.01, 0.99),
        lr=0.1,
        batch=1,
        scale="rashid",
    ),
    "W4": Workload(
        "wide",
        "784-4096-4096-10, Adam, batch 1,024",
        "10 steps",
        steps=10,
        chunk=2,
        check_steps=2,
        layers=dense_layers(4096, 4096),
        adam=True,
        lr=0.0001,
        batch=1024,
    ),
    "CNN": EPOCH(
        "convolutions",
        "three convolutions (24 of 5x5, 48 and 64 of 3x3) and two dense layers (64, 10), batch normalization, "
        "max pooling, dropout, Adam, batch 100",
        steps=600,
        chunk=4,
        check_steps=2,
        layers=(
            Reshape((28, 28, 1)),
            *convolution(24, (5, 5)),
            MaxPool2D(2),
            *convolution(48, (3, 3)),
            *convolution(64, (3, 3)),
            MaxPool2D(2),
            Flatten(),
            Dropout(0.3),
            *dense_layers(64, dropout=(0.0, 0.3), normalization=BatchNorm),
        ),
        adam=True,
        lr=0.004,
        batch=100,
        scale="unit",
    ),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """What a rival is given: a workload's data, first parameters and order of samples, and where to compute.

    `device` is cpu, cuda or cuda:N. `tf32` lets a GPU round the factors of float32 products to 10 bits.
    """

    workload: Workload
    train: Dataset
    scaling: Scaling
    params: Params
    device: str = "cpu"
    tf32: bool = False

    @classmethod
    def of(
        cls, workload: Workload, train: Dataset | None = None, device: str = "cpu", tf32: bool = False
    ) -> Problem:
        """Read the workload's data, unless other data are given, and draw the parameters of seed 0."""
        train = train or load(workload.data, split=False).train
        rows = train.inputs.reshape(len(train), -1)
        train = Dataset(rows, train.targets, train.classes)
        params = workload.network.init(rows.shape[1:], 0, workload.dtype)
        return cls(workload, train, fit_scaling(workload.scale, train), params, device, tf32)

    def in_float64(self, dropout: bool = True) -> Problem:
        """The problem of the check: the samples of its first steps, in float64.

        Libraries put Adam's epsilon in different places, so that it is next to nothing here.
        """
        workload = replace(self.workload, dtype="float64", epsilon=1e-30)
        samples = np.arange(min(len(self.train), workload.check_steps * self.batch))
        return Problem.of(workload if dropout else workload.without_dropout, self.train.take(samples), self.device)

    @property
    def weights(self) -> list[LayerParams]:
        """First parameters of each layer that has some, such as W (in, out) and b (out,), without buffers."""
        return self.trained(self.params)

    def trained(self, params: Params) -> list[LayerParams]:
        """The trained parameters of each layer that has some."""
        pairs = zip(self.workload.layers, params, strict=True)
        return [
            {name: a for name, a in given.items() if name not in getattr(layer, "buffers", ())}
            for layer, given in pairs
            if given
        ]

    @property
    def summary(self) -> NetworkSummary:
        """The layers with their shapes."""
        return self.workload.network.summary(self.train.inputs.shape[1:], self.workload.dtype)

    @property
    def batch(self) -> int:
        """Samples of a step."""
        return self.workload.batch or len(self.train)

    @cached_property
    def x(self) -> np.ndarray:
        """Scaled inputs (n, features), or (n, rows, columns, channels), in the workload's dtype."""
        x, first = self.scaling.apply(self.train.inputs, self.workload.dtype), self.workload.layers[0]
        return x.reshape(-1, *first.shape) if isinstance(first, Reshape) else x

    @cached_property
    def t(self) -> np.ndarray:
        """Labels (n,) int32, or for a squared error target values (n, 10)."""
        if self.workload.targets is None:
            return self.train.targets
        return one_hot(np, self.train.targets, 10, np.dtype(self.workload.dtype), *self.workload.targets)

    @cached_property
    def order(self) -> np.ndarray:
        """The rows of one epoch, (steps, batch), without the ragged batch."""
        rows = permutation(0, 1, len(self.train)).astype(np.int32)
        return rows[: len(rows) // self.batch * self.batch].reshape(-1, self.batch)

    def rows(self, at: int, steps: int) -> np.ndarray:
        """Row numbers (steps, batch) of `steps` steps from step `at` on, over as many epochs as it takes."""
        return self.order[np.arange(at, at + steps) % len(self.order)]

    def loss_of(self, weights: Params) -> float:
        """The loss of given float64 weights on up to 5,000 samples with dropout off, on NumPy.

        Batches are normalized by their own statistics, as running ones are no weights.
        """
        rows, xp = self.order.reshape(-1)[:5000], select("numpy").xp
        given = iter(weights)
        params = tuple(
            {**first, **next(given)} if first else {}
            for layer, first in zip(self.workload.layers, self.params, strict=True)
            if not isinstance(layer, Dropout)
        )
        objective, key = self.workload.without_dropout.objective, RngKey(0, 0)
        return float(objective.value_and_grad(xp, params, self.x[rows], self.train.targets[rows], key).J)
