"""Checks of the layers: units that pass no gradient, and gradients that vanish or explode on their way back."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding

from .history import RunHistory
from .layer_stats import LayerStats
from .learning_rate_checks import suggest_lr

MIN_UNITS, MIN_SAMPLES = 8, 32  # a fraction of fewer says nothing
MAX_SATURATED = 0.5  # of a layer's outputs: half of what goes back is lost; in healthy runs it is under a tenth
MAX_DEAD = 0.4  # "as much as 40% of your network can be dead", where the rate is too high (CS231n, Stanford, 2016)
MIN_WEIGHTED_LAYERS = 3  # layers with weights: of two, one is the last, and there is only one layer between
VANISHING_RATIO = 1e-2
"""Of the gradient that enters the last layer: what reaches the first. Weights with variance 2 / fan-in keep that
near 1 (He et al., Delving deep into rectifiers, 2015, section 2.2); a sigmoid's slope, 1/4 at most, takes its
factor in each layer (Hochreiter, Bengio, Frasconi and Schmidhuber, Gradient flow in recurrent nets, 2001). It
counts where a run has not learnt: an optimizer that divides by the gradient's size can live with it."""
EXPLODING_RATIO = 1e3  # the same for growth: no learning rate is right for layers whose gradients are so far apart


def saturation(history: RunHistory) -> CheckResult:
    """Half of a layer's sigmoids or tanhs are saturated, over the run and at its end."""
    if (worst := _most_inactive(history, "sigmoid", "tanh")) is None:
        return NOT_APPLICABLE
    layer, fraction, initially = worst
    if fraction < MAX_SATURATED:
        return None
    what = "samples have a wrong output with" if layer.last else f"outputs of its {layer.units} units have"
    evidence = (
        f"{layer.name}: {fraction:.0%} of the {what} a slope under 1% of its greatest, {initially:.0%} at first."
    )
    cause, fix = "Likely steps too large drove the units far from zero.", suggest_lr(history)
    if initially >= MAX_SATURATED:
        cause = "Initial weights, or unscaled inputs, drive the units far from zero."
        fix = "init='glorot-uniform', or scale='standard'"
    measured = {**_measured(layer, fraction, initially), "output": layer.last}
    return Finding("saturation", "warning", evidence=evidence, cause=cause, fix=fix, measured=measured)


def dead_relu(history: RunHistory) -> CheckResult:
    """Of a layer's ReLUs 40% are zero on every sample, over the run and at its end."""
    if (worst := _most_inactive(history, "relu")) is None:
        return NOT_APPLICABLE
    layer, fraction, initially = worst
    if fraction < MAX_DEAD:
        return None
    evidence = (
        f"{fraction:.0%} of the {layer.units} units of {layer.name} are zero on all {history.stats[-1].samples} "
        f"samples measured, {initially:.0%} at first."
    )
    cause = "Likely steps too large pushed the units below zero for every sample, where their gradient is zero."
    fix = suggest_lr(history)
    if initially >= MAX_DEAD:
        cause = "Initial biases, or weights, are so low that no sample activates the units."
        fix = "init='he-normal'"
    measured = {**_measured(layer, fraction, initially), "samples": history.stats[-1].samples}
    fix = f"{fix}, or activation='leaky-relu'"
    return Finding("dead-relu", "warning", evidence=evidence, cause=cause, fix=fix, measured=measured)


def _measured(layer: LayerStats, fraction: float, initially: float) -> dict[str, Any]:
    return {"layer": layer.name, "units": layer.units, "fraction": fraction, "initially": initially}


def _most_inactive(history: RunHistory, *kinds: str) -> tuple[LayerStats, float, float] | None:
    """The layer of these kinds with the largest inactive fraction, that fraction, and the fraction at first.

    It is the median over the run or the last, whichever is less: a layer that comes back is not lost.
    """
    if not history.stats or history.stats[-1].samples < MIN_SAMPLES:
        return None
    candidates = []
    for i, layer in enumerate(history.stats[-1].layers):
        if layer.kind in kinds and (layer.last or layer.units >= MIN_UNITS):
            fractions = [stats.layers[i].inactive or 0.0 for stats in history.stats]
            candidates.append((layer, min(median(fractions), fractions[-1]), fractions[0]))
    return max(candidates, key=lambda candidate: candidate[1], default=None)


def vanishing(history: RunHistory) -> CheckResult:
    """Less than 1/100 of the gradient reaches the first layer of a network that does not learn."""
    ratios = _gradient_ratios(history)
    if not ratios:
        return NOT_APPLICABLE
    halfway = (1 + (history.majority_fraction or 0.0)) / 2  # from chance to 1
    if median(ratios) > VANISHING_RATIO or history.stats[-1].accuracy > halfway:
        return None
    cause = "Each layer passes back a part of what it gets: slopes or weights are too small."
    fix = "activation='relu' and init='he-normal', or fewer layers"
    return Finding("vanishing", "warning", cause=cause, fix=fix, **_gradient_flow(history, ratios))


def exploding(history: RunHistory) -> CheckResult:
    """The gradient grows a thousandfold from the last layer to the first."""
    ratios = _gradient_ratios(history)
    if not ratios:
        return NOT_APPLICABLE
    if median(ratios) <= EXPLODING_RATIO:
        return None
    cause = "Initial weights are so large that each layer multiplies what passes through it."
    fix = "init='he-normal', or clip_norm=1"
    return Finding("exploding", "warning", cause=cause, fix=fix, **_gradient_flow(history, ratios))


def _gradient_ratios(history: RunHistory) -> list[float]:
    """||dJ/dy|| of the first layer with weights over that of the last, of each measurement of a deep network."""
    layers = [
        s.weighted for s in history.stats if len(s.weighted) >= MIN_WEIGHTED_LAYERS and s.weighted[-1].dy_norm > 0
    ]
    ratios = (weighted[0].dy_norm / weighted[-1].dy_norm for weighted in layers)
    return [ratio if math.isfinite(ratio) else math.inf for ratio in ratios]


def _gradient_flow(history: RunHistory, ratios: list[float]) -> dict[str, Any]:
    """The evidence, in words and by name."""
    first, *_, last = history.stats[-1].weighted
    evidence = (
        f"Of the norm of dJ/dy at {last.name}, {last.dy_norm:.1e} at the end, {first.dy_norm:.1e} arrives at "
        f"{first.name}: a factor of {median(ratios):.1e}, the median of {len(ratios)} measurements."
    )
    measured = {
        "first_layer": first.name,
        "first_norm": first.dy_norm,
        "last_layer": last.name,
        "last_norm": last.dy_norm,
        "ratio": median(ratios),
        "count": len(ratios),
    }
    return {"evidence": evidence, "measured": measured}
