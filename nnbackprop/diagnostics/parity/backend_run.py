"""One library's training, a step at a time, with everything each step computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from backends import Array, Tree, device_of, leaves, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader, fetch
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.training.batch_schedule import BatchSchedule
from nnbackprop.training.step import TrainStep
from nnbackprop.training.trainer import Trainer

from .results import Kind


@dataclass(frozen=True)
class StepTrace:
    """What one step computed, on the host: each layer's output (n, ...), the gradients, the updated parameters."""

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
class TracedStep:
    """A training step whose state also holds every layer's output and a copy of the gradients."""

    network: Sequential
    step: TrainStep

    def __call__(self, state: Tree, data: Tree, x: Tree) -> Tree:
        """Forward, a layer at a time with the step's dropout masks, then the trainer's own step."""
        xp, key = self.step.xp, RngKey(self.step.seed, x["step"])
        y, _ = fetch(xp, data, x)
        outputs = []
        for i, (layer, p) in enumerate(zip(self.network.layers, state["params"], strict=True)):
            y, _ = layer.forward(xp, p, y, key.at(i))
            outputs.append(y)
        sums, grads = self.step.gradients(state, data, x)
        copies = tree_map(lambda g: xp.asarray(g, copy=True), grads)
        return self.step.update({**state, **sums, "outputs": tuple(outputs), "gradients": copies}, grads, x)


class BackendRun:
    """A trainer's step on its backend, one at a time from whatever state it is given."""

    def __init__(self, trainer: Trainer, train: Dataset) -> None:
        trainer.build(train)
        self.trainer, self.backend, self.names = trainer, trainer.backend, trainer.network.names
        self.loader = DataLoader.of(trainer.backend, train, trainer.scaling, trainer.dtype, trainer.resident)
        self.batch = min(trainer.batch_size or len(train), len(train))
        lr = trainer.lr
        rate = lr if callable(lr) else lambda _: lr
        how = trainer.seed, trainer.shuffle, self.batch, 1, None, trainer.dtype
        self.schedule = BatchSchedule(self.loader, trainer.optimizer, rate, *how)
        self.traced = TracedStep(trainer.network, trainer.step)

    def batches(self, step: int = 0) -> Iterator[tuple[int, Tree]]:
        """Samples and device arrays of every step from `step` on, as the trainer draws them."""
        epoch, done = divmod(step, -(-self.schedule.samples // self.batch))
        for at in count(epoch + 1):
            for (_, samples), xs in self.schedule.chunks(at, done * self.batch, step):
                yield samples, xs
                step += 1
            done = 0

    def begin(self) -> Tree:
        """The state before the first step."""
        return self.trainer.step.begin(self.trainer.params)

    def to_host(self, state: Tree) -> Tree:
        """Host copies of what a step begins from: parameters and the optimizer's state."""
        return tree_map(self.backend.to_numpy, {name: state[name] for name in ("params", "optimizer")})

    def from_host(self, copies: Tree) -> Tree:
        """The state before a step that begins from such copies."""
        moved = tree_map(self.backend.asarray, copies)
        return {**self.trainer.step.begin(moved["params"]), "optimizer": moved["optimizer"]}

    def step(self, state: Tree, samples: int, xs: Tree) -> tuple[Tree, StepTrace]:
        """The step on the batch of `batches`: the state after it, and what it computed."""
        zeros = {"outputs": self._outputs(state, samples)}
        zeros["gradients"] = tree_map(self.backend.xp.zeros_like, state["params"])
        state = self.backend.scan(self.traced, {**self.trainer.step.clear(state), **zeros}, self.loader.data, xs)
        shown = (tree_map(self.backend.to_numpy, state[name]) for name in ("outputs", "gradients", "params"))
        return state, StepTrace(*shown)

    def _outputs(self, state: Tree, samples: int) -> tuple[Array, ...]:
        """Arrays in the place of outputs: a compiled loop's state keeps its shapes."""
        xp, like = self.backend.xp, leaves(state["params"])[0]
        shapes = [(samples, *row.out_shape) for row in self.trainer.layers]
        return tuple(xp.zeros(shape, dtype=like.dtype, device=device_of(like)) for shape in shapes)
