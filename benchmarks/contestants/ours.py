"""Ourselves: the step that the trainer runs, its data resident, over `Backend.scan`."""

from __future__ import annotations

import numpy as np

from backends import select, tree_map
from benchmarks.works import Problem
from nnbackprop.data.loader import DataLoader
from nnbackprop.nn.layers.base import Params
from nnbackprop.runs import build
from nnbackprop.training.batch_schedule import scalars_of


class Ours:
    """The bare step: batches by row number from a resident set, no look at the run between chunks."""

    def __init__(self, problem: Problem, chunk: int, backend: str) -> None:
        self.problem, self.chunk, self.backend = problem, chunk, select(backend)
        config = problem.config
        trainer = build.trainer(config, self.backend, problem.train, problem.scaling)
        trainer.build(problem.train)
        self.step, self.state = trainer.step, trainer.state
        self.loader = DataLoader(self.backend, problem.train, problem.scaling, config.params_dtype)

    def run(self, at: int, steps: int) -> None:
        """Chunk by chunk, as the trainer does."""
        dtype, lr = self.problem.config.params_dtype, self.problem.config.lr
        for begin in range(at, at + steps, self.chunk):
            numbers = np.arange(begin, min(begin + self.chunk, at + steps))
            scalars = scalars_of(self.step.optimizer, lambda _: lr, numbers, dtype)
            batches = self.loader.xs(self.problem.batches(begin, len(numbers)))
            xs = {**batches, "step": numbers.astype(np.int32), "scalars": scalars}
            moved = tree_map(self.backend.asarray, xs)
            self.state = self.step.run(self.backend, self.state, self.loader.data, moved)
        self.backend.synchronize()

    def weights(self) -> Params:
        """The dense layers' parameters."""
        host = tree_map(self.backend.to_numpy, self.state["params"])
        return tuple(layer for layer in host if layer)


make = Ours
