"""One library on its way through a training: the trainer's own step, one at a time, and all that it made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from backends import Array, Tree, device_of, leaves, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader, chunk_rows, get_batch
from nnbackprop.data.sampler import permutation
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.training.batch_schedule import scalars_of
from nnbackprop.training.step import TrainStep
from nnbackprop.training.trainer import Trainer

from .results import Kind


def batches(trainer: Trainer, samples: int) -> Iterator[np.ndarray]:
    """Row numbers (1, batch) of each step, epoch after epoch, as the trainer draws them."""
    batch = min(trainer.batch_size or samples, samples)
    for epoch in count(1):
        order = permutation(trainer.seed, epoch, samples) if trainer.shuffle else np.arange(samples)
        yield from chunk_rows(order, batch, 1)


@dataclass(frozen=True)
class Shown:
    """What one step made, on the host: each layer's output (n, ...), the gradients, the updated parameters."""

    outputs: tuple[np.ndarray, ...]
    gradients: Params
    params: Params

    def tensors(self, names: Sequence[str]) -> Iterator[tuple[Kind, int, str, np.ndarray]]:
        """Every array with its kind, the number of its layer, and its own name."""
        for i, y in enumerate(self.outputs):
            yield "activations", i, names[i], y
        kinds: tuple[tuple[Kind, Params], ...] = (("gradients", self.gradients), ("weights", self.params))
        for kind, layers in kinds:
            for i, layer in enumerate(layers):
                for name, array in layer.items():
                    yield kind, i, f"{names[i]}.{name}", array


@dataclass(frozen=True, eq=False)
class OutputsStep:
    """`outputs, data, x -> outputs`, for `Backend.scan`: what each layer makes of a training step's batch.

    The parameters are among the `data`, since they must outlive it.
    """

    xp: Any
    network: Sequential
    seed: int

    def __call__(self, outputs: tuple[Array, ...], data: Tree, x: Tree) -> tuple[Array, ...]:
        """Forward, a layer at a time, with the step's dropout masks."""
        y, _, _ = get_batch(self.xp, data, x)
        draw, made = RngKey(self.seed, x["step"]), []
        for i, (layer, p) in enumerate(zip(self.network.layers, data["params"], strict=True)):
            y, _ = layer.forward(self.xp, p, y, draw.at(i))
            made.append(y)
        return tuple(made)


@dataclass(frozen=True, eq=False)
class ShowingStep:
    """A training step after which the state holds a copy of its gradients."""

    step: TrainStep

    def __call__(self, state: Tree, data: Tree, x: Tree) -> Tree:
        """One update, and what it was made by."""
        sums, grads = self.step.gradients(state, data, x)
        shown = tree_map(lambda g: self.step.xp.asarray(g, copy=True), grads)
        return self.step.update({**state, **sums, "gradients": shown}, grads, x)


@dataclass(frozen=True, eq=False)
class BackendRun:
    """A trainer's step on its library, one at a time from whatever state it is given."""

    trainer: Trainer
    loader: DataLoader
    outputs: OutputsStep
    training: ShowingStep

    @classmethod
    def of(cls, trainer: Trainer, train: Dataset) -> BackendRun:
        """The trainer built, and its data moved to its device."""
        trainer.build(train)
        loader = DataLoader(trainer.backend, train, trainer.scaling, trainer.dtype, trainer.resident)
        outputs = OutputsStep(trainer.backend.xp, trainer.network, trainer.seed)
        return cls(trainer, loader, outputs, ShowingStep(trainer.step))

    @property
    def names(self) -> tuple[str, ...]:
        """The layers' names."""
        return self.trainer.network.names

    def begin(self) -> Tree:
        """The state before the first step."""
        trainer = self.trainer
        params = trainer.network.init((trainer.features,), trainer.seed, trainer.dtype)
        return self._begin(tree_map(trainer.backend.asarray, params))

    def take(self, state: Tree) -> Tree:
        """Host copies of what a step begins from: parameters and the optimizer's state."""
        return tree_map(self.trainer.backend.to_numpy, {name: state[name] for name in ("params", "optimizer")})

    def at(self, taken: Tree) -> Tree:
        """The state before a step that begins from such copies."""
        moved = tree_map(self.trainer.backend.asarray, taken)
        return {**self._begin(moved["params"]), "optimizer": moved["optimizer"]}

    def step(self, state: Tree, k: int, rows: np.ndarray) -> tuple[Tree, Shown]:
        """Step `k`, counted from 0, on the samples `rows` (1, n): the state after it, and what it made."""
        trainer, backend = self.trainer, self.trainer.backend
        xs = tree_map(backend.asarray, self._xs(k, rows))
        data = {**self.loader.data, "params": state["params"]}
        outputs = backend.scan(self.outputs, self._empty(state, rows.shape[1]), data, xs)
        outputs = tree_map(backend.to_numpy, outputs)
        state = backend.scan(self.training, trainer.step.clear(state), self.loader.data, xs)
        made = (tree_map(backend.to_numpy, state[name]) for name in ("gradients", "params"))
        return state, Shown(outputs, *made)

    def _begin(self, params: Params) -> Tree:
        gradients = tree_map(self.trainer.backend.xp.zeros_like, params)
        return {**self.trainer.step.begin(params), "gradients": gradients}

    def _xs(self, k: int, rows: np.ndarray) -> Tree:
        trainer = self.trainer
        step, rate = np.array([k], np.int32), trainer.lr if callable(trainer.lr) else lambda _: trainer.lr
        scalars = scalars_of(trainer.optimizer, rate, step, trainer.dtype)
        return {**self.loader.xs(rows), "step": step, "scalars": scalars}

    def _empty(self, state: Tree, n: int) -> tuple[Array, ...]:
        """Arrays in the place of outputs: a compiled loop gives back what it was given the like of."""
        xp, like = self.trainer.backend.xp, leaves(state["params"])[0]
        shapes = [(n, *row.out_shape) for row in self.trainer.layers]
        return tuple(xp.zeros(shape, dtype=like.dtype, device=device_of(like)) for shape in shapes)
