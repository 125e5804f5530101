"""This package: the training step that the trainer runs, over `Backend.scan`, without the trainer around it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from backends import Backend, Tree, select, tree_map
from backends.cuda import captured_scan
from benchmarks.workloads import Problem
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.nn.layer_fusion import fuse_layers
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.metrics import metrics_for
from nnbackprop.training.batch_schedule import stack_step_scalars
from nnbackprop.training.step import TrainStep

HOST_ONLY = ("numpy", "strict")


class Ours:
    """The step of a problem on a backend.

    `eager` runs every kernel by itself, `graph_steps` is the length of captured graphs, and data that are not
    `resident` stream to the device.
    """

    def __init__(
        self,
        problem: Problem,
        backend: str | Backend,
        eager: bool = False,
        graph_steps: int | None = None,
        resident: str = "yes",
    ) -> None:
        if isinstance(backend, str):
            backend = select(backend, None if backend in HOST_ONLY else problem.device)
        if problem.tf32:
            backend.use_tf32()
        captured_scan.GRAPH_STEPS = graph_steps or captured_scan.GRAPH_STEPS  # of this process
        workload = problem.workload
        self.problem, self.backend, self.step_number = problem, backend, 0
        self.scan = partial(Backend.scan, backend) if eager else backend.scan
        metrics = metrics_for(workload.loss)
        objective = replace(workload.objective, network=fuse_layers(workload.network, backend))
        self.step: Any = TrainStep(backend.xp, objective, workload.optimizer, metrics, seed=0)
        self.state: Tree = self.step.init(tree_map(backend.asarray, problem.params))
        self.device_data = DeviceDataset(backend, problem.train, problem.scaling, workload.dtype, resident)

    def prepare(self, rows: np.ndarray) -> list[Tree]:
        """What the next steps are given, chunk by chunk: on the device, or on the host where data stream."""
        workload, chunks = self.problem.workload, []
        length = workload.chunk_on(self.problem.device)
        for begin in range(0, len(rows), length):
            part = rows[begin : begin + length]
            numbers = np.arange(self.step_number, self.step_number + len(part))
            scalars = stack_step_scalars(workload.optimizer, lambda _: workload.lr, numbers, workload.dtype)
            chunks.append({**self.device_data.batches(part), "step": numbers.astype(np.int32), "scalars": scalars})
            self.step_number += len(part)
        return [tree_map(self.backend.asarray, xs) for xs in chunks] if self.device_data.resident else chunks

    def run(self, batches: list[Tree]) -> None:
        on_device: Any = batches
        if not self.device_data.resident:
            on_device = (xs for _, xs in self.device_data.to_device((None, xs) for xs in batches))
        for xs in on_device:
            self.state = self.scan(
                self.step, self.state, self.device_data.arrays, xs, last_step=self.step.with_gradient_norms
            )
        self.backend.synchronize()

    def train(self, at: int, steps: int) -> None:
        """Steps `at` to `at + steps` of the problem's order."""
        self.run(self.prepare(self.problem.rows(at, steps)))

    def weights(self) -> Params:
        host = tree_map(self.backend.to_numpy, self.state["params"])
        return tuple(self.problem.trained(host))


make = Ours
