"""Checks of how a network behaves: samples do not affect one another, and evaluation is deterministic."""

from __future__ import annotations

import numpy as np

from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding

from .experiments import SAMPLES, layer_in_training_mode
from .probes import ModelProbe

# A product may be summed in another order when a neighbouring row changes; that moves the last bits alone. 1000
# roundings, by norm, are far above and any leak of the data's own size far below.
ROUNDING_ERRORS = 1000


def evaluation_in_training_mode(probe: ModelProbe) -> CheckResult:
    """A layer that drops units, or takes the statistics of the batch, in evaluation."""
    if (found := layer_in_training_mode(probe)) is None:
        return None
    name, what = found
    return Finding(
        "evaluation-in-training-mode",
        "fault",
        evidence=f"{what}.",
        cause=f"{name} does not look at its key, which is None in evaluation, or the network gives it one.",
        fix="In its forward: if key is None, hand x on (dropout), or take the running statistics (normalization).",
    )


def evaluation_not_deterministic(probe: ModelProbe) -> CheckResult:
    """Two evaluations of the same samples that differ."""
    if layer_in_training_mode(probe) is not None:
        return NOT_APPLICABLE  # which is the cause
    probe = probe.subset(SAMPLES)
    first, second = probe.outputs(probe.x), probe.outputs(probe.x)
    if not (layer := _first_difference(probe, first, second)):
        return None
    difference = float(np.nanmax(np.abs([*first.values()][-1] - [*second.values()][-1])))
    return Finding(
        "evaluation-not-deterministic",
        "fault",
        evidence=(
            f"Two evaluations of the same {len(probe.dataset)} samples differ, by {difference:.3g} in the "
            f"outputs, from {layer} on."
        ),
        cause="A layer draws random numbers, or changes its own state, in evaluation: likely dropout left on.",
        fix="In that layer's forward: if key is None: return x, None",
    )


def batch_leak(probe: ModelProbe) -> CheckResult:
    """An output that depends on another sample of the batch."""
    if layer_in_training_mode(probe) is not None:
        return NOT_APPLICABLE
    probe = probe.subset(SAMPLES)
    if len(probe.dataset) < 2 or evaluation_not_deterministic(probe) is not None:
        return NOT_APPLICABLE
    changed = probe.scaling.apply(probe.dataset.inputs, probe.dtype)
    changed[0] = changed[0] * -2 + changed[1:].mean(axis=0) + 1  # unlike itself whatever it was
    for key in (None, probe.key):
        before, after = (probe.outputs(x, key) for x in (probe.x, probe.backend.asarray(changed)))
        others = ({name: y[1:] for name, y in outputs.items()} for outputs in (before, after))
        if layer := _first_difference(probe, *others):
            when = "in evaluation too" if key is None else "in training alone"
            changes = f"changing one sample changes the outputs of the others, {when}, by {layer}"
            evidence = f"In a batch of {len(probe.dataset)}, {changes}."
            cause = "A layer mixes the rows of a batch: a sum or a norm over axis 0, or a reshape that moves rows."
            if key is not None:
                cause = f"{cause} Batch normalization does so by design."
                return Finding("batch-leak", "note", evidence=evidence, cause=cause, fix="Nothing.")
            fix = "Axis 0 is the samples: reduce over axis 1, reshape to (n, -1)."
            return Finding(
                "batch-leak",
                "fault",
                evidence=evidence,
                cause=f"{cause} A prediction then depends on its batch.",
                fix=fix,
            )
    return None


def _first_difference(probe: ModelProbe, a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> str | None:
    """The first layer whose outputs differ by more than rounding; NaN equals NaN."""
    for name, x in a.items():
        y, finite = b[name], np.isfinite(x)
        both = finite & np.isfinite(y)
        rounding = ROUNDING_ERRORS * float(np.finfo(probe.dtype).eps) * float(np.abs(x[both]).max(initial=0))
        if np.any(finite != np.isfinite(y)) or np.abs(x - y)[both].max(initial=0) > rounding:
            return name
    return None
