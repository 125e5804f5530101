"""Checks of the learning rate: divergence, steps that are too large, and steps that are too small.

The update-to-weight ratio, ||dW|| / ||W|| of one step, is near 1e-3 where a learning rate is well chosen (CS231n,
Stanford, 2016: "Ratio of weights:updates"). By itself it says little: ex4 begins at 0.1 and ends at 1e-4 and is
healthy. So it counts over the run, and together with the loss.
"""

from __future__ import annotations

import math
from typing import Any

from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding
from nnbackprop.diagnostics.nan_tracing import lower_lr

from .history import RunHistory

USUAL_UPDATE_RATIO = 1e-3  # update-to-weight ratio
HIGH_UPDATE_RATIO = 0.1  # a hundred times what is right: ten steps are as large as the weights
LOW_UPDATE_RATIO = 1e-5  # a hundredth of what is right: a hundred thousand steps to make new weights
LOW_TOTAL_UPDATE = 0.1  # of the weights' norm: what all steps together could change
LOSS_RISE = 2.0  # over what it was: chunks of few samples differ by less
LOSS_FALL = 0.2  # less than this is slow
MIN_STEPS = 20  # fewer say nothing of a learning rate
MAX_USUAL_LR = 10.0  # of those people use


def not_finite(history: RunHistory) -> CheckResult:
    """The step and layer where a diverged run became NaN or infinite."""
    if (divergence := history.divergence) is None:
        return None
    if divergence.kind == "inputs":
        cause, fix = "The data, or its scaling, holds NaN or infinity.", "Correct or remove those samples."
    elif divergence.beyond_float16:
        cause = "The targets or the loss are too large for float16."
        fix = "scale the targets, or dtype='bfloat16'"
    else:
        cause = "Likely the steps are too large: each overshoots further than the last, until numbers overflow."
        fix = f"{suggest_lr(history)}, or clip_norm=1"
    measured = {"step": divergence.step, "inputs": divergence.kind == "inputs"}
    return Finding("not-finite", "fault", evidence=divergence.text, cause=cause, fix=fix, measured=measured)


def suggest_lr(history: RunHistory) -> str:
    """A learning rate to try after one too high: a tenth, or less if the first step was far too large.

    Updates are proportional to the rate, so the first statistics tell at which an update is 1/100 of the weights.
    """
    if not history.lr:
        return "a tenth of the learning rate"
    lr, first = lower_lr(history.lr), history.stats[0] if history.stats else None
    if first and 0 < first.largest_update.update_ratio < math.inf:
        lr = min(history.lr / 10, first.lr * 10 * USUAL_UPDATE_RATIO / first.largest_update.update_ratio)
    return f"lr={lr:.2g}"


def rate_too_high(history: RunHistory) -> CheckResult:
    """Steps of a tenth of the weights or more, and a loss that rises or becomes NaN."""
    if history.divergence:
        if history.divergence.kind == "inputs":
            return None
        effect = f"training diverges at step {history.divergence.step}"
        measured: dict[str, Any] = {"diverged_at": history.divergence.step}
    elif history.steps < MIN_STEPS:
        return NOT_APPLICABLE
    else:
        start = (history.initial_stats or history.curve[0]).loss
        highest = max(history.curve, key=lambda point: point.loss)
        if highest.loss - start <= (LOSS_RISE - 1) * abs(start):  # a loss may be below 0
            return None
        effect = f"the loss rises from {start:.4g} to {highest.loss:.4g} by step {highest.step}"
        measured = {"first_loss": start, "highest_loss": highest.loss, "highest_at": highest.step}
    evidence = f"During training {effect}."
    if history.stats:
        worst = max(history.stats, key=lambda stats: stats.largest_update.update_ratio)
        layer = worst.largest_update
        if layer.update_ratio < HIGH_UPDATE_RATIO:
            return None
        evidence = (
            f"Step {worst.step + 1} changes the weights of {layer.name} by {layer.update_ratio:.2g} of their "
            f"norm, where {USUAL_UPDATE_RATIO:g} is usual; {effect}."
        )
        measured |= {"step": worst.step + 1, "layer": layer.name, "ratio": layer.update_ratio}
    return Finding(
        "rate-too-high",
        "warning",
        evidence=evidence,
        cause="Each step overshoots the minimum.",
        fix=suggest_lr(history),
        measured=measured,
    )


def rate_too_low(history: RunHistory) -> CheckResult:
    """Steps too small to change the weights, and a loss that has hardly fallen.

    A step is small too where there is no gradient, and then no rate would help: so the usual ratio must come of a
    rate that people use.
    """
    lr, first = history.lr, history.initial_stats
    if not first or not lr or history.steps < MIN_STEPS:
        return NOT_APPLICABLE
    ratio = max(stats.largest_update.update_ratio for stats in history.stats)
    start, end = first.loss, history.stats[-1].loss
    small = 0 < ratio < LOW_UPDATE_RATIO or 0 < ratio * history.steps < LOW_TOTAL_UPDATE
    if not small or lr * USUAL_UPDATE_RATIO / ratio > MAX_USUAL_LR or start - end > LOSS_FALL * abs(start):
        return None
    evidence = (
        f"No step measured changes the weights of a layer by more than {ratio:.1e} of their norm, where "
        f"{USUAL_UPDATE_RATIO:g} is usual; the loss went from {start:.4g} to {end:.4g} in {history.steps} steps."
    )
    cause = "The learning rate is too small to change the weights."
    return Finding(
        "rate-too-low",
        "warning",
        evidence=evidence,
        cause=cause,
        fix=f"lr={lr * USUAL_UPDATE_RATIO / ratio:.1g}",
        measured={"ratio": ratio, "first_loss": start, "last_loss": end, "steps": history.steps},
    )
