"""Which step and which layer first made a number that is not finite: a replay that looks everywhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from backends import Tree, tree_map
from nnbackprop.data.loader import get_batch
from nnbackprop.errors import DivergedError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.rng import RngKey
from nnbackprop.training.step import TrainStep

SHARE = 100  # a snapshot may cost 1/100 of the time between snapshots

Kind = Literal["inputs", "parameters", "output", "loss", "gradient", "watched"]
"""What was not finite first; `watched` is the loss of a part that is only judged."""


@dataclass(frozen=True)
class NotFinite:
    """Where a run ceased to be finite: the step that made it so, what, of which layer, and that in words."""

    step: int
    kind: Kind
    words: str
    layer: str | None = None
    kept: bool = True  # whether the last checkpoint is from before it

    @property
    def advice(self) -> str:
        """What is likely to mend it."""
        if self.kind == "inputs":
            return "The data holds it, or its scaling makes it: repair or leave out those samples."
        mend = "try a tenth of it (--lr), or limit the gradient (--clip-norm 1)"
        return f"The learning rate is the usual cause: {mend}."

    def error(self) -> DivergedError:
        """The same as an error."""
        kept = " The last good checkpoint was kept." if self.kept else ""
        return DivergedError(f"Training diverged. {self.words}. {self.advice}{kept}")


@dataclass
class Snapshot:
    """A copy of the state to replay from, renewed as often as its cost allows."""

    step: TrainStep
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
        self.state = state
        self.state = self.copy()
        self.epoch, self.samples, self.at = epoch, samples, at
        self.taken = time.perf_counter()
        self.cost = self.taken - begin

    def copy(self) -> Tree:
        """A copy of the copy, to be given to a step."""
        return tree_map(lambda a: self.step.xp.asarray(a, copy=True), self.state)


def find_fault(snapshot: Snapshot, data: Tree, xs: Iterable[Tree], names: tuple[str, ...], seen: int) -> NotFinite:
    """Replay the single steps `xs` from the snapshot; masks and batches repeat, so the fault does too.

    `names` are the layers', `seen` is the number of the step after which the fault was noticed.
    """
    state, step = snapshot.copy(), snapshot.step
    with np.errstate(all="ignore"):  # NumPy would warn of what is looked for
        for number, x in enumerate(xs, start=snapshot.at + 1):
            found = _Search(step, names, number).before(state["params"], data, x)
            if found:
                return found
            state = step(state, data, x)
            found = _Search(step, names, number).parameters(state["params"], "after the update")
            if found:
                return found
            if number >= seen:
                break
    unseen = f"a replay from step {snapshot.at} did not show where"
    return NotFinite(seen, "loss", f"By step {seen} the loss was no finite number ({unseen})")


@dataclass(frozen=True)
class _Search:
    """Looks through one step for its first array that is not finite, in the order in which the step makes them."""

    step: TrainStep
    names: tuple[str, ...]
    number: int

    def before(self, params: Params, data: Tree, x: Tree) -> NotFinite | None:
        """Inputs, parameters, then the way forward and back."""
        inputs, labels, _ = get_batch(self.step.xp, data, x)
        if not self.finite(inputs):
            return self.found("inputs", "the inputs hold a value that is not finite")
        return self.parameters(params, "before the step") or self.forward(params, inputs, labels, x["step"])

    def forward(self, params: Params, inputs: Any, labels: Any, step: Any) -> NotFinite | None:
        """Each layer's output, and the loss."""
        xp, objective = self.step.xp, self.step.objective
        y, caches, draw = inputs, [], RngKey(self.step.seed, step)
        for i, (layer, p) in enumerate(zip(objective.network.layers, params, strict=True)):
            y, cache = layer.forward(xp, p, y, draw.at(i))
            caches.append(cache)
            if not self.finite(y):
                name = self.names[i]
                return self.found("output", f"the output of layer {name} is not finite", name)
        J, dy = objective.loss(xp, y, objective.targets(xp, y, labels))
        if not self.finite(objective.penalised(xp, params, J) * labels.shape[0]):
            outputs = f"though the outputs of the last layer, {self.names[-1]}, are"
            return self.found("loss", f"the sum of the batch's losses is not finite, {outputs}", self.names[-1])
        return self.backward(params, tuple(caches), dy)

    def backward(self, params: Params, caches: tuple, dy: Any) -> NotFinite | None:
        """Each layer's gradients."""
        for i in range(len(params) - 1, -1, -1):
            layer, name = self.step.objective.network.layers[i], self.names[i]
            dy, grads = layer.backward(self.step.xp, params[i], caches[i], dy, True)
            for tensor, gradient in grads.items():
                if not self.finite(gradient):
                    return self.found("gradient", f"the gradient of {tensor} of layer {name} is not finite", name)
                if not self.finite(self.step.xp.sum(gradient * gradient)):
                    what = f"the norm of the gradient of {tensor} of layer {name} is not finite"
                    return self.found("gradient", what, name)
        return None

    def parameters(self, params: Params, when: str) -> NotFinite | None:
        """Each layer's parameters."""
        for name, tensors in zip(self.names, params, strict=True):
            for tensor, values in tensors.items():
                if not self.finite(values):
                    return self.found("parameters", f"{tensor} of layer {name} is not finite {when}", name)
        return None

    def found(self, kind: Kind, what: str, layer: str | None = None) -> NotFinite:
        return NotFinite(self.number, kind, f"Step {self.number}: {what}", layer)

    def finite(self, array: Any) -> bool:
        xp = self.step.xp
        return bool(xp.all(xp.isfinite(array)))
