"""The six workloads: what each trains, and the arrays that every rival is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from backends import select
from nnbackprop.data.catalog import load
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.sampler import permutation
from nnbackprop.data.scaling import Scaling, fit_scaling
from nnbackprop.nn.initializers import parse_initializer
from nnbackprop.nn.layers import Dense, Dropout, Layer, ReLU, Sigmoid
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy, one_hot
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam, Optimizer

GPU_CHUNK = 20
"""Steps of a chunk on a GPU: a captured graph and single steps."""


@dataclass(frozen=True)
class Workload:
    """A training to be timed: a network of dense layers, its data, loss and optimizer.

    Times are for `steps` steps, which `unit` puts in words. A compiled loop takes `chunk` steps at once.
    Rivals are checked by the tensors after `check_steps` steps.
    `dropout` is the rate before each dense layer. Networks are ReLU with softmax cross-entropy, or, where
    `sigmoid`, all sigmoid with half the squared error. `batch` is None for the full batch.
    """

    label: str
    title: str
    unit: str
    steps: int
    chunk: int = 20
    check_steps: int = 20
    hidden: tuple[int, ...] = (512, 256)
    dropout: tuple[float, ...] = (0.0, 0.0, 0.0)
    sigmoid: bool = False
    bias: bool = True
    init: str = "he-normal"
    targets: tuple[float, float] = (0.0, 1.0)
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
        """Its layers, to ten classes."""
        dense = partial(Dense, weight_init=parse_initializer(self.init), bias=self.bias)
        layers: list[Layer] = []
        for units, rate in zip((*self.hidden, 10), self.dropout, strict=True):
            layers += [Dropout(rate)] * bool(rate) + [dense(units), Sigmoid() if self.sigmoid else ReLU()]
        return Sequential(*layers[: None if self.sigmoid else -1])

    @property
    def loss(self) -> Loss:
        off, on = self.targets
        return MeanSquaredError("half-sum", off_value=off, on_value=on) if self.sigmoid else SoftmaxCrossEntropy()

    @property
    def objective(self) -> Objective:
        return Objective(self.network, self.loss, WeightPenalty(l2=self.l2) if self.l2 else None)

    @property
    def optimizer(self) -> Optimizer:
        return Adam(eps=self.epsilon) if self.adam else SGD()

    def chunk_on(self, device: str) -> int:
        """Steps that a compiled loop takes at once."""
        return self.chunk if device == "cpu" else GPU_CHUNK


EPOCH = partial(Workload, unit="epoch of 60,000", steps=500)
WORKLOADS = {
    "W1": EPOCH("dropout", "784-512-256-10, dropout, SGD, batch 120", dropout=(0.4, 0.2, 0.1)),
    "W1n": EPOCH("no dropout", "784-512-256-10, no dropout, SGD, batch 120"),
    "W1a": EPOCH("Adam", "784-512-256-10, no dropout, Adam, batch 120", adam=True, lr=0.001),
    "W2": Workload(
        "full batch",
        "400-26-10, sigmoid, SGD, full batch of 5,000, float64",
        "1,000 iterations",
        steps=1000,
        hidden=(26,),
        dropout=(0.0, 0.0),
        sigmoid=True,
        init="uniform:0.12",
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
        hidden=(100,),
        dropout=(0.0, 0.0),
        sigmoid=True,
        bias=False,
        init="fan-out-normal",
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
        hidden=(4096, 4096),
        adam=True,
        lr=0.0001,
        batch=1024,
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

    def in_float64(self) -> Problem:
        """The problem of the check: the samples of its first steps, in float64.

        Libraries put Adam's epsilon in different places, so that it is next to nothing here.
        """
        workload = replace(self.workload, dtype="float64", epsilon=1e-30)
        samples = np.arange(min(len(self.train), workload.check_steps * self.batch))
        return Problem.of(workload, self.train.take(samples), self.device)

    @property
    def weights(self) -> list[dict[str, np.ndarray]]:
        """First W (in, out) and b (out,) of each dense layer."""
        return [layer for layer in self.params if layer]

    @property
    def batch(self) -> int:
        """Samples of a step."""
        return self.workload.batch or len(self.train)

    @cached_property
    def x(self) -> np.ndarray:
        """Scaled inputs (n, features), in the workload's dtype."""
        return self.scaling.apply(self.train.inputs, self.workload.dtype)

    @cached_property
    def t(self) -> np.ndarray:
        """Labels (n,) int32, or for a squared error target values (n, 10)."""
        if not self.workload.sigmoid:
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
        """The loss of given float64 weights on up to 5,000 samples with dropout off, on NumPy."""
        rows = self.order.reshape(-1)[:5000]
        given = iter(weights)
        params = tuple(next(given) if layer else {} for layer in self.params)
        x, t = self.x[rows], self.train.targets[rows]
        J, _ = self.workload.objective.value(select("numpy").xp, params, x, t)
        return float(J)
