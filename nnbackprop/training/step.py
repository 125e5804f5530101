"""One training step, top to bottom: batch, forward, loss, backward, update. Nothing else happens in a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from backends import Backend, Tree, device_of, leaves
from nnbackprop.data.loader import batch_size, get_batch, microbatch
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import Loss, one_hot
from nnbackprop.nn.metrics import count_correct
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Optimizer

Array = Any


class Clip(Protocol):
    """Gradient clipping: a function of the gradients alone, such as one of `optimizers.clipping`."""

    def __call__(self, xp: Any, grads: Params) -> Params:
        """Clipped gradients."""


@dataclass(frozen=True)
class Objective:
    """What is minimised: J = loss(network(x), t) + penalty(params); targets are made from labels on the way.

    `off` and `on` are the target values of the wrong and the right class for losses that take targets.
    """

    network: Sequential
    loss: Loss
    penalty: WeightPenalty | None = None
    off: float = 0.0
    on: float = 1.0

    @property
    def threshold(self) -> float:
        """From which value on a single output says class 1: a logit's 0, or halfway between the targets."""
        return 0.0 if self.loss.threshold == 0.0 else (self.off + self.on) / 2

    def targets(self, xp: Any, y: Array, labels: Array) -> Array:
        """What the loss compares outputs y (n, k) with: labels (n,), or a row of `off` and `on` each."""
        if self.loss.labels:
            return labels
        if y.shape[1] == 1:  # one output says how much of class 1 a sample is
            return one_hot(xp, labels, 2, y.dtype, self.off, self.on)[:, 1:]
        return one_hot(xp, labels, y.shape[1], y.dtype, self.off, self.on)

    def value(self, xp: Any, params: Params, x: Array, labels: Array, draw: RngKey | None) -> tuple[Array, Array]:
        """J and the outputs y (n, k)."""
        y, _ = self.network.forward(xp, params, x, draw)
        J, _ = self.loss(xp, y, self.targets(xp, y, labels))
        return self.penalised(xp, params, J), y

    def gradients(
        self, xp: Any, params: Params, x: Array, labels: Array, draw: RngKey | None, need_dx: bool = False
    ) -> tuple[Array, Array, Array | None, Params]:
        """J, the outputs y (n, k), dJ/dx where asked for, and dJ/dparams (derivation, D29)."""
        y, caches = self.network.forward(xp, params, x, draw)
        J, dy = self.loss(xp, y, self.targets(xp, y, labels))
        dx, grads = self.network.backward(xp, params, caches, dy, need_dx)
        if self.penalty:
            grads = self.penalty.gradients(xp, self.network, params, grads)
        return self.penalised(xp, params, J), y, dx, grads

    def penalised(self, xp: Any, params: Params, J: Array) -> Array:
        """The loss of the batch plus the penalty on the weights (derivation, D28)."""
        return J + self.penalty.loss(xp, self.network, params) if self.penalty else J


def zero_sums(xp: Any, params: Params) -> Tree:
    """Sums of loss and right answers at zero, on the parameters' device."""
    like = leaves(params)[0]
    return {
        "loss": xp.zeros((), dtype=like.dtype, device=device_of(like)),
        "correct": xp.zeros((), dtype=xp.int32, device=device_of(like)),
    }


