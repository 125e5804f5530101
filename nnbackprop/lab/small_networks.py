"""The small networks that are stepped through: their data, their parameters by name, and what they minimize."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from backends import Backend, select, tree_map
from nnbackprop.data import bundled
from nnbackprop.data.readers import idx
from nnbackprop.errors import UsageError
from nnbackprop.nn.initializers import Glorot, Initializer, Normal
from nnbackprop.nn.layers import ACTIVATIONS, Dense, Layer
from nnbackprop.nn.layers.base import Params, map_layers
from nnbackprop.nn.losses import LOSSES, Loss
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import OPTIMIZERS, Optimizer

from .messages import NetworkRequest

STEP_ACTIVATIONS = tuple(name for name in ACTIVATIONS if name != "softmax")
STEP_LOSSES = ("mse", "half-mse", "binary-cross-entropy", "softmax-cross-entropy")
TAKES_LOGITS = ("binary-cross-entropy", "softmax-cross-entropy")
SIDE = 4  # of the digits
DIGITS_PER_CLASS = 10


@dataclass(frozen=True)
class Samples:
    """Inputs (n, features) float64, labels (n,) and what each sample is called."""

    inputs: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]


@cache
def people() -> Samples:
    """The four people of weight-height, as its recipe takes them."""
    raw = bundled.weight_height()
    inputs = np.asarray(raw.inputs)
    names = tuple(f"{weight + 135:g} lb, {height + 66:g} in" for weight, height in inputs.tolist())
    return Samples(inputs, raw.labels.astype(np.int32), names)


@cache
def digits_4x4() -> Samples:
    """Ten digits of each class of MNIST's test part, each pixel the mean of 7 x 7, in 0..1."""
    raw = idx.read_part(bundled.FOLDER, "t10k")
    first = np.concatenate([np.flatnonzero(raw.labels == digit)[:DIGITS_PER_CLASS] for digit in range(10)])
    images = raw.inputs[first].reshape(len(first), SIDE, 7, SIDE, 7).mean(axis=(2, 4)) / 255
    labels = raw.labels[first].astype(np.int32)
    return Samples(images.reshape(len(first), -1), labels, tuple(map(str, labels.tolist())))


@dataclass(frozen=True)
class Architecture:
    """A small network's widths, data and usual settings."""

    data: str
    samples: Callable[[], Samples]
    hidden: int
    outputs: int
    init: Initializer
    output_activation: str
    loss: str
    inputs: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None


ARCHITECTURES = {
    "2-2-1": Architecture(
        "weight-height", people, 2, 1, Normal(1.0), "sigmoid", "mse", inputs=("weight", "height")
    ),
    "16-3-10": Architecture(
        "digits 4x4", digits_4x4, 3, 10, Glorot(), "identity", "softmax-cross-entropy", image_shape=(SIDE, SIDE)
    ),
}


def options() -> dict[str, Any]:
    """The networks and what they can be made of."""
    networks = [
        {
            "name": name,
            "data": a.data,
            "inputs": a.inputs,
            "hidden": a.hidden,
            "outputs": a.outputs,
            "samples": len(a.samples().labels),
            "names": a.samples().names,
            "image_shape": a.image_shape,
            "output_activation": a.output_activation,
            "loss": a.loss,
        }
        for name, a in ARCHITECTURES.items()
    ]
    return {
        "networks": networks,
        "activations": STEP_ACTIVATIONS,
        "losses": STEP_LOSSES,
        "optimizers": list(OPTIMIZERS),
    }


