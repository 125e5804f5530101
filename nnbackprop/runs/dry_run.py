"""What a run would be: its trainer before the first step, and estimates of its memory and time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nnbackprop._system_info import cores
from nnbackprop.data.mapped import MappedArray
from nnbackprop.nn.trace import LayerSummary
from nnbackprop.training.checks import check_batches
from nnbackprop.training.events import LayerRow
from nnbackprop.training.trainer import Trainer

from . import build
from .config import Config
from .config_checks import check_new_run
from .jax_estimate import JAX, NUMPY, Cost, step_seconds
from .run_data import RunData
from .train import initialized_trainer, open_backend

COSTS = {"numpy": NUMPY, "jax": JAX}
"""Of the libraries whose time on a CPU is estimated; of others nothing was fitted."""


@dataclass(frozen=True)
class DryRun:
    """A run that is not begun: nothing is trained and nothing is written.

    memory has the bytes of what training holds, by name; seconds are those of an epoch's steps, None where
    there is no estimate for the backend.
    """

    config: Config
    data: Mapping[str, str]  # of a table: what was chosen, and why
    backend: str
    device: str
    layers: tuple[LayerRow, ...]
    samples: dict[str, int]
    batch_size: int
    steps_per_epoch: int
    memory: dict[str, int]
    seconds: float | None


def dry_run(config: Config) -> DryRun:
    """Read the data and build the trainer of `config`: what a run refuses before it trains is refused."""
    check_new_run(config)
    backend, data = open_backend(config), RunData.load(config)
    config = build.resolve_task(config, data.train)
    number = 1.0 if config.lr == "auto" else config.lr  # a run looks for it
    trainer = initialized_trainer(replace(config, lr=number), backend, data)
    check_batches(trainer, data.train)
    samples = {name: len(part) if part else 0 for name, part in data.parts.items()}
    batch, steps = build.batch_size(config, len(data.train)), build.steps_per_epoch(config, len(data.train))
    seconds = None
    if (cost := COSTS.get(backend.name)) and backend.device == "cpu":
        layers = trainer.network.summary(trainer.sample_shape, trainer.params_dtype)
        threads = config.threads or (1 if config.deterministic else cores())
        seconds = steps * estimate_step(cost, layers, batch, threads, trainer.dtype)
    memory = memory_of(trainer, data, batch)
    where = backend.name, backend.device, trainer.layer_table
    return DryRun(config, data.description, *where, samples, batch, steps, memory, seconds)


def estimate_step(cost: Cost, layers: Sequence[LayerSummary], batch: int, cores: int, dtype: str) -> float:
    """Seconds of a step, within a factor of 3 of those measured; float64 takes twice as long as float32."""
    return (2 if dtype == "float64" else 1) * step_seconds(cost, layers, batch, cores)


def memory_of(trainer: Trainer, data: RunData, batch: int) -> dict[str, int]:
    """Bytes that training holds, by what they are for.

    Training state is kept twice, as there is a snapshot to go back to. Activations are each layer's outputs and
    their gradients; a float data set is there as it was read and once more as it is scaled. Inputs in a file are
    not counted.
    """
    itemsize = 8 if trainer.params_dtype == "float64" else 4
    params = sum(row.bytes for row in trainer.layer_table)
    states = len(trainer.optimizer.state_names)
    outputs = math.prod(trainer.sample_shape) + 2 * sum(math.prod(row.out_shape) for row in trainer.layer_table)
    samples = 0
    for part in filter(None, data.parts.values()):
        samples += part.targets.nbytes
        if not isinstance(part.inputs, MappedArray):
            samples += part.inputs.nbytes + (part.inputs.size * itemsize if part.inputs.dtype.kind == "f" else 0)
    return {
        "parameters and optimizer state": 2 * (1 + states) * params,
        "gradients": params,
        "activations": batch * outputs * itemsize,
        "data": samples,
    }