@dataclass(frozen=True, eq=False)
class TrainStep:
    """`state, data, x -> state`, for `Backend.scan`: x holds the batch, the step's number and its scalars.

    A batch is worked through in `parts`, one where memory allows.
    """

    xp: Any
    objective: Objective
    optimizer: Optimizer
    clip: Clip | None
    seed: int
    parts: int = 1

    @cached_property
    def telling(self) -> NormsTrainStep:
        """The same step, which leaves its gradients' norms in the state."""
        return NormsTrainStep(self)

    def run(self, backend: Backend, state: Tree, data: Tree, xs: Tree) -> Tree:
        """All steps of a chunk, of which the last tells its gradients' norms."""
        return backend.scan(self, state, data, xs, last=self.telling)

    def begin(self, params: Params) -> Tree:
        """The state before the first step."""
        like, trained = leaves(params)[0], sum(bool(layer) for layer in params)
        return {
            "params": params,
            "optimizer": self.optimizer.init(self.xp, params),
            "norms": self.xp.zeros((trained,), dtype=like.dtype, device=device_of(like)),
            **zero_sums(self.xp, params),
        }

    def clear(self, state: Tree) -> Tree:
        """The same state with its sums at zero."""
        return {**state, **zero_sums(self.xp, state["params"])}

    def look(self, state: Tree) -> Array:
        """What a chunk has to show, in one array so that it takes one wait for the device.

        Sum of losses, right answers, 1 if losses and parameters are finite else 0, and the norm of the last
        gradient of each layer with parameters.
        """
        xp, loss, norms = self.xp, state["loss"], state["norms"]
        finite = [xp.all(xp.isfinite(a)) for a in (loss, norms, *leaves(state["params"]))]
        counts = [xp.astype(a, loss.dtype) for a in (state["correct"], xp.all(xp.stack(finite)))]
        return xp.concat([xp.stack([loss, *counts]), norms])

    def __call__(self, state: Tree, data: Tree, x: Tree) -> Tree:
        """One update of the parameters by the gradients of one batch (derivation, D22)."""
        sums, grads = self.gradients(state, data, x)
        return self.update({**state, **sums}, grads, x)

    def gradients(self, state: Tree, data: Tree, x: Tree) -> tuple[Tree, Params]:
        """The sums with the batch's loss and right answers added, and its gradients.

        Those of a batch's parts, each weighed by its share of the samples, sum to its own, penalties included.
        """
        n = batch_size(data, x)
        size = -(-n // self.parts)
        if size == n:
            return self._part(state, data, x, 0)
        sums: Tree = {}
        grads: Params = ()
        for row in range(0, n, size):
            rows = microbatch(data, x, row, min(row + size, n))
            sums, part = self._part({**state, **sums}, *rows, row)
            share = batch_size(*rows) / n
            grads = tuple(
                {name: g * share if before is None else before[name] + g * share for name, g in layer.items()}
                for before, layer in zip(grads or [None] * len(part), part, strict=True)
            )
        return sums, grads

    def _part(self, state: Tree, data: Tree, x: Tree, row: int) -> tuple[Tree, Params]:
        """The same of the rows of a batch from `row` on, whose masks depend on where they stand in it."""
        xp = self.xp
        inputs, labels, _ = get_batch(xp, data, x)
        draw = RngKey(self.seed, x["step"], row)
        J, y, _, grads = self.objective.gradients(xp, state["params"], inputs, labels, draw)
        return {
            "loss": state["loss"] + J * labels.shape[0],
            "correct": state["correct"] + count_correct(xp, y, labels, self.objective.threshold),
        }, grads

    def update(self, state: Tree, grads: Params, x: Tree) -> Tree:
        """The state with its parameters updated by `grads`, which are given away."""
        grads = self.clip(self.xp, grads) if self.clip else grads
        moved = self.optimizer.step(self.xp, state["params"], grads, state["optimizer"], x["scalars"])
        return {**state, "params": moved[0], "optimizer": moved[1]}


@dataclass(frozen=True, eq=False)
class NormsTrainStep:
    """A training step after which the state holds the norm of each layer's gradients, before any clipping.

    A step of its own, so that no norm is taken in steps nobody looks at.
    """

    step: TrainStep

    def __call__(self, state: Tree, data: Tree, x: Tree) -> Tree:
        """One update, and the norms of what it was made by."""
        sums, grads = self.step.gradients(state, data, x)
        return self.step.update({**state, **sums, "norms": self.norms(grads)}, grads, x)

    def norms(self, grads: Params) -> Array:
        """||g|| of all gradients g of a layer, for each layer with parameters."""
        xp = self.step.xp
        flat = [[xp.reshape(g, (-1,)) for g in layer.values()] for layer in grads if layer]
        return xp.stack([xp.sqrt(sum(xp.matmul(g, g) for g in layer)) for layer in flat])


@dataclass(frozen=True, eq=False)
class EvalStep:
    """`state, data, x -> state` over batches in evaluation mode: sums of loss and right answers, no update.

    The parameters are among the `data`: a state is donated, and they must outlive the evaluation.
    """

    xp: Any
    objective: Objective

    def __call__(self, state: Tree, data: Tree, x: Tree) -> Tree:
        """Add one batch to the sums."""
        xp = self.xp
        inputs, labels, _ = get_batch(xp, data, x)
        J, y = self.objective.value(xp, data["params"], inputs, labels, None)
        return {
            "loss": state["loss"] + J * labels.shape[0],
            "correct": state["correct"] + count_correct(xp, y, labels, self.objective.threshold),
        }
