"""Checks of the learning rate: what a step is relative to the weights it changes, and what the loss does.

The update-to-weight ratio, ||dW|| / ||W|| of one step, is near 1e-3 where a rate is well chosen (CS231n, Stanford,
2016: "Ratio of weights:updates"). By itself it says little: ex4 begins at 0.1 and ends at 1e-4 and is healthy. So
it counts over the run, and with the loss.
"""

from __future__ import annotations

import math

from nnbackprop.diagnostics.check import NOT_APPLICABLE, CheckResult
from nnbackprop.diagnostics.findings import Finding
from nnbackprop.diagnostics.nan_tracing import lower_lr

from .history import History, mean

USUAL = 1e-3
HIGH = 0.1  # a hundred times what is right: ten steps are as large as the weights
LOW = 1e-5  # a hundredth of what is right: a hundred thousand steps to make new weights
REACH = 0.1  # of the weights' norm: what all steps together could change
RISE = 2.0  # of the loss over what it was: chunks of few samples differ by less
STEPS = 20  # fewer say nothing of a rate
LOST = 0.5  # of a layer that passed a gradient at first
FALL = 0.2  # of the loss: less than this is slow
TOP = 10.0  # of the rates people use


def lower_rate(history: History) -> str:
    """A rate to try after one too high, as a flag: a tenth, or less where the first step was far too large.

    Updates are proportional to the rate, so the first statistics tell at which a step is 10 USUAL of the weights.
    """
    if not history.lr:
        return "a tenth of the learning rate (--lr)"
    rate, first = lower_lr(history.lr), history.stats[0] if history.stats else None
    if first and first.largest and 0 < first.largest.ratio < math.inf:
        rate = min(history.lr / 10, first.lr * 10 * USUAL / first.largest.ratio)
    return f"--lr {rate:.2g}"


def rate_too_high(history: History) -> CheckResult:
    """Steps of a tenth of the weights or more, and a loss that rises, stays at chance, or becomes NaN."""
    if not history.fault and history.steps < STEPS:
        return NOT_APPLICABLE
    outcome, ratio = _outcome(history), ""
    if outcome is None:
        return None
    if history.stats:
        worst = max(history.stats, key=lambda stats: stats.largest.ratio if stats.largest else 0.0)
        if not worst.largest or worst.largest.ratio < HIGH:
            return None
        ratio = (
            f"Step {worst.step + 1} changes the weights of {worst.largest.name} by {worst.largest.ratio:.2g} of "
            f"their norm, where {USUAL:g} is usual; "
        )
    evidence = f"{ratio or 'During training '}{outcome}."
    return Finding("rate-too-high", "warning", evidence, "Each step overshoots.", lower_rate(history))


def _outcome(history: History) -> str | None:
    """What went wrong with the loss, if anything did."""
    if history.fault:
        return None if history.fault.kind == "inputs" else f"by step {history.fault.step} it was NaN or infinite"
    curve = history.curve
    start = history.stats[0].loss if history.from_the_start else curve[0].loss
    top = max(curve, key=lambda point: point.loss)
    if top.loss > RISE * start:
        return f"the loss rose from {start:.4g} to {top.loss:.4g} by step {top.step}"
    worst = [history.worst_idle(kinds) for kinds in (("sigmoid", "tanh"), ("relu",))]
    lost = any(w and w[1] >= LOST > w[2] for w in worst)
    if len(curve) >= 8 and history.at_chance and lost:
        loss = mean(curve[-(len(curve) // 4) :]).loss
        return f"most units of a layer have stopped learning, and the loss stays at {loss:.4g}"
    return None


def rate_too_low(history: History) -> CheckResult:
    """Steps too small to change the weights, and a loss that has hardly fallen.

    A step is small too where there is no gradient, and then no rate would help: so the usual ratio must come of a
    rate that people use.
    """
    lr = history.lr
    if not history.from_the_start or history.steps < STEPS or not lr:
        return NOT_APPLICABLE
    ratio = max((stats.largest.ratio for stats in history.stats if stats.largest), default=0.0)
    start, end = history.stats[0].loss, history.stats[-1].loss
    small = 0 < ratio < LOW or 0 < ratio * history.steps < REACH
    if not small or lr * USUAL / ratio > TOP or end < (1 - FALL) * start:
        return None
    evidence = (
        f"No step measured changes the weights of a layer by more than {ratio:.1e} of their norm, where {USUAL:g} "
        f"is usual; the loss went from {start:.4g} to {end:.4g} in {history.steps} steps."
    )
    cause = "The learning rate is too small for the weights to get anywhere."
    return Finding("rate-too-low", "warning", evidence, cause, f"--lr {lr * USUAL / ratio:.1g}")
