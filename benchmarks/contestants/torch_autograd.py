"""PyTorch as its users write it: modules, autograd, an optimizer of torch.optim."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.works import Problem
from nnbackprop.nn.layers.base import Params


class Torch:
    """`nn.Sequential`, `backward()`, `step()`; `fused` asks the optimizer for its one-pass form."""

    def __init__(self, problem: Problem, chunk: int, fused: bool) -> None:
        self.problem = problem
        self.net = nn.Sequential(*_modules(problem))
        self.x, self.t = torch.from_numpy(problem.x), torch.from_numpy(np.array(problem.t))
        if not problem.squared:
            self.t = self.t.long()
        weights = [m.weight for m in self.net if isinstance(m, nn.Linear)]
        biases = [m.bias for m in self.net if isinstance(m, nn.Linear) and m.bias is not None]
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": problem.config.l2}, {"params": biases}]
        kind: Any = torch.optim.SGD if problem.config.optimizer == "sgd" else torch.optim.Adam
        self.optimizer = kind([g for g in groups if g["params"]], lr=problem.config.lr, fused=fused or None)

    def run(self, at: int, steps: int) -> None:
        """The usual five lines."""
        for rows in torch.from_numpy(self.problem.batches(at, steps)):
            y = self.net(self.x[rows])
            t = self.t[rows]
            J = ((y - t) ** 2).sum() / (2 * len(t)) if self.problem.squared else nn.functional.cross_entropy(y, t)
            self.optimizer.zero_grad()
            J.backward()
            self.optimizer.step()

    def weights(self) -> Params:
        """Transposed, as `nn.Linear` keeps (out, in)."""
        return tuple(_named(m) for m in self.net if isinstance(m, nn.Linear))


def _modules(problem: Problem) -> Iterator[nn.Module]:
    config, last = problem.config, len(problem.weights) - 1
    for k, layer in enumerate(problem.weights):
        if any(config.dropout):
            yield nn.Dropout(config.dropout[k])
        features, units = layer["W"].shape
        linear = nn.Linear(features, units, bias="b" in layer, dtype=getattr(torch, config.dtype))
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.array(layer["W"].T)))
            if "b" in layer:
                linear.bias.copy_(torch.from_numpy(np.array(layer["b"])))
        yield linear
        if problem.squared:
            yield nn.Sigmoid()
        elif k < last:
            yield nn.ReLU()


def _named(linear: nn.Linear) -> dict[str, np.ndarray]:
    named = {"W": linear.weight.detach().numpy().T.copy()}
    return named if linear.bias is None else {**named, "b": linear.bias.detach().numpy().copy()}


make = Torch
