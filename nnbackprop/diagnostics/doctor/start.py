"""Checks at initialisation: the first loss, and how signals and gradients change from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnbackprop.diagnostics.check import NOT_APPLICABLE, CheckResult
from nnbackprop.diagnostics.findings import Finding

from .baseline_loss import baseline_loss
from .model_probe import ModelProbe

# He's and Glorot's rules keep a signal within a factor of 2 a layer, and a sigmoid takes a factor of 3 to 4 away:
# four sigmoids of Glorot's leave 1/200 and still learn MNIST, five 1/1000 and hardly do; ReLUs, which gain as they
# learn, still do so from 1/1000. Forward, N(0, 1) weights make 180 of one hidden layer, which learns, 1000 of two.
LEAST, MOST = 3e-4, 300.0
GOOD = 0.1  # of the best constant's loss: by chance initial weights come to half of it where classes lie apart
INIT = "--init he-normal (ReLU) or --init glorot-uniform (tanh, sigmoid), with --scale standard."


def initial_loss(probe: ModelProbe) -> CheckResult:
    """The first loss against that of a model that ignores its input."""
    J, _ = probe.score(probe.x)
    if not math.isfinite(J):
        return overflow(f"The first loss is {J}.")
    y = probe.host(probe.trace(probe.x).y)
    baseline = baseline_loss(probe.objective, probe.dataset.targets, y.shape[1])
    if baseline is None:
        return NOT_APPLICABLE
    expected = f"an untrained network starts near {baseline.text}"
    if baseline.wild < J:
        return Finding(
            "initial-loss",
            "warning",
            f"The first loss is {J:.4g}; {expected}, and below {baseline.wild:.3g} even with large random "
            f"outputs. The outputs have a standard deviation of {y.std():.3g}.",
            "Initial weights or inputs are too large: the network is sure, at random, and must unlearn it.",
            INIT,
        )
    if GOOD * baseline.best <= J:
        return None
    return Finding(
        "initial-loss",
        "fault",
        f"The first loss is {J:.4g}; {expected}, and the best constant guess loses {baseline.best:.4g}.",
        "No untrained network is so good: likely the loss is divided once too often, or the answer is among the "
        "inputs.",
        "Take the mean over the batch once; remove features that are made from the label.",
    )


def overflow(evidence: str) -> Finding:
    """Numbers that are NaN or infinite before the first step."""
    cause = "Numbers overflow before the first step: weights or inputs are far too large, or not finite."
    return Finding("initial-loss", "fault", evidence, cause, INIT)


def variance_forward(probe: ModelProbe) -> CheckResult:
    """The standard deviation over samples, averaged over units, of the outputs of each layer with parameters."""
    layers = [layer for layer in probe.trace(probe.x).layers if layer.params]
    if len(layers) < 2 or not probe.varied:
        return NOT_APPLICABLE
    outputs = {"input": probe.x} | {layer.name: layer.y for layer in layers}
    sizes = [math.sqrt(float(np.mean(probe.host(y).var(axis=0)))) for y in outputs.values()]
    return _signal("variance-forward", "signal", list(outputs), sizes)


def variance_backward(probe: ModelProbe) -> CheckResult:
    """||dJ/dy|| of the layers with parameters, from the last on.

    By norm, not by unit: a layer narrower than the next has a larger share of it in each unit.
    """
    xp, objective, trace = probe.backend.xp, probe.objective, probe.trace(probe.x)
    layers = [layer for layer in trace.layers if layer.params]
    if len(layers) < 2 or not probe.varied:
        return NOT_APPLICABLE
    _, dy = objective.loss(xp, trace.y, objective.loss.encode(xp, trace.y, probe.targets))
    norms = {t.name: float(np.linalg.norm(probe.host(dy))) for t, dy, _, _ in trace.backward(xp, dy)}
    names = [layer.name for layer in layers][::-1]
    if not norms[names[0]]:
        return NOT_APPLICABLE  # the loss has no slope at all
    return _signal("variance-backward", "gradient", names, [norms[name] for name in names])


def _signal(id: str, what: str, names: Sequence[str], sizes: Sequence[float]) -> CheckResult:
    """A finding if some size is not within LEAST .. MOST of the first."""
    ratios = [size / sizes[0] for size in sizes]
    worst = max(range(len(ratios)), key=lambda i: _orders_from_one(ratios[i]))
    if LEAST <= ratios[worst] <= MOST:
        return None
    path = ", ".join(f"{name} {size:.3g}" for name, size in zip(names, sizes, strict=True))
    vanishes = ratios[worst] < LEAST
    cause = f"Initial weights too {'small' if vanishes else 'large'} for the layers' widths"
    return Finding(
        id,
        "warning" if 0 < ratios[worst] < math.inf else "fault",
        f"The {what} at the start, layer by layer: {path}; a factor of {ratios[worst]:.2g} by {names[worst]}.",
        cause + (", or too many sigmoids in a row, each of which takes three quarters." if vanishes else "."),
        INIT + (" Fewer layers, or --activation relu." if vanishes else ""),
    )


def _orders_from_one(ratio: float) -> float:
    """Orders of magnitude between a ratio and 1; infinite for 0 and for what is not finite."""
    return abs(math.log10(ratio)) if 0 < ratio < math.inf else math.inf
