"""Which step and which layer first made a number that is not finite: a replay that looks everywhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends import Tree, tree_map
from nnbackprop.data.batches import fetch
from nnbackprop.errors import DivergedError
from nnbackprop.network import Params
from nnbackprop.random import Draw

from .step import TrainingStep

SHARE = 20  # a snapshot may cost 1/20 of the time between snapshots


@dataclass
class Snapshot:
    """A copy of the state to replay from, renewed as often as its cost allows."""

    step: TrainingStep
    state: Tree = None
    epoch: int = 0
    samples: int = 0
    at: int = 0
    cost: float = 0.0
    taken: float = 0.0

    def renew(self, state: Tree, epoch: int, samples: int, at: int) -> None:
        """Copy `state`, which stands before step `at`, if the last copy is old enough."""
        begin = time.perf_counter()
        if self.state is not None and begin - self.taken < SHARE * self.cost:
            return
        self.state = tree_map(lambda a: self.step.xp.asarray(a, copy=True), state)
        self.epoch, self.samples, self.at = epoch, samples, at
        self.taken = time.perf_counter()
        self.cost = self.taken - begin


def explain_divergence(
    snapshot: Snapshot, data: Tree, xs: Iterable[Tree], names: tuple[str, ...], seen: int
) -> DivergedError:
    """Replay the single steps `xs` from the snapshot; masks and batches repeat, so the fault does too.

    `names` are the layers', `seen` is the number of the step after which the fault was noticed.
    """
    with np.errstate(all="ignore"):  # NumPy would warn of what is looked for
        return _error(_replay(snapshot, data, xs, names, seen))


def _replay(snapshot: Snapshot, data: Tree, xs: Iterable[Tree], names: tuple[str, ...], seen: int) -> str:
    state, step = snapshot.state, snapshot.step
    for number, x in enumerate(xs, start=snapshot.at + 1):
        if found := _first_fault(step, names, state["params"], data, x):
            return f"Step {number}: {found}"
        state = step(state, data, x)
        if found := _unfinite_params(step.xp, names, state["params"], "after the update"):
            return f"Step {number}: {found}"
        if number >= seen:
            break
    return f"By step {seen} the loss was no finite number (a replay from step {snapshot.at} did not show where)"


def _first_fault(step: TrainingStep, names: tuple[str, ...], params: Params, data: Tree, x: Tree) -> str | None:
    """The first non-finite array of a step, in words, in the order in which the step makes them."""
    xp, objective = step.xp, step.objective
    inputs, labels = fetch(xp, data, x)
    if not _finite(xp, inputs):
        return "the inputs hold a value that is not finite"
    if found := _unfinite_params(xp, names, params, "before the step"):
        return found
    y, caches, draw = inputs, [], Draw(step.seed, x["step"])
    for i, (layer, p) in enumerate(zip(objective.network.layers, params, strict=True)):
        y, cache = layer.forward(xp, p, y, draw.at(i))
        caches.append(cache)
        if not _finite(xp, y):
            return f"the output of layer {names[i]} is not finite"
    J, dy = objective.loss(xp, y, objective.targets(xp, y, labels))
    if not _finite(xp, objective.penalised(xp, params, J)):
        return f"the loss is not finite, though the outputs of the last layer, {names[-1]}, are"
    return _backward_fault(step, names, params, tuple(caches), dy)


def _backward_fault(
    step: TrainingStep, names: tuple[str, ...], params: Params, caches: tuple, dy: Any
) -> str | None:
    """The same on the way back."""
    xp = step.xp
    for i in range(len(params) - 1, -1, -1):
        dy, grads = step.objective.network.layers[i].backward(xp, params[i], caches[i], dy, True)
        for name, gradient in grads.items():
            if not _finite(xp, gradient):
                return f"the gradient of {name} of layer {names[i]} is not finite"
    return None


def _unfinite_params(xp: Any, names: tuple[str, ...], params: Params, when: str) -> str | None:
    for layer, tensors in zip(names, params, strict=True):
        for name, tensor in tensors.items():
            if not _finite(xp, tensor):
                return f"{name} of layer {layer} is not finite {when}"
    return None


def _finite(xp: Any, array: Any) -> bool:
    return bool(xp.all(xp.isfinite(array)))


def _error(what: str) -> DivergedError:
    return DivergedError(
        f"Training diverged. {what}. The learning rate is the usual cause: try a tenth of it (--lr), "
        "or limit the gradient (--clip-norm 1). The last good checkpoint was kept."
    )
