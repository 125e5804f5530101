"""The step and the layer in which a run first became NaN or infinite: a replay that checks every array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from backends import Array, Tree
from nnbackprop.data.loader import get_batch
from nnbackprop.errors import DivergedError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.rng import RngKey
from nnbackprop.training.step import TrainStep
from nnbackprop.training.trainer import Trainer

Kind = Literal["inputs", "parameters", "output", "loss", "gradient", "evaluation"]
"""What was NaN or infinite first; `evaluation` is the loss of an evaluated part."""

SAFE_LR = 0.01  # to start with, where a rate is beyond any that people use


@dataclass(frozen=True)
class NotFinite:
    """What became NaN or infinite first: the step, the kind of array, its layer, and that as a sentence."""

    step: int
    kind: Kind
    text: str
    layer: str | None = None
    lr: float | None = None  # of that step

    def error(self) -> DivergedError:
        """The same as an error, with what to do."""
        if self.kind == "inputs":
            advice = "The data or its scaling is the cause: repair or leave out those samples."
        else:
            rate = "a tenth of it (--lr)" if self.lr is None else f"--lr {lower_lr(self.lr):.2g}"
            advice = f"The learning rate is the usual cause: try {rate}, or limit the gradient (--clip-norm 1)."
        return DivergedError(f"Training diverged. {self.text} {advice}", self.step, self.kind == "evaluation")


def lower_lr(lr: float) -> float:
    """A learning rate to try after one too high: a tenth, and not above 1/100 after one above 1."""
    return lr / 10 if lr <= 1 else SAFE_LR


def trace_nan(trainer: Trainer, error: DivergedError | None = None) -> NotFinite:
    """Replay a trainer that has raised `error` from its snapshot, step by step and layer by layer.

    Batches and dropout masks repeat, so the step that failed fails again. Memory is used as in training.
    """
    if error is not None and error.in_evaluation:
        return NotFinite(
            error.step, "evaluation", f"After step {error.step} the loss in evaluation is not finite."
        )
    begin, step, data = trainer.snapshot.progress.step, trainer.step, trainer.loader.data
    last = error.step if error else trainer.progress.step + trainer.batch_schedule.length
    state, lr = trainer.snapshot.copy(), None
    with np.errstate(all="ignore"):  # the replay overflows as the run did
        for number, x in enumerate(trainer.steps_since_snapshot(), start=begin + 1):
            if number > last:
                break
            lr = float(trainer.backend.to_numpy(x["scalars"]["lr"]))
            if found := _before_update(step, state["params"], data, x):
                return _not_finite(number, lr, *found)
            state = step(state, data, x)
            if found := _parameters(step, state["params"], "after the update"):
                return _not_finite(number, lr, *found)
    text = f"By step {last} the loss became NaN or infinite; a replay from step {begin} does not show where."
    return NotFinite(last, "loss", text, lr=lr)


Found = tuple[Kind, str, str | None]
"""What is not finite, that in words, and its layer."""


def _not_finite(step: int, lr: float, kind: Kind, text: str, layer: str | None) -> NotFinite:
    return NotFinite(step, kind, f"Step {step}: {text}.", layer, lr if math.isfinite(lr) else None)


def _before_update(step: TrainStep, params: Params, data: Tree, x: Tree) -> Found | None:
    """The first array of a step that is not finite, in the order in which the step computes them."""
    if found := _parameters(step, params, "before the step"):
        return found
    for row0, *part in step.split(data, x):
        found = _in_batch(step, params, *get_batch(step.xp, *part), RngKey(step.seed, x["step"], row0))
        if found:
            return found
    return None


def _in_batch(
    step: TrainStep, params: Params, inputs: Array, targets: Array, weights: Array | None, key: RngKey
) -> Found | None:
    xp, objective = step.xp, step.objective
    if not _finite(xp, inputs):
        return "inputs", "the inputs hold NaN or infinity", None
    trace = objective.network.trace(xp, params, inputs, key)
    for layer in trace.layers:
        if not _finite(xp, layer.y):
            return "output", f"the output of layer {layer.name} is not finite", layer.name
    J, dy = objective.loss(xp, trace.y, objective.loss.encode(xp, trace.y, targets), weights)
    total = targets.shape[0] if weights is None else xp.sum(weights)
    if not _finite(xp, objective.penalised(xp, params, J) * total):
        name = trace.layers[-1].name
        return "loss", f"the loss is not finite, though the output of the last layer, {name}, is", name
    for layer, _, _, grads in trace.backward(xp, dy):
        for tensor, gradient in grads.items():
            if not _finite(xp, gradient):
                return "gradient", f"the gradient of {tensor} of layer {layer.name} is not finite", layer.name
            if not _finite(xp, xp.sum(gradient * gradient)):
                text = f"the norm of the gradient of {tensor} of layer {layer.name} is not finite"
                return "gradient", text, layer.name
    return None


def _parameters(step: TrainStep, params: Params, when: str) -> Found | None:
    for name, _, tensors in step.objective.network.named_layers(params):
        for tensor, values in tensors.items():
            if not _finite(step.xp, values):
                return "parameters", f"{tensor} of layer {name} is not finite {when}", name
    return None


def _finite(xp: Any, array: Array) -> bool:
    return bool(xp.all(xp.isfinite(array)))
