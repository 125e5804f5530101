"""Training on one library, a step at a time, with every layer's output, the gradients and the updated weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from backends import Tree, device_of, leaves, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.nn.layers.base import LayerParams, Params, map_layers
from nnbackprop.nn.sequential import Sequential
from nnbackprop.training.batch_schedule import BatchSchedule, Chunk
from nnbackprop.training.step import Microbatch, TrainStep
from nnbackprop.training.trainer import Trainer

from .results import Kind

StepTrace = dict[tuple[Kind, str, str], np.ndarray]
"""What one step computed, on the host, by kind, layer and tensor: outputs, gradients, and updated weights."""


@dataclass(frozen=True, eq=False)
class TracedStep:
    """A training step whose state also holds every layer's output and the gradients."""

    network: Sequential
    step: TrainStep

    def __call__(self, state: Tree, constants: Tree, batch: Tree) -> Tree:
        """The trainer's own step, and what it computes on the way, layer by layer with its dropout masks."""
        xp, params = self.step.xp, state["params"]
        inputs, targets, weights, key = self.step.step_inputs(Microbatch(0, constants, batch, None))
        trace = self.network.trace(xp, params, inputs, key)
        grads = self.step.objective.value_and_grad(xp, params, inputs, targets, key, weights).grads
        outputs = tuple(layer.y for layer in trace.layers)
        return {**self.step(state, constants, batch), "outputs": outputs, "gradients": grads}


class BackendRun:
    """The training of `trainer`, which is not trained yet, on `train`; its parameters are donated to the steps."""

    def __init__(self, trainer: Trainer, train: Dataset) -> None:
        trainer.initialize(train)
        self.backend, self.network, self.state = trainer.backend, trainer.network, trainer.state
        self.traced_step = TracedStep(trainer.network, trainer.train_step)
        self.device_data = DeviceDataset(self.backend, train, trainer.scaling, trainer.dtype, trainer.resident)
        lr = trainer.lr
        schedule = BatchSchedule(
            self.device_data,
            trainer.optimizer,
            lr if callable(lr) else lambda _: lr,
            trainer.seed,
            trainer.shuffle,
            batch_size=min(trainer.batch_size or len(train), len(train)),
            steps_per_chunk=1,
            chunk_ends_every=None,
            dtype=trainer.dtype,
        )
        self.batches = single_steps(schedule)
        sample = self.backend.asarray(np.zeros((1, *train.sample_shape), trainer.params_dtype))
        traces = self.network.trace(self.backend.xp, trainer.params, sample).layers
        self.layers = {trace.name: trace.layer for trace in traces}
        self.output_shapes = [trace.y.shape[1:] for trace in traces]

    def host_state(self) -> Tree:
        """Copies of the parameters and of the optimizer's state, on the host."""
        return tree_map(self.backend.to_numpy, {name: self.state[name] for name in ("params", "optimizer")})

    def load_state(self, host_state: Tree) -> None:
        """Let the next step begin from such copies, of whichever library."""
        self.state = {**self.state, **tree_map(self.backend.asarray, host_state)}

    def step(self) -> StepTrace:
        """Make the next step; returns what it computed."""
        batch, params = next(self.batches), self.state["params"]
        xp, like = self.backend.xp, leaves(params)[0]
        outputs = tuple(
            xp.zeros((batch.n_samples, *shape), dtype=like.dtype, device=device_of(like))
            for shape in self.output_shapes
        )
        gradients = map_layers(self._zero_gradients, self.network, params)
        state = {
            **self.state,
            "outputs": outputs,
            "gradients": gradients,
        }  # a compiled loop's state keeps its shapes
        self.state = self.backend.scan(self.traced_step, state, self.device_data.arrays, batch.batches)
        outputs, gradients, weights = (
            tree_map(self.backend.to_numpy, self.state[name]) for name in ("outputs", "gradients", "params")
        )
        trace: StepTrace = {("activations", name, name): y for name, y in zip(self.layers, outputs, strict=True)}
        return {**trace, **self._named("gradients", gradients), **self._named("weights", weights)}

    def _named(self, kind: Kind, tree: Params) -> StepTrace:
        layers = self.network.named_layers(tree)
        return {(kind, layer, f"{layer}.{name}"): a for layer, _, p in layers for name, a in p.items()}

    def _zero_gradients(self, layer: object, params: LayerParams) -> LayerParams:
        buffers = getattr(layer, "buffers", ())
        return {name: self.backend.xp.zeros_like(a) for name, a in params.items() if name not in buffers}


def single_steps(schedule: BatchSchedule) -> Iterator[Chunk]:
    """The batches of all epochs, without end; chunks of `schedule` have one step each."""
    step = 0
    for epoch in count(1):
        for chunk in schedule.chunks(epoch, 0, step):
            yield chunk
            step += 1
