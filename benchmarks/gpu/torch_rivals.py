"""PyTorch on a GPU as its guides write it: eager, captured as a CUDA graph, and by torch.compile."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from nnbackprop.nn.layers.base import Params

from .rivals import Task

Rows = list[torch.Tensor]
WARM = 3
"""Steps before a capture, as PyTorch's guide to CUDA graphs asks for."""


class Eager:
    """Modules, autograd and torch.optim; the batch is gathered on the device."""

    def __init__(self, task: Task) -> None:
        torch.set_float32_matmul_precision("high" if task.tf32 else "highest")
        self.device = torch.device(task.device)
        self.net = nn.Sequential(*_modules(task)).to(self.device)
        self.x = torch.from_numpy(task.x).to(self.device)
        self.t = torch.from_numpy(task.t.astype(np.int64)).to(self.device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=task.lr)

    def prepare(self, rows: np.ndarray) -> Rows:
        """One tensor a batch."""
        return list(torch.from_numpy(rows.astype(np.int64)).to(self.device))

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        """Of one batch."""
        return nn.functional.cross_entropy(self.net(self.x[rows]), self.t[rows])

    def step(self, rows: torch.Tensor) -> None:
        """The usual four lines."""
        self.optimizer.zero_grad(set_to_none=True)
        J = self.loss(rows)
        J.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def run(self, rows: Rows) -> None:
        """A step a batch."""
        for batch in rows:
            self.step(batch)

    def wait(self) -> None:
        """The CPU is always done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def weights(self) -> Params:
        """Transposed, as `nn.Linear` keeps (out, in)."""
        layers = [m for m in self.net if isinstance(m, nn.Linear)]
        return tuple({"W": _host(m.weight).T.copy(), "b": _host(m.bias)} for m in layers)


class Graph(Eager):
    """torch.cuda.CUDAGraph over `length` whole steps, gathering, forward, backward and update in it."""

    def __init__(self, task: Task, length: int) -> None:
        super().__init__(task)
        self.length = length
        torch.cuda.set_device(self.device)

    def prepare(self, rows: np.ndarray) -> Rows:
        """One tensor a replay; the first time, the graph too, after which the weights are the first ones again."""
        found = torch.from_numpy(rows.astype(np.int64)).to(self.device)
        self.rows = found[: self.length].clone()
        first = [p.detach().clone() for p in self.net.parameters()]
        self.capture()
        with torch.no_grad():
            for parameter, kept in zip(self.net.parameters(), first, strict=True):
                parameter.copy_(kept)
        return list(found.reshape(-1, self.length, found.shape[1]))

    def capture(self) -> None:
        """Warm up on a stream at the side, then capture on PyTorch's own."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                self.step(self.rows[0])
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for k in range(self.length):
                self.step(self.rows[k])

    def run(self, rows: Rows) -> None:
        """Copy a few row numbers in, replay."""
        for several in rows:
            self.rows.copy_(several)
            self.graph.replay()


class Compiled(Eager):
    """torch.compile in its mode for small steps, which uses CUDA graphs; the optimizer in its one-pass form."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        torch.cuda.set_device(self.device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=task.lr, fused=True)
        self.compiled: Any = torch.compile(super().loss, mode="reduce-overhead")

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        """Of one batch."""
        return self.compiled(rows)


def _modules(task: Task) -> list[nn.Module]:
    modules: list[nn.Module] = []
    for k, layer in enumerate(task.weights):
        if task.dropout[k]:
            modules.append(nn.Dropout(task.dropout[k]))
        linear = nn.Linear(*layer["W"].shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(layer["W"].T.copy()))
            linear.bias.copy_(torch.from_numpy(layer["b"].copy()))
        modules += [linear, nn.ReLU()]
    return modules[:-1]


def _host(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().cpu().numpy().copy()
