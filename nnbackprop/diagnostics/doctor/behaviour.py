"""Checks of how a network behaves: samples do not affect one another, and evaluation is deterministic."""

from __future__ import annotations

import numpy as np

from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding

from .probes import ModelProbe

FEW = 20  # samples: as many as the overfitting check uses, so that a library that compiles does so once
# A product may be summed in another order when a neighbouring row changes; that moves the last bits alone. 1000
# roundings, by norm, are far above and any leak of the data's own size far below.
ROUNDINGS = 1000


def evaluation_not_deterministic(probe: ModelProbe) -> CheckResult:
    """Two evaluations of the same samples that differ."""
    few = probe.few(FEW)
    first, again = few.outputs(few.x), few.outputs(few.x)
    if not (layer := _first_difference(few, first, again)):
        return None
    difference = float(np.nanmax(np.abs([*first.values()][-1] - [*again.values()][-1])))
    return Finding(
        "evaluation-not-deterministic",
        "fault",
        f"Two evaluations of the same {len(few.dataset)} samples differ, by {difference:.3g} in the outputs, from "
        f"{layer} on.",
        "A layer draws random numbers, or changes its own state, in evaluation: likely dropout left on.",
        "In that layer's forward: if key is None: return x, None",
    )


def batch_leak(probe: ModelProbe) -> CheckResult:
    """An output, or a gradient, that depends on another sample of the batch."""
    few = probe.few(FEW)
    if len(few.dataset) < 2 or evaluation_not_deterministic(probe) is not None:
        return NOT_APPLICABLE
    for training in (False, True):
        if (layer := _forward_leak(few, training)) is not None:
            return _leak(few, "changing one sample changes the outputs of the others", layer, training, training)
        if (layer := _backward_leak(few, training)) is not None:
            return _leak(few, "the loss of one sample has a gradient for the others", layer, training, False)
    return None


def _leak(few: ModelProbe, what: str, layer: str, training: bool, by_design: bool) -> Finding:
    when = "in training alone" if training else "in evaluation too"
    evidence = f"In a batch of {len(few.dataset)}, {what}, {when}, by {layer}."
    cause = "A layer mixes the rows of a batch: a sum or a norm over axis 0, or a reshape that moves rows."
    if by_design:
        return Finding(
            "batch-leak", "note", evidence, f"{cause} Batch normalization does so by design.", "Nothing."
        )
    fix = "Axis 0 is the samples: reduce over axis 1, reshape to (n, -1)."
    return Finding("batch-leak", "fault", evidence, f"{cause} A prediction then depends on its batch.", fix)


def _forward_leak(few: ModelProbe, training: bool) -> str | None:
    """The first layer in which sample 0 changes another sample's output."""
    key = few.key if training else None
    changed = few.scaling.apply(few.dataset.inputs, few.dtype)
    changed[0] = changed[0] * -2 + changed[1:].mean(axis=0) + 1  # unlike itself whatever it was
    before, after = few.outputs(few.x, key), few.outputs(few.backend.asarray(changed), key)
    others = ({name: y[1:] for name, y in outputs.items()} for outputs in (before, after))
    return _first_difference(few, *others)


def _backward_leak(few: ModelProbe, training: bool) -> str | None:
    """The last layer that passes a gradient of sample 0's loss to another sample."""
    trace = few.trace(few.x, few.key if training else None)
    dy = np.zeros(tuple(trace.y.shape), few.dtype)
    dy[0] = 1
    for layer, _, dx, _ in trace.backward(few.backend.xp, few.backend.asarray(dy)):
        rows = few.host(dx)
        if np.abs(rows[1:]).max() > _rounding(few, rows):
            return f"layer {layer.name}"
    return None


def _rounding(few: ModelProbe, rows: np.ndarray) -> float:
    return ROUNDINGS * float(np.finfo(few.dtype).eps) * float(np.abs(rows).max(initial=0))


def _first_difference(few: ModelProbe, a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> str | None:
    """The first layer whose outputs differ by more than rounding; NaN equals NaN."""
    for name, x in a.items():
        y, finite = b[name], np.isfinite(x)
        both = finite & np.isfinite(y)
        difference = np.abs(x - y)[both].max(initial=0)
        if np.any(finite != np.isfinite(y)) or difference > _rounding(few, x[both]):
            return name
    return None
