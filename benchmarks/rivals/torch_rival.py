"""PyTorch as its guides write it: modules, autograd, torch.optim; on a GPU also CUDA graphs and torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.rivals import channels_first
from benchmarks.workloads import Problem
from nnbackprop.nn import layers
from nnbackprop.nn.layers.base import Params

WARM_UP = 3
"""Steps before a capture, as PyTorch's guide to CUDA graphs asks for."""


class Torch:
    """`nn.Sequential`, `backward()`, `step()`; images in memory as PyTorch's guide advises, channels last.

    `fused` asks the optimizer for its one-pass form, `compiled` also torch.compile for its mode for small steps,
    and `graph_steps` captures so many whole steps as one CUDA graph; steps that do not fill graphs run without.
    """

    def __init__(
        self, problem: Problem, fused: bool = False, compiled: bool = False, graph_steps: int = 0
    ) -> None:
        torch.set_float32_matmul_precision("high" if problem.tf32 else "highest")
        self.problem, self.device, self.graph_steps = problem, torch.device(problem.device), graph_steps
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.net = nn.Sequential(*modules(problem)).to(self.device)
        self.trained = [m for m in self.net if any(True for _ in m.parameters())]
        for module, first in zip(self.trained, channels_first.from_ours(problem, problem.weights), strict=True):
            with torch.no_grad():
                for name, parameter in named(module).items():
                    parameter.copy_(torch.from_numpy(np.array(first[name].T)).reshape(parameter.shape))
        x = problem.x
        if x.ndim == 4:
            self.net = self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            x = x.transpose(0, 3, 1, 2)
        self.x = torch.from_numpy(x).to(self.device)
        self.t = torch.from_numpy(np.array(problem.t)).to(self.device)
        if problem.workload.targets is None:
            self.t = self.t.long()
        self.optimizer = self.make_optimizer(fused or compiled)
        self.loss: Any = torch.compile(self.plain_loss, mode="reduce-overhead") if compiled else self.plain_loss
        self.graph: Any = None
        self.check_steps = max(problem.workload.check_steps, graph_steps)  # at least a graph

    def make_optimizer(self, fused: bool) -> torch.optim.Optimizer:
        """SGD or Adam; the weights alone are decayed by L2."""
        workload = self.problem.workload
        parameters = list(self.net.parameters())
        weights, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim == 1]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": workload.l2}, {"params": others}]
        kind: Any = torch.optim.Adam if workload.adam else torch.optim.SGD
        options = {"eps": workload.epsilon, "capturable": bool(self.graph_steps)} if workload.adam else {}
        return kind([g for g in groups if g["params"]], lr=workload.lr, fused=fused or None, **options)

    def plain_loss(self, rows: torch.Tensor) -> torch.Tensor:
        """J of the samples `rows`."""
        y, t = self.net(self.x[rows]), self.t[rows]
        if self.problem.workload.targets is not None:
            return ((y - t) ** 2).sum() / (2 * len(t))
        return nn.functional.cross_entropy(y, t)

    def step(self, rows: torch.Tensor) -> None:
        """The usual four lines."""
        self.optimizer.zero_grad()
        J = self.loss(rows)
        J.backward()
        self.optimizer.step()

    def prepare(self, rows: np.ndarray) -> list[torch.Tensor]:
        """A tensor (batch,) a step, or (steps, batch) a replay of the graph."""
        moved = torch.from_numpy(rows.astype(np.int64)).to(self.device)
        if not self.graph_steps or len(moved) % self.graph_steps:
            return list(moved)
        if self.graph is None:
            self.capture(moved[: self.graph_steps])
        return list(moved.reshape(-1, self.graph_steps, moved.shape[1]))

    def run(self, batches: list[torch.Tensor]) -> None:
        for rows in batches:
            if rows.ndim == 1:
                self.step(rows)
            else:
                self.rows.copy_(rows)
                self.graph.replay()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def capture(self, rows: torch.Tensor) -> None:
        """Warm up on another stream, capture, and reset parameters and the optimizer's state."""
        self.rows = rows.clone()
        first = [p.detach().clone() for p in self.net.parameters()]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.step(self.rows[0])
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for k in range(self.graph_steps):
                self.step(self.rows[k])
        with torch.no_grad():
            for parameter, saved in zip(self.net.parameters(), first, strict=True):
                parameter.copy_(saved)
            for state in self.optimizer.state.values():
                for tensor in state.values():
                    if tensor is not None:  # SGD's empty momentum
                        tensor.zero_()

    def weights(self) -> Params:
        theirs = [
            {name: p.detach().cpu().numpy().reshape(p.shape[0], -1).T for name, p in named(module).items()}
            for module in self.trained
        ]
        return [
            {name: np.array(a if name == "W" else a[0]) for name, a in layer.items()}
            for layer in channels_first.to_ours(self.problem, theirs)
        ]


def named(module: nn.Module) -> dict[str, nn.Parameter]:
    """A module's parameters under our names; PyTorch's weights are (out, in, ...), the transpose of ours."""
    letters = ("gamma", "beta") if isinstance(module, nn.modules.batchnorm._BatchNorm) else ("W", "b")
    parameters = dict(module.named_parameters())
    pairs = zip(letters, ("weight", "bias"), strict=True)
    return {letter: parameters[name] for letter, name in pairs if name in parameters}


def modules(problem: Problem) -> Iterator[nn.Module]:
    """PyTorch's modules for the layers of the network."""
    dtype = getattr(torch, problem.workload.dtype)
    for summary in problem.summary:
        layer, width = summary.layer, summary.in_shape[-1]
        match layer:
            case layers.Dense():
                yield nn.Linear(width, layer.units, layer.bias, dtype=dtype)
            case layers.Conv2D():
                yield nn.Conv2d(width, layer.filters, layer.kernel_size, bias=layer.bias, dtype=dtype)
            case layers.BatchNorm():
                kind = nn.BatchNorm1d if len(summary.in_shape) == 1 else nn.BatchNorm2d
                yield kind(width, layer.eps, layer.momentum, dtype=dtype)
            case layers.MaxPool2D():
                yield nn.MaxPool2d(layer.pool_size)
            case layers.Flatten():
                yield nn.Flatten()
            case layers.Dropout():
                yield nn.Dropout(layer.rate)
            case layers.ReLU():
                yield nn.ReLU()
            case layers.Sigmoid():
                yield nn.Sigmoid()


make = Torch
