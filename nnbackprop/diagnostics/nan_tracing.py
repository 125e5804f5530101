"""The step and the layer in which a run first became NaN or infinite: a replay that checks every array."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from backends import Array, Tree
from nnbackprop.errors import DivergedError, UsageError
from nnbackprop.nn.layers.base import Params
from nnbackprop.training.step import TrainStep
from nnbackprop.training.trainer import Trainer

Kind = Literal["inputs", "parameters", "output", "loss", "gradient", "evaluation"]
"""What was NaN or infinite first; `evaluation` is the loss of the validation or test part."""

SAFE_LR = 0.01  # to try after a learning rate above 1


@dataclass(frozen=True)
class NanOrigin:
    """What became NaN or infinite first: the kind of array, its step and layer, and that as a sentence."""

    step: int
    kind: Kind
    text: str
    layer: str | None = None
    lr: float | None = None  # of that step
    beyond_float16: bool = False  # a gradient of the first step, in a network that computes in float16

    def error(self, lr: str | None = None) -> DivergedError:
        """As an error that says what to do: by settings of a run, `lr` and others, else by code."""
        if self.kind == "inputs":
            advice = "The data or its scaling is the cause: correct or remove those samples."
        elif self.beyond_float16:
            advice = (
                "The targets or the loss are too large for float16: scale the targets, or take dtype='bfloat16'."
            )
        else:
            lower = "a tenth of it" if self.lr is None else f"lr={lower_lr(self.lr):.2g}"
            clipping = "clip_norm=1" if lr else "GradientClipping(optimizer, norm=1)"
            advice = f"The usual cause is the learning rate: try {lr or lower}, or {clipping}."
        return DivergedError(f"Training diverged. {self.text} {advice}", self.step, self.kind == "evaluation")


def lower_lr(lr: float) -> float:
    """A learning rate to try after one too high: a tenth, or SAFE_LR after one above 1."""
    return lr / 10 if lr <= 1 else SAFE_LR


def trace_nan(trainer: Trainer, error: DivergedError) -> NanOrigin:
    """The first array that became NaN or infinite in a trainer whose `fit` raised `error`.

    Repeats the steps from the trainer's last snapshot to `error.step`, with the same batches, microbatches and
    dropout masks, and checks the arrays of each in the order of their computation. The trainer is not changed.

    Raises:
        UsageError: the trainer has no snapshot, as its state or parameters were loaded since.
    """
    if error.in_evaluation:
        text = f"After step {error.step} the loss in evaluation is NaN or infinite."
        return NanOrigin(error.step, "evaluation", text)
    if trainer.snapshot.state is None:
        raise UsageError(
            "trace_nan repeats the steps since the trainer's last snapshot, and it has none: its state was "
            "loaded, or it was never fit. Call trace_nan where fit raised, before load_state_dict or load_params."
        )
    first = trainer.snapshot.progress.step
    reason = f"a replay from step {first} on did not"
    try:
        with np.errstate(all="ignore"), trainer.backend.memory_errors():  # the replay overflows as the run did
            if found := _replay(trainer, first, error.step):
                return found
    except MemoryError:
        reason = "memory ran out in the replay that would name the layer"
    return NanOrigin(error.step, "loss", f"By step {error.step} the loss became NaN or infinite; {reason}.")


def _replay(trainer: Trainer, first: int, last: int) -> NanOrigin | None:
    """The steps from `first`, where the snapshot was taken, to `last`; None if all is finite."""
    step, data, state = trainer.train_step, trainer.device_data.arrays, trainer.snapshot.copy_state()
    batches = islice(trainer.snapshot.batches(trainer.batch_schedule), last - first)
    for number, batch in enumerate(batches, start=first + 1):
        found = _first_not_finite(step.xp, _before_update(step, state["params"], data, batch))
        if not found:
            state = step(state, data, batch)
            found = _first_not_finite(step.xp, _parameters(step, state["params"], "after the update"))
        if found:
            kind, name, layer = found
            lr = float(trainer.backend.to_numpy(batch["scalars"]["lr"]))
            text = f"Step {number}: {name} is NaN or infinite."
            beyond_float16 = kind == "gradient" and number == 1 and trainer.dtype == "float16"
            return NanOrigin(number, kind, text, layer, lr if math.isfinite(lr) else None, beyond_float16)
    return None


Named = tuple[Kind, str, str | None]
"""The kind of an array, what it is, and its layer."""


def _first_not_finite(xp: Any, arrays: Iterator[tuple[Named, Array]]) -> Named | None:
    """The first array that holds NaN or infinity."""
    return next((named for named, array in arrays if not bool(xp.all(xp.isfinite(array)))), None)


def _parameters(step: TrainStep, params: Params, when: str) -> Iterator[tuple[Named, Array]]:
    for layer, _, tensors in step.objective.network.named_layers(params):
        for name, values in tensors.items():
            yield ("parameters", f"{name} of layer {layer} {when}", layer), values


def _before_update(step: TrainStep, params: Params, data: Tree, batch: Tree) -> Iterator[tuple[Named, Array]]:
    """The arrays of a step in the order in which they are computed."""
    yield from _parameters(step, params, "before the step")
    xp, objective = step.xp, step.objective
    for micro in step.microbatches(data, batch):
        inputs, targets, weights, key = step.step_inputs(micro)
        yield ("inputs", "a value of the inputs", None), inputs
        trace = objective.network.trace(xp, params, inputs, key)
        for layer in trace.layers:
            yield ("output", f"the output of layer {layer.name}", layer.name), layer.y
        J, dy = objective.loss(xp, trace.y, objective.loss.encode_targets(xp, trace.y, targets), weights)
        total = targets.shape[0] if weights is None else xp.sum(weights)
        last = trace.layers[-1].name
        what = f"the loss, though not the output of the last layer, {last},"
        yield ("loss", what, last), objective.regularized_loss(xp, params, J) * total
        for layer, _, _, grads in trace.backward(xp, dy):
            for name, gradient in grads.items():
                what = f"the gradient of {name} of layer {layer.name}"
                yield ("gradient", what, layer.name), gradient
                yield ("gradient", f"the norm of {what}", layer.name), xp.sum(gradient * gradient)
