"""Checks of how a network behaves: samples keep to themselves, and evaluation repeats itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends import Array
from nnbackprop.diagnostics.check import NOT_APPLICABLE, Outcome
from nnbackprop.diagnostics.findings import Finding

from .model_probe import ModelProbe

FEW = 20  # samples: one would do to see it in another; as many as are learnt by heart compile once
# A product may be summed in another order when a neighbouring row changes; that moves the last bits alone. 1000
# roundings, by norm, are far above and any leak of the data's own size far below.
ROUNDINGS = 1000


def evaluation_not_deterministic(subject: ModelProbe) -> Outcome:
    """Two evaluations of the same samples that differ."""
    few = subject.few(FEW)
    first, again = few.hosted(few.x), few.hosted(few.x)
    place = _first_apart(few, first, again)
    if place is None:
        return None
    moved = float(np.nanmax(np.abs(first[-1] - again[-1])))
    return Finding(
        "evaluation-not-deterministic",
        "fault",
        f"Two evaluations of the same {len(few.dataset)} samples differ, by {moved:.3g} in the outputs, from "
        f"layer {subject.names[place - 1]} on.",
        "A layer draws random numbers, or changes its own state, in evaluation too: most often dropout left on.",
        "In that layer's forward: if draw is None: return x, None",
        0.95,
    )


def batch_leak(subject: ModelProbe) -> Outcome:
    """An output, or a gradient, that depends on another sample of the batch."""
    few = subject.few(FEW)
    if len(few.dataset) < 2 or evaluation_not_deterministic(subject) is not None:
        return NOT_APPLICABLE
    for training in (False, True):
        if (place := _forward_leak(few, training)) is not None:
            return _leak(few, place, training, "output", "outputs of the other samples moved when one was changed")
        if (place := _backward_leak(few, training)) is not None:
            words = "gradients reached other samples from the loss of one alone"
            return _leak(few, place, training, "gradient", words)
    return None


def _leak(few: ModelProbe, place: int, training: bool, what: str, words: str) -> Finding:
    mode = "in training alone" if training else "in evaluation too"
    by_design = training and what == "output"
    return Finding(
        "batch-leak",
        "note" if by_design else "fault",
        f"With {len(few.dataset)} samples in a batch, {words}, {mode}, by layer {few.names[place]}.",
        "A layer mixes the rows of a batch: a sum or a norm over axis 0, or a reshape that moves rows. "
        + (
            "Batch normalisation does so by design."
            if by_design
            else "A prediction then depends on its neighbours."
        ),
        "Nothing, if it is meant."
        if by_design
        else "Axis 0 is the samples: reduce over axis 1, reshape to (n, -1).",
        0.9,
    )


def _forward_leak(few: ModelProbe, training: bool) -> int | None:
    """The first layer in which sample 0 moves another."""
    draw = few.draw() if training else None
    changed = few.scaling.apply(few.dataset.inputs, few.dtype)
    changed[0] = changed[0] * -2 + changed[1:].mean(axis=0) + 1  # unlike itself whatever it was
    before, after = few.hosted(few.x, draw), few.hosted(few.backend.asarray(changed), draw)
    place = _first_apart(few, [y[1:] for y in before], [y[1:] for y in after])
    return None if place is None else place - 1


def _backward_leak(few: ModelProbe, training: bool) -> int | None:
    """The last layer that hands a gradient of sample 0's loss to another sample."""
    xp, network = few.backend.xp, few.objective.network
    y, caches = network.forward(xp, few.params, few.x, few.draw() if training else None)
    seed = np.zeros(tuple(y.shape), few.dtype)
    seed[0] = 1
    dy: Array | None = few.backend.asarray(seed)
    for i in range(len(few.params) - 1, -1, -1):
        dy, _ = network.layers[i].backward(xp, few.params[i], caches[i], dy, True)
        rows = few.backend.to_numpy(dy)
        if np.abs(rows[1:]).max() > _rounding(few, rows):
            return i
    return None


def _rounding(few: ModelProbe, rows: np.ndarray) -> float:
    return ROUNDINGS * float(np.finfo(few.dtype).eps) * float(np.abs(rows).max(initial=0))


def _first_apart(few: ModelProbe, a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> int | None:
    """The first place at which two lists of arrays differ by more than rounding; NaN is like NaN."""
    for place, (x, y) in enumerate(zip(a, b, strict=True)):
        both = np.isfinite(x) & np.isfinite(y)
        if np.any(np.isfinite(x) != np.isfinite(y)) or np.abs(x - y)[both].max(initial=0) > _rounding(
            few, x[both]
        ):
            return place
    return None