@dataclass(frozen=True, eq=False)
class SmallNetwork:
    """A network with its loss, optimizer and samples, in float64 on NumPy."""

    name: str
    architecture: Architecture
    activation: str
    output_activation: str
    loss_name: str
    network: Sequential
    loss: Loss
    optimizer: Optimizer
    lr: float
    backend: Backend = field(default_factory=lambda: select("numpy"))

    @classmethod
    def of(cls, request: NetworkRequest) -> SmallNetwork:
        """What a request asks for; UsageError for a name that is not known, or for what does not fit."""
        a = _known(ARCHITECTURES, request.network, "network")
        output, loss = request.output_activation or a.output_activation, request.loss or a.loss
        for name in (request.activation, output):
            _known(dict.fromkeys(STEP_ACTIVATIONS), name, "activation")
        _known(dict.fromkeys(STEP_LOSSES), loss, "loss")
        if loss in TAKES_LOGITS and output != "identity":
            raise UsageError(
                f"{loss} takes logits, and {output} comes before it: choose identity, or the loss mse."
            )
        if loss == "softmax-cross-entropy" and a.outputs == 1:
            raise UsageError("A softmax over one output is always 1: choose binary-cross-entropy, or mse.")
        layers: list[Layer] = [
            Dense(a.hidden, a.init),
            ACTIVATIONS[request.activation](),
            Dense(a.outputs, a.init),
        ]
        if output != "identity":
            layers.append(ACTIVATIONS[output]())
        optimizer = _known(OPTIMIZERS, request.optimizer, "optimizer")()
        return cls(
            request.network, a, request.activation, output, loss, Sequential(*layers), LOSSES[loss](), optimizer,
            request.lr,
        )  # fmt: skip

    @property
    def samples(self) -> Samples:
        """All of its data."""
        return self.architecture.samples()

    def params(self, seed: int, given: Mapping[str, Any] | None) -> Params:
        """The initial parameters of `seed`, with those that are given in their places."""
        params = self.network.init(self.samples.inputs.shape[1:], seed, "float64")
        return self.with_values(params, given or {})

    def with_values(self, tree: Params, given: Mapping[str, Any]) -> Params:
        """A tree like the parameters with arrays of these names replaced; UsageError where one does not fit."""
        names = self.named(tree)
        for name in given:
            if name not in names:
                raise UsageError(f"There is no parameter {name[:50]!r}. Known are {', '.join(names)}.")
        layer_names = (name for name, _ in self.network.named_layers())

        def replaced(layer: Any, branch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            name = next(layer_names)
            return {k: _fitting(f"{name}.{k}", given.get(f"{name}.{k}", a), a.shape) for k, a in branch.items()}

        return map_layers(replaced, self.network, tree)

    def named(self, tree: Params) -> dict[str, np.ndarray]:
        """The arrays of a tree like the parameters, by name: dense1.W, dense1.b ..."""
        layers = self.network.named_layers(tree)
        return {f"{name}.{key}": array for name, _, branch in layers for key, array in branch.items()}

    def optimizer_state(self, params: Params, given: Mapping[str, Mapping[str, Any]] | None) -> Any:
        """The optimizer's state before its first step, or the one that is given."""
        state = self.optimizer.init(self.backend.xp, params)
        if not state or given is None:
            return state
        if set(given) != set(state):
            raise UsageError(f"The state of this optimizer is {', '.join(state)}: send these, or none.")
        return {name: self.with_values(tree, given[name]) for name, tree in state.items()}

    def update(self, params: Params, grads: Params, state: Any, t: int) -> tuple[Params, Any]:
        """The parameters and the state after step `t`, counted from 1; what is given is left as it is."""
        scalars = {k: np.asarray(v, np.float64) for k, v in self.optimizer.step_scalars(t, self.lr).items()}
        copies = [tree_map(np.array, tree) for tree in (params, grads, state)]
        return self.optimizer.step(self.backend.xp, copies[0], copies[1], copies[2], scalars)


def _known(table: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in table:
        raise UsageError(f"There is no {kind} {name[:50]!r}. Known are {', '.join(table)}.")
    return table[name]


def _fitting(name: str, given: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.array(given, np.float64)
    except ValueError:
        array = np.zeros(0)
    if array.shape != shape or not np.isfinite(array).all():
        raise UsageError(f"{name} must be finite numbers of shape {shape}; got an array of shape {array.shape}.")
    return array
