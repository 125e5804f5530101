"""Checks of layers: units that pass no gradient, and gradients that vanish or explode on the way through."""

from __future__ import annotations

import math
from statistics import median

from nnbackprop.diagnostics.check import NOT_APPLICABLE, CheckResult
from nnbackprop.diagnostics.findings import Finding

from .history import History
from .rate_checks import lower_rate

SATURATED = 0.5  # of a layer's outputs: half of what goes back is lost; in healthy runs it is under a tenth
DEAD = 0.4  # "as much as 40% of your network can be dead", where the rate is too high (CS231n, Stanford, 2016)
LAYERS = 3  # with weights: of two, one is the last, and there is only one layer between
LEAST = 1e-2
"""Of the gradient that enters the last layer: what reaches the first. Weights with variance 2 / fan-in keep that
near 1 (He et al., Delving deep into rectifiers, 2015, section 2.2); a sigmoid's slope, 1/4 at most, takes its
factor in each layer (Hochreiter, Bengio, Frasconi and Schmidhuber, Gradient flow in recurrent nets, 2001). It
counts where a run has not learnt: an optimizer that divides by the gradient's size can live with it."""
MOST = 1e3  # the same for growth: no rate is right for layers whose gradients are three orders apart
GROWTH = 1e3  # of a gradient norm from the first epoch to the last; in healthy runs it changes by 10


def saturation(history: History) -> CheckResult:
    """Half of a layer's sigmoids or tanhs are flat, over the run and at its end."""
    if (worst := history.worst_idle(("sigmoid", "tanh"))) is None:
        return NOT_APPLICABLE
    layer, share, first = worst
    if share < SATURATED:
        return None
    what = "samples have a wrong output" if layer.last else f"outputs of its {layer.units} units have a slope"
    evidence = f"{layer.name}: {share:.0%} of the {what} under 1% of its greatest, {first:.0%} at first."
    if layer.last:
        evidence = evidence.replace("output under", "output with a slope under")
    cause, fix = "Likely steps too large drove the units far from zero.", lower_rate(history)
    if first >= SATURATED:
        cause = "Initial weights, or unscaled inputs, drive the units far from zero."
        fix = "--init glorot-uniform, or --scale standard"
    return Finding("saturation", "warning", evidence, cause, fix)


def dead_relu(history: History) -> CheckResult:
    """Of a layer's ReLUs 40% are zero on every sample, over the run and at its end."""
    if (worst := history.worst_idle(("relu",))) is None:
        return NOT_APPLICABLE
    layer, share, first = worst
    if share < DEAD:
        return None
    evidence = (
        f"{share:.0%} of the {layer.units} units of {layer.name} are zero on all {history.stats[-1].samples} "
        f"samples measured, {first:.0%} at first."
    )
    cause = "Likely steps too large pushed the units below zero for every sample, where their gradient is zero."
    fix = lower_rate(history)
    if first >= DEAD:
        cause, fix = (
            "Initial biases, or weights, are so low that no sample activates the units.",
            "--init he-normal",
        )
    return Finding("dead-relu", "warning", evidence, cause, f"{fix}, or --activation leaky-relu")


def vanishing(history: History) -> CheckResult:
    """Less than 1/100 of the gradient reaches the first layer of a network that does not learn."""
    gains = _gains(history)
    if not gains:
        return NOT_APPLICABLE
    if median(gains) > LEAST or history.learnt:
        return None
    cause = "Each layer passes back a part of what it gets: slopes or weights are too small."
    fix = "--activation relu --init he-normal, or fewer layers (--hidden)"
    return Finding("vanishing", "warning", _flow(history, gains), cause, fix)


def exploding(history: History) -> CheckResult:
    """A gradient grows a thousandfold through the layers, or over the epochs."""
    gains, rows = _gains(history), history.rows
    if not gains and len(rows) < 2:
        return NOT_APPLICABLE
    if gains and median(gains) > MOST:
        cause = "Initial weights are so large that each layer multiplies what passes through it."
        fix = "--init he-normal, or --clip-norm 1"
        return Finding("exploding", "warning", _flow(history, gains), cause, fix)
    if len(rows) < 2 or not rows[-1]["train_loss"] > rows[0]["train_loss"]:
        return None
    first, last = rows[0], rows[-1]
    for layer, norm in last["gradient_norms"].items():
        before = first["gradient_norms"].get(layer, 0.0)
        if before and norm / before > GROWTH:
            evidence = (
                f"The gradient norm of {layer} went from {before:.1e} in epoch {first['epoch']} to {norm:.1e} in "
                f"epoch {last['epoch']}, and the loss from {first['train_loss']:.4g} to {last['train_loss']:.4g}."
            )
            fix = f"--clip-norm 1, or {lower_rate(history)}"
            return Finding("exploding", "warning", evidence, "Steps overshoot to where the loss is steeper.", fix)
    return None


def _gains(history: History) -> list[float]:
    """||dJ/dy|| of the first layer with weights over that of the last, of each measurement of a deep network."""
    layers = [s.weighted for s in history.stats if len(s.weighted) >= LAYERS and s.weighted[-1].delta > 0]
    gains = (weighted[0].delta / weighted[-1].delta for weighted in layers)
    return [gain if math.isfinite(gain) else math.inf for gain in gains]


def _flow(history: History, gains: list[float]) -> str:
    first, *_, last = history.stats[-1].weighted
    return (
        f"Of the norm of dJ/dy at {last.name}, {last.delta:.1e} at the end, {first.delta:.1e} arrives at "
        f"{first.name}: a factor of {median(gains):.1e}, the median of {len(gains)} measurements."
    )
