"""vanishing and exploding: what becomes of a gradient on its way back through the layers, and with time."""

from __future__ import annotations

import math
from statistics import median

from nnbackprop.diagnostics.findings import Finding

from .activation_stats import Weighted
from .history import History
from .verdict import NOT_APPLICABLE, Verdict, lower_rate

LAYERS = 3  # with weights: of two, one is the last, and nothing is lost on a way of one layer
LEAST = 1e-2
"""Of the gradient that enters the last layer: what reaches the first. Weights with variance 2 / fan-in keep that
near 1 (He et al., Delving deep into rectifiers, 2015, section 2.2); a sigmoid's slope, 1/4 at most, takes its
factor in each layer (Hochreiter, Bengio, Frasconi and Schmidhuber, Gradient flow in recurrent nets, 2001). It is
judged where a run has not learnt: an optimizer that divides by the gradient's size can live with it."""
MOST = 1e3  # the same for growth: no rate is right for layers whose gradients are three orders apart
GROWTH = 1e3  # of a gradient norm from the first epoch to the last; in healthy runs it changes by 10


def vanishing(history: History) -> Verdict:
    """Less than 1/100 of the gradient reaches the first layer of a network that does not learn."""
    looks = _deep(history)
    if not looks:
        return NOT_APPLICABLE
    share = median(_passed(layers) for layers in looks)
    if share > LEAST or history.learnt:
        return None
    first, last = looks[-1][0], looks[-1][-1]
    evidence = (
        f"of the norm of dJ/dy at {last.name}, {last.delta:.1e} at the last look, {first.delta:.1e} arrives at "
        f"{first.name}: a share of {share:.1e}, the median of {len(looks)} looks."
    )
    cause = f"Each of {len(looks[-1])} layers passes back a part of what it gets: slopes or weights are too small."
    fix = "--activation relu --init he-normal, or fewer layers (--hidden)"
    return Finding("vanishing", "warning", evidence, cause, fix, 0.9)


def exploding(history: History) -> Verdict:
    """A gradient grows a thousandfold through the layers, or over the epochs."""
    looks = _deep(history)
    if not looks and len(history.rows) < 2:
        return NOT_APPLICABLE
    if looks and (growth := median(_passed(layers) for layers in looks)) > MOST:
        first, last = looks[-1][0], looks[-1][-1]
        evidence = (
            f"of the norm of dJ/dy at {last.name}, {last.delta:.1e} at the last look, {first.delta:.1e} arrives "
            f"at {first.name}: {growth:.1e} times as much, the median of {len(looks)} looks."
        )
        cause = "The first weights are so large that each layer multiplies what passes through it."
        return Finding("exploding", "warning", evidence, cause, "--init he-normal, or --clip-norm 1", 0.9)
    return _grown(history)


def _grown(history: History) -> Finding | None:
    if len(history.rows) < 2 or not history.rows[-1]["train_loss"] > history.rows[0]["train_loss"]:
        return None
    first, last = history.rows[0], history.rows[-1]
    for layer, norm in last["gradient_norms"].items():
        before = first["gradient_norms"].get(layer, 0.0)
        if before and norm / before > GROWTH:
            evidence = (
                f"the gradient norm of {layer} went from {before:.1e} in epoch {first['epoch']} to {norm:.1e} in "
                f"epoch {last['epoch']}, and the loss from {first['train_loss']:.4g} to {last['train_loss']:.4g}."
            )
            cause = "Steps overshoot into ever steeper ground."
            return Finding(
                "exploding", "warning", evidence, cause, f"--clip-norm 1, or {lower_rate(history.lr)}", 0.8
            )
    return None


def _deep(history: History) -> list[tuple[Weighted, ...]]:
    return [
        look.weighted for look in history.looks if len(look.weighted) >= LAYERS and look.weighted[-1].delta > 0
    ]


def _passed(layers: tuple[Weighted, ...]) -> float:
    """||dJ/dy|| of the first layer with weights over that of the last."""
    share = layers[0].delta / layers[-1].delta
    return share if math.isfinite(share) else math.inf
