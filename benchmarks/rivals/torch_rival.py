"""PyTorch as its guides write it: modules, autograd, torch.optim; on a GPU also CUDA graphs and torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.workloads import Problem
from nnbackprop.nn.layers.base import Params

WARM_UP = 3
"""Steps before a capture, as PyTorch's guide to CUDA graphs asks for."""


class Torch:
    """`nn.Sequential`, `backward()`, `step()`.

    `fused` asks the optimizer for its one-pass form, `compiled` also torch.compile for its mode for small steps,
    and `graph_steps` captures so many whole steps as one CUDA graph.
    """

    def __init__(
        self, problem: Problem, fused: bool = False, compiled: bool = False, graph_steps: int = 0
    ) -> None:
        torch.set_float32_matmul_precision("high" if problem.tf32 else "highest")
        self.problem, self.device, self.graph_steps = problem, torch.device(problem.device), graph_steps
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.net = nn.Sequential(*modules(problem)).to(self.device)
        self.x = torch.from_numpy(problem.x).to(self.device)
        self.t = torch.from_numpy(np.array(problem.t)).to(self.device)
        if not problem.workload.sigmoid:
            self.t = self.t.long()
        self.optimizer = self.make_optimizer(fused or compiled)
        self.loss: Any = torch.compile(self.plain_loss, mode="reduce-overhead") if compiled else self.plain_loss
        self.graph: Any = None

    def make_optimizer(self, fused: bool) -> torch.optim.Optimizer:
        """SGD or Adam; the weights alone are decayed by L2."""
        workload = self.problem.workload
        dense = [m for m in self.net if isinstance(m, nn.Linear)]
        weights, biases = [m.weight for m in dense], [m.bias for m in dense if m.bias is not None]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": workload.l2}, {"params": biases}]
        kind: Any = torch.optim.Adam if workload.adam else torch.optim.SGD
        options = {"eps": workload.epsilon, "capturable": bool(self.graph_steps)} if workload.adam else {}
        return kind([g for g in groups if g["params"]], lr=workload.lr, fused=fused or None, **options)

    def plain_loss(self, rows: torch.Tensor) -> torch.Tensor:
        """J of the samples `rows`."""
        y, t = self.net(self.x[rows]), self.t[rows]
        if self.problem.workload.sigmoid:
            return ((y - t) ** 2).sum() / (2 * len(t))
        return nn.functional.cross_entropy(y, t)

    def step(self, rows: torch.Tensor) -> None:
        """The usual four lines."""
        self.optimizer.zero_grad()
        J = self.loss(rows)
        J.backward()
        self.optimizer.step()

    def prepare(self, rows: np.ndarray) -> list[torch.Tensor]:
        """A tensor a batch, or a replay of the graph."""
        moved = torch.from_numpy(rows.astype(np.int64)).to(self.device)
        if not self.graph_steps:
            return list(moved)
        if self.graph is None:
            self.capture(moved[: self.graph_steps])
        return list(moved.reshape(-1, self.graph_steps, moved.shape[1]))

    def run(self, batches: list[torch.Tensor]) -> None:
        for rows in batches:
            if self.graph is None:
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
        """Transposed, as `nn.Linear` keeps (out, in)."""
        named = (m.named_parameters() for m in self.net if isinstance(m, nn.Linear))
        letters = {"weight": "W", "bias": "b"}
        return tuple({letters[name]: p.detach().cpu().numpy().T.copy() for name, p in each} for each in named)


def modules(problem: Problem) -> Iterator[nn.Module]:
    """The layers with their first weights."""
    workload, last = problem.workload, len(problem.weights) - 1
    for k, layer in enumerate(problem.weights):
        if workload.dropout[k]:
            yield nn.Dropout(workload.dropout[k])
        linear = nn.Linear(
            layer["W"].shape[0], layer["W"].shape[1], bias="b" in layer, dtype=getattr(torch, workload.dtype)
        )
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.array(layer["W"].T)))
            if "b" in layer:
                linear.bias.copy_(torch.from_numpy(np.array(layer["b"])))
        yield linear
        if workload.sigmoid:
            yield nn.Sigmoid()
        elif k < last:
            yield nn.ReLU()


make = Torch
