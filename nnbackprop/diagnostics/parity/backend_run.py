"""One library's training, a step at a time, with everything each step computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from backends import Tree, device_of, leaves, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader, get_batch
from nnbackprop.nn.layers.base import LayerParams, Params, map_layers
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.training.batch_schedule import BatchSchedule, Chunk
from nnbackprop.training.step import TrainStep
from nnbackprop.training.trainer import Trainer

from .results import Kind

StepTrace = dict[tuple[Kind, str, str], np.ndarray]
"""What one step computed, on the host, by kind, layer and tensor: outputs, gradients, and updated weights."""


@dataclass(frozen=True, eq=False)
class TracedStep:
    """A training step whose state also holds every layer's output and the gradients."""

    network: Sequential
    step: TrainStep

    def __call__(self, state: Tree, data: Tree, x: Tree) -> Tree:
        """The trainer's own step, and what it computes on the way, layer by layer with its dropout masks."""
        xp, params, key = self.step.xp, state["params"], RngKey(self.step.seed, x["step"])
        inputs, targets, weights = get_batch(xp, data, x)
        trace = self.network.trace(xp, params, inputs, key)
        grads = self.step.objective.gradients(xp, params, inputs, targets, key, weights).grads
        outputs = tuple(layer.y for layer in trace.layers)
        return {**self.step(state, data, x), "outputs": outputs, "gradients": grads}


class BackendRun:
    """A trainer's step on its backend, one at a time from whatever state it is given."""

    def __init__(self, trainer: Trainer, train: Dataset) -> None:
        trainer.initialize(train)
        self.trainer, self.backend, self.network = trainer, trainer.backend, trainer.network
        self.traced = TracedStep(trainer.network, trainer.step)
        self.weighted = train.weights is not None
        self.loader = DataLoader(self.backend, train, trainer.scaling, trainer.dtype, trainer.resident)
        lr = trainer.lr
        self.schedule = BatchSchedule(
            self.loader,
            trainer.optimizer,
            lr if callable(lr) else lambda _: lr,
            trainer.seed,
            trainer.shuffle,
            batch_size=min(trainer.batch_size or len(train), len(train)),
            length=1,
            save_every=None,
            dtype=trainer.dtype,
        )
        sample = self.backend.asarray(np.zeros((1, *train.sample_shape), trainer.params_dtype))
        traces = self.network.trace(self.backend.xp, trainer.params, sample).layers
        self.layers = {trace.name: (trace.layer, trace.y.shape[1:]) for trace in traces}

    def batches(self, step: int = 0) -> Iterator[Chunk]:
        """Every step's batch from `step` on, as the trainer draws them."""
        epoch, done = divmod(step, self.schedule.steps_per_epoch)
        for at in count(epoch + 1):
            for chunk in self.schedule.chunks(at, done * self.schedule.batch_size, step):
                yield chunk
                step += 1
            done = 0

    def begin(self) -> Tree:
        """The state before the first step."""
        return self.from_host(self.to_host(self.trainer.state))

    def to_host(self, state: Tree) -> Tree:
        """Host copies of what a step begins from: parameters and the optimizer's state."""
        return tree_map(self.backend.to_numpy, {name: state[name] for name in ("params", "optimizer")})

    def from_host(self, copies: Tree) -> Tree:
        """The state before a step that begins from such copies."""
        moved = tree_map(self.backend.asarray, copies)
        return {**self.trainer.step.init(moved["params"], self.weighted), "optimizer": moved["optimizer"]}

    def step(self, state: Tree, batch: Chunk) -> tuple[Tree, StepTrace]:
        """One step: the state after it, and what it computed."""
        xp, like = self.backend.xp, leaves(state["params"])[0]
        outputs = tuple(
            xp.zeros((batch.samples, *shape), dtype=like.dtype, device=device_of(like))
            for _, shape in self.layers.values()
        )
        gradients = map_layers(self._zero_gradients, self.network, state["params"])
        state = {**state, "outputs": outputs, "gradients": gradients}  # a compiled loop's state keeps its shapes
        state = self.backend.scan(self.traced, state, self.loader.data, batch.batches)
        outputs, gradients, weights = (
            tree_map(self.backend.to_numpy, state[name]) for name in ("outputs", "gradients", "params")
        )
        trace: StepTrace = {("activations", name, name): y for name, y in zip(self.layers, outputs, strict=True)}
        return state, {**trace, **self._named("gradients", gradients), **self._named("weights", weights)}

    def _named(self, kind: Kind, tree: Params) -> StepTrace:
        layers = self.network.named_layers(tree)
        return {(kind, layer, f"{layer}.{name}"): a for layer, _, p in layers for name, a in p.items()}

    def _zero_gradients(self, layer: object, params: LayerParams) -> LayerParams:
        buffers = getattr(layer, "buffers", ())
        return {name: self.backend.xp.zeros_like(a) for name, a in params.items() if name not in buffers}
