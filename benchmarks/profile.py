"""Where a step's microseconds go: the training step written out, with a reading of the clock after each piece."""

from __future__ import annotations

import time
from collections import defaultdict
from statistics import median

from backends import Tree
from nnbackprop.data.loader import get_batch
from nnbackprop.errors import UsageError
from nnbackprop.nn.rng import RngKey
from nnbackprop.training.step import TrainStep, add_batch

from .rivals.nnbackprop_steps import Ours
from .workloads import WORKLOADS, Problem

BACKENDS = ("numpy", "torch")
"""Where a call returns when its work is done; a compiled step of JAX's has no pieces to time."""

SECONDS = 3.0
"""How long to train, unless two chunks take longer."""


class TimedStep:
    """What `TrainStep` does with a batch of plain layers, to the bit; seconds by piece, summed."""

    def __init__(self, step: TrainStep) -> None:
        self.step, self.seconds = step, defaultdict[str, float](float)
        self.with_norms = self  # no norms are taken
        self.last = 0.0

    def mark(self, name: str) -> None:
        """Add the time since the last mark to a piece."""
        now = time.perf_counter()
        self.seconds[name] += now - self.last
        self.last = now

    def __call__(self, state: Tree, data: Tree, x: Tree) -> Tree:
        self.last = time.perf_counter()
        step, xp, params = self.step, self.step.xp, state["params"]
        network, loss, penalty = step.objective.network, step.objective.loss, step.objective.penalty
        layers = list(zip(network.names, network.layers, params, strict=True))
        y, targets, weights = get_batch(xp, data, x)
        self.mark("batch")
        key, caches = RngKey(step.seed, x["step"]), []
        for i, (name, layer, p) in enumerate(layers):
            y, cache = layer.forward(xp, p, y, key.at(i))
            caches.append(cache)
            self.mark(f"{name} forward")
        J, dy = loss(xp, y, loss.encode(xp, y, targets), weights)
        self.mark("loss")
        first, grads = next(i for i, p in enumerate(params) if p), list[Tree]({} for _ in params)
        for i in range(len(layers) - 1, first - 1, -1):
            name, layer, p = layers[i]
            dy, grads[i] = layer.backward(xp, p, caches[i], dy, i > first)
            self.mark(f"{name} backward")
        if penalty:
            J, grads = (
                step.objective.penalised(xp, params, J),
                penalty.gradients(xp, network, params, tuple(grads)),
            )
            self.mark("penalty")
        sums = add_batch(xp, step.metrics, state["sums"], J, y, targets, weights)
        self.mark("sums of loss and metrics")
        params, optimizer = step.optimizer.step(xp, params, tuple(grads), state["optimizer"], x["scalars"])
        self.mark("optimizer")
        return {**state, "params": params, "optimizer": optimizer, "sums": sums}


def profile(name: str, backend: str = "numpy") -> dict[str, float]:
    """Microseconds of a step by piece, medians over chunks; UsageError where steps have no pieces."""
    if backend not in BACKENDS:
        raise UsageError(
            f"A step on {backend} is compiled whole, or runs while its caller goes on: it has no pieces to time. "
            f"Choose --backend {' or '.join(BACKENDS)}."
        )
    ours, chunk, rows = Ours(Problem.of(WORKLOADS[name]), backend), WORKLOADS[name].chunk, list[dict[str, float]]()
    ours.step = timed = TimedStep(ours.step)
    begin = time.perf_counter()
    while len(rows) < 3 or time.perf_counter() - begin < SECONDS:
        batches = ours.prepare(ours.problem.rows(len(rows) * chunk, chunk))
        timed.seconds.clear()
        since = time.perf_counter()
        ours.run(batches)
        whole = time.perf_counter() - since
        rows.append({**timed.seconds, "between steps": whole - sum(timed.seconds.values())})
    return {piece: 1e6 * median(row[piece] for row in rows[1:]) / chunk for piece in rows[0]}  # the first warms up


def table(found: dict[str, float]) -> str:
    """A row a piece, and the sum."""
    whole = sum(found.values())
    rows = [f"| {piece} | {us:,.1f} | {us / whole:.2%} |" for piece, us in found.items()]
    return "\n".join(["| | µs a step | share |", "|---|--:|--:|", *rows, f"| all | {whole:,.1f} | |"])
