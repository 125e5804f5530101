"""Checks at initialisation: the first loss, and how signals fare on their way up and down the layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnbackprop.diagnostics.check import NOT_APPLICABLE, Outcome
from nnbackprop.diagnostics.findings import Finding

from .baseline_loss import BaselineLoss
from .model_probe import ModelProbe

# He's and Glorot's rules keep a signal within a factor of 2 a layer, and a sigmoid takes a factor of 3 to 4 away:
# four sigmoids of Glorot's leave 1/200 and still learn MNIST, five 1/1000 and hardly do; ReLUs, which gain as they
# learn, still do so from 1/1000. Upwards, N(0, 1) weights make 180 of one hidden layer, which learns, 1000 of two.
FAINT, LOUD = 3e-4, 300.0
REDRAWS = 10  # other first weights: a single draw may have the answer by chance, where the classes lie well apart
CALM = "--init he-normal (ReLU) or --init glorot-uniform (tanh, sigmoid), with --scale standard."


def initial_loss(subject: ModelProbe) -> Outcome:
    """The first loss against that of a predictor that knows nothing."""
    J, _ = subject.loss(subject.x)
    if not math.isfinite(J):
        return overflow(f"The first loss is {J}.")
    k = subject.hosted(subject.x)[-1].shape[1]
    guess = BaselineLoss.of(subject.objective, subject.dataset.targets, k)
    if guess is None:
        return NOT_APPLICABLE
    if guess.wild < J:
        return _too_large(subject, J, guess)
    if guess.best / 2 <= J:
        return None
    mean = float(np.mean([J, *(subject.redrawn(seed).loss(subject.x)[0] for seed in range(1, REDRAWS))]))
    return _too_good(mean, guess) if mean < guess.best / 2 else None


def overflow(evidence: str) -> Finding:
    """The finding for numbers that are not finite before the first step, whoever noticed."""
    return Finding(
        "initial-loss",
        "fault",
        evidence,
        "Numbers overflow before the first step: weights or inputs are far too large, or not finite.",
        CALM,
        0.9,
    )


def _too_large(subject: ModelProbe, J: float, guess: BaselineLoss) -> Finding:
    size = float(subject.hosted(subject.x)[-1].std())
    return Finding(
        "initial-loss",
        "warning",
        f"The first loss is {J:.4g}; a network that knows nothing yet starts near {guess.words}, and below "
        f"{guess.wild:.3g} even with wild outputs. The outputs have a standard deviation of {size:.3g}.",
        "First weights or inputs are too large: the network is sure, at random, and must unlearn that first.",
        CALM,
        0.9,
    )


def _too_good(J: float, guess: BaselineLoss) -> Finding:
    return Finding(
        "initial-loss",
        "fault",
        f"The first loss is {J:.4g}, the mean of {REDRAWS} draws of weights; a network that knows nothing yet "
        f"starts near {guess.words}, and the best constant guess loses {guess.best:.4g}.",
        "Nothing untrained can be so good: the loss is divided once too often, or the answer is among the inputs.",
        "Take the mean over the batch once; take features out that are made from the label.",
        0.85,
    )


def variance_forward(subject: ModelProbe) -> Outcome:
    """How far samples stay apart, layer by layer: the standard deviation over samples, averaged over units."""
    if len(subject.with_parameters) < 2 or not subject.told_apart:
        return NOT_APPLICABLE
    outputs = subject.hosted(subject.x)
    places = [0, *(i + 1 for i in subject.with_parameters)]
    spread = [math.sqrt(float(np.mean(outputs[i].var(axis=0)))) for i in places]
    names = ["input", *(subject.names[i] for i in subject.with_parameters)]
    return _signal("variance-forward", "signal", names, spread)


def variance_backward(subject: ModelProbe) -> Outcome:
    """How long the gradient is, layer by layer: ||dJ/dz|| of the layers with parameters, from the last on.

    By norm, not by unit: a layer narrower than the next has a larger share of it in each unit.
    """
    if len(subject.with_parameters) < 2 or not subject.told_apart:
        return NOT_APPLICABLE
    xp, objective, params = subject.backend.xp, subject.objective, subject.params
    y, caches = objective.network.forward(xp, params, subject.x)
    _, dy = objective.loss(xp, y, objective.targets(xp, y, subject.labels))
    norms = {}
    for i in range(len(params) - 1, subject.with_parameters[0] - 1, -1):
        norms[i] = float(np.linalg.norm(subject.backend.to_numpy(dy).astype(np.float64)))
        dy, _ = objective.network.layers[i].backward(xp, params[i], caches[i], dy, True)
    places = subject.with_parameters[::-1]
    if not norms[places[0]]:
        return NOT_APPLICABLE  # the loss has no slope at all
    return _signal("variance-backward", "gradient", [subject.names[i] for i in places], [norms[i] for i in places])


def _signal(id: str, what: str, names: Sequence[str], sizes: Sequence[float]) -> Outcome:
    """A finding if a signal's size leaves FAINT .. LOUD of its first on the way through the layers."""
    ratios = [size / sizes[0] for size in sizes]
    worst = max(range(len(ratios)), key=lambda i: _orders(ratios[i]))
    if FAINT <= ratios[worst] <= LOUD:
        return None
    path = ", ".join(f"{name} {size:.3g}" for name, size in zip(names, sizes, strict=True))
    gone = ratios[worst] < FAINT
    return Finding(
        id,
        "warning" if 0 < ratios[worst] < math.inf else "fault",
        f"The {what} at the start, layer by layer: {path}; a factor of {ratios[worst]:.2g} by {names[worst]}.",
        f"First weights too {'small' if gone else 'large'} for the layers' widths"
        + (", or too many sigmoids in a row, each of which takes three quarters." if gone else "."),
        CALM + (" Fewer layers, or --activation relu." if gone else ""),
        0.85,
    )


def _orders(ratio: float) -> float:
    """How many orders of magnitude a ratio is from 1; what is nothing, or not finite, is farthest."""
    return abs(math.log10(ratio)) if 0 < ratio < math.inf else math.inf
