"""The checks of a run: its learning rate, its layers and its learning curve.

The update-to-weight ratio, ||dW|| / ||W|| of one step, is near 1e-3 where a learning rate is well chosen (CS231n,
Stanford, 2016: "Ratio of weights:updates"). By itself it says little: ex4 begins at 0.1 and ends at 1e-4 and is
healthy. So it counts over the run, and together with the loss.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median, stdev

from nnbackprop.diagnostics.findings import (
    NOT_APPLICABLE,
    Check,
    CheckResult,
    Diagnosis,
    Finding,
    Level,
    run_checks,
)
from nnbackprop.diagnostics.nan_tracing import lower_lr

from .activation_stats import LayerStats
from .history import History, mean

USUAL_RATIO = 1e-3  # update-to-weight ratio
HIGH_RATIO = 0.1  # a hundred times what is right: ten steps are as large as the weights
LOW_RATIO = 1e-5  # a hundredth of what is right: a hundred thousand steps to make new weights
LOW_TOTAL = 0.1  # of the weights' norm: what all steps together could change
LOSS_RISE = 2.0  # over what it was: chunks of few samples differ by less
LOSS_FALL = 0.2  # less than this is slow
MIN_STEPS = 20  # fewer say nothing of a learning rate
MAX_LR = 10.0  # of those people use
MIN_UNITS, MIN_SAMPLES = 8, 32  # a share of fewer says nothing
SATURATED = 0.5  # of a layer's outputs: half of what goes back is lost; in healthy runs it is under a tenth
DEAD = 0.4  # "as much as 40% of your network can be dead", where the rate is too high (CS231n, Stanford, 2016)
MIN_DEPTH = 3  # layers with weights: of two, one is the last, and there is only one layer between
VANISHED = 1e-2
"""Of the gradient that enters the last layer: what reaches the first. Weights with variance 2 / fan-in keep that
near 1 (He et al., Delving deep into rectifiers, 2015, section 2.2); a sigmoid's slope, 1/4 at most, takes its
factor in each layer (Hochreiter, Bengio, Frasconi and Schmidhuber, Gradient flow in recurrent nets, 2001). It
counts where a run has not learnt: an optimizer that divides by the gradient's size can live with it."""
EXPLODED = 1e3  # the same for growth: no learning rate is right for layers whose gradients are so far apart
CURVE_POINTS, CURVE_STEPS = 8, 200  # fewer are no curve: ex4 needs 50 steps to be better than chance
PLATEAU_FALL = 0.002  # of the loss: ex4 falls by 0.004 in a quarter of its first 200 steps
CHANCE = 0.03  # of the way from chance to 1: ex4, slow and healthy, is at 0.05 after 50 steps
OVERFITTING_EPOCHS = 3  # in a row above the best: one bad epoch is noise
VALIDATION_RISE = 1.15  # of the validation loss over its least


def not_finite(history: History) -> CheckResult:
    """The step and layer where a diverged run became NaN or infinite."""
    if (divergence := history.divergence) is None:
        return None
    if divergence.kind == "inputs":
        cause, fix = "The data, or its scaling, holds NaN or infinity.", "Correct or remove those samples."
    else:
        cause = "Likely the steps are too large: each overshoots further than the last, until numbers overflow."
        fix = f"{suggest_lr(history)}, or --clip-norm 1"
    return Finding("not-finite", "fault", divergence.text, cause, fix)


def suggest_lr(history: History) -> str:
    """A learning rate to try after one too high, as a flag: a tenth, or less if the first step was far too large.

    Updates are proportional to the rate, so the first statistics tell at which an update is 1/100 of the weights.
    """
    if not history.lr:
        return "a tenth of the learning rate (--lr)"
    lr, first = lower_lr(history.lr), history.stats[0] if history.stats else None
    if first and 0 < first.largest_update.update_ratio < math.inf:
        lr = min(history.lr / 10, first.lr * 10 * USUAL_RATIO / first.largest_update.update_ratio)
    return f"--lr {lr:.2g}"


def rate_too_high(history: History) -> CheckResult:
    """Steps of a tenth of the weights or more, and a loss that rises or becomes NaN."""
    if history.divergence:
        if history.divergence.kind == "inputs":
            return None
        effect = f"training diverges at step {history.divergence.step}"
    elif history.steps < MIN_STEPS:
        return NOT_APPLICABLE
    else:
        start = (history.initial_stats or history.curve[0]).loss
        highest = max(history.curve, key=lambda point: point.loss)
        if highest.loss <= LOSS_RISE * start:
            return None
        effect = f"the loss rises from {start:.4g} to {highest.loss:.4g} by step {highest.step}"
    evidence = f"During training {effect}."
    if history.stats:
        worst = max(history.stats, key=lambda stats: stats.largest_update.update_ratio)
        layer = worst.largest_update
        if layer.update_ratio < HIGH_RATIO:
            return None
        evidence = (
            f"Step {worst.step + 1} changes the weights of {layer.name} by {layer.update_ratio:.2g} of their "
            f"norm, where {USUAL_RATIO:g} is usual; {effect}."
        )
    return Finding("rate-too-high", "warning", evidence, "Each step overshoots the minimum.", suggest_lr(history))


def rate_too_low(history: History) -> CheckResult:
    """Steps too small to change the weights, and a loss that has hardly fallen.

    A step is small too where there is no gradient, and then no rate would help: so the usual ratio must come of a
    rate that people use.
    """
    lr, first = history.lr, history.initial_stats
    if not first or not lr or history.steps < MIN_STEPS:
        return NOT_APPLICABLE
    ratio = max(stats.largest_update.update_ratio for stats in history.stats)
    start, end = first.loss, history.stats[-1].loss
    small = 0 < ratio < LOW_RATIO or 0 < ratio * history.steps < LOW_TOTAL
    if not small or lr * USUAL_RATIO / ratio > MAX_LR or end < (1 - LOSS_FALL) * start:
        return None
    evidence = (
        f"No step measured changes the weights of a layer by more than {ratio:.1e} of their norm, where "
        f"{USUAL_RATIO:g} is usual; the loss went from {start:.4g} to {end:.4g} in {history.steps} steps."
    )
    cause = "The learning rate is too small to change the weights."
    return Finding("rate-too-low", "warning", evidence, cause, f"--lr {lr * USUAL_RATIO / ratio:.1g}")


def saturation(history: History) -> CheckResult:
    """Half of a layer's sigmoids or tanhs are saturated, over the run and at its end."""
    if (worst := _most_inactive(history, "sigmoid", "tanh")) is None:
        return NOT_APPLICABLE
    layer, share, at_first = worst
    if share < SATURATED:
        return None
    what = "samples have a wrong output with" if layer.last else f"outputs of its {layer.units} units have"
    evidence = (
        f"{layer.name}: {share:.0%} of the {what} a slope under 1% of its greatest, {at_first:.0%} at first."
    )
    cause, fix = "Likely steps too large drove the units far from zero.", suggest_lr(history)
    if at_first >= SATURATED:
        cause = "Initial weights, or unscaled inputs, drive the units far from zero."
        fix = "--init glorot-uniform, or --scale standard"
    return Finding("saturation", "warning", evidence, cause, fix)


def dead_relu(history: History) -> CheckResult:
    """Of a layer's ReLUs 40% are zero on every sample, over the run and at its end."""
    if (worst := _most_inactive(history, "relu")) is None:
        return NOT_APPLICABLE
    layer, share, at_first = worst
    if share < DEAD:
        return None
    evidence = (
        f"{share:.0%} of the {layer.units} units of {layer.name} are zero on all {history.stats[-1].samples} "
        f"samples measured, {at_first:.0%} at first."
    )
    cause = "Likely steps too large pushed the units below zero for every sample, where their gradient is zero."
    fix = suggest_lr(history)
    if at_first >= DEAD:
        cause = "Initial biases, or weights, are so low that no sample activates the units."
        fix = "--init he-normal"
    return Finding("dead-relu", "warning", evidence, cause, f"{fix}, or --activation leaky-relu")


def _most_inactive(history: History, *kinds: str) -> tuple[LayerStats, float, float] | None:
    """The layer of these kinds with the largest inactive share, that share, and the share at first.

    It is the median over the run or the last, whichever is less: a layer that comes back is not lost.
    """
    if not history.stats or history.stats[-1].samples < MIN_SAMPLES:
        return None
    candidates = []
    for i, layer in enumerate(history.stats[-1].layers):
        if layer.kind in kinds and (layer.last or layer.units >= MIN_UNITS):
            shares = [stats.layers[i].inactive or 0.0 for stats in history.stats]
            candidates.append((layer, min(median(shares), shares[-1]), shares[0]))
    return max(candidates, key=lambda candidate: candidate[1], default=None)


def vanishing(history: History) -> CheckResult:
    """Less than 1/100 of the gradient reaches the first layer of a network that does not learn."""
    ratios = _gradient_ratios(history)
    if not ratios:
        return NOT_APPLICABLE
    halfway = (1 + (history.majority_share or 0.0)) / 2  # from chance to 1
    if median(ratios) > VANISHED or history.stats[-1].accuracy > halfway:
        return None
    cause = "Each layer passes back a part of what it gets: slopes or weights are too small."
    fix = "--activation relu --init he-normal, or fewer layers (--hidden)"
    return Finding("vanishing", "warning", _gradient_flow(history, ratios), cause, fix)


def exploding(history: History) -> CheckResult:
    """The gradient grows a thousandfold from the last layer to the first."""
    ratios = _gradient_ratios(history)
    if not ratios:
        return NOT_APPLICABLE
    if median(ratios) <= EXPLODED:
        return None
    cause = "Initial weights are so large that each layer multiplies what passes through it."
    fix = "--init he-normal, or --clip-norm 1"
    return Finding("exploding", "warning", _gradient_flow(history, ratios), cause, fix)


def _gradient_ratios(history: History) -> list[float]:
    """||dJ/dy|| of the first layer with weights over that of the last, of each measurement of a deep network."""
    layers = [s.weighted for s in history.stats if len(s.weighted) >= MIN_DEPTH and s.weighted[-1].dy_norm > 0]
    ratios = (weighted[0].dy_norm / weighted[-1].dy_norm for weighted in layers)
    return [ratio if math.isfinite(ratio) else math.inf for ratio in ratios]


def _gradient_flow(history: History, ratios: list[float]) -> str:
    first, *_, last = history.stats[-1].weighted
    return (
        f"Of the norm of dJ/dy at {last.name}, {last.dy_norm:.1e} at the end, {first.dy_norm:.1e} arrives at "
        f"{first.name}: a factor of {median(ratios):.1e}, the median of {len(ratios)} measurements."
    )


def plateau(history: History) -> CheckResult:
    """In the second half of the curve the loss does not fall and the accuracy is no better than chance.

    Chance is to predict the most common class always. Rows do not tell its share; without it, an accuracy that
    does not rise and is below 0.6 counts.
    """
    curve = history.curve
    if len(curve) < CURVE_POINTS or history.steps < CURVE_STEPS or math.isnan(mean(curve).accuracy):
        return NOT_APPLICABLE
    middle, three_quarters = len(curve) // 2, 3 * len(curve) // 4
    first_half, second_half = mean(curve[:middle]), mean(curve[middle:])
    before, after = mean(curve[middle:three_quarters]).loss, curve[three_quarters:]
    noise = 2 * stdev(point.loss for point in after) / math.sqrt(len(after))
    chance = history.majority_share
    at_chance = (
        second_half.accuracy < min(0.6, first_half.accuracy + 0.01)
        if chance is None
        else second_half.accuracy < chance + CHANCE * (1 - chance)
    )
    if not at_chance or before - mean(after).loss >= max(PLATEAU_FALL * before, noise):
        return None
    evidence = (
        f"From step {curve[middle - 1].step} to {second_half.step} the loss stays at {second_half.loss:.4g} and "
        f"the accuracy at {second_half.accuracy:.3f}."
    )
    cause = (
        "The network has learnt only how common each class is: likely its units are all alike, or labels belong "
        "to other samples."
    )
    fix = "--init he-normal; or check the data: nnbackprop doctor --data"
    return Finding("plateau", "warning", evidence, cause, fix)


def overfitting(history: History) -> CheckResult:
    """The validation loss has risen for some epochs while the training loss fell."""
    rows = [row for row in history.rows if row["validation_loss"] is not None]
    if len(rows) <= OVERFITTING_EPOCHS:
        return NOT_APPLICABLE
    best, last = min(rows, key=lambda row: row["validation_loss"]), rows[-1]
    after = [row["validation_loss"] / best["validation_loss"] for row in rows if row["step"] > best["step"]]
    rises = len(after) >= OVERFITTING_EPOCHS and min(after[-OVERFITTING_EPOCHS:]) > VALIDATION_RISE
    if not rises or not last["train_loss"] < best["train_loss"]:
        return None
    evidence = (
        f"The validation loss was least, {best['validation_loss']:.4g}, after epoch {best['epoch']} and is "
        f"{last['validation_loss']:.4g} after epoch {last['epoch']}; the training loss went from "
        f"{best['train_loss']:.4g} to {last['train_loss']:.4g}."
    )
    cause = "The network memorises its training samples: it has more weights than they can determine."
    level: Level = "note" if history.stop_reason == "early-stopping" else "warning"
    fix = "--patience 3, and more data, --dropout 0.2 or --l2 1e-4"
    return Finding("overfitting", level, evidence, cause, fix)


RUN_CHECKS: dict[str, Check[History]] = {
    "not-finite": not_finite,
    "rate-too-high": rate_too_high,
    "rate-too-low": rate_too_low,
    "saturation": saturation,
    "dead-relu": dead_relu,
    "vanishing": vanishing,
    "exploding": exploding,
    "plateau": plateau,
    "overfitting": overfitting,
}

CAUSES = {
    "saturation": ("rate-too-high",),
    "dead-relu": ("rate-too-high",),
    "exploding": ("rate-too-high",),
    "vanishing": ("rate-too-high", "saturation", "dead-relu"),
    "rate-too-low": ("saturation", "dead-relu", "vanishing", "exploding"),
    "plateau": ("rate-too-high", "saturation", "dead-relu", "vanishing", "exploding", "rate-too-low"),
}
"""Findings that cause others: where one of these is found too, the finding becomes a note."""


def check_history(history: History) -> Diagnosis:
    """Run all checks of a run; consequences of another finding become notes that name it."""
    diagnosis = run_checks(RUN_CHECKS, history)
    found, findings = {finding.id: finding for finding in diagnosis.findings}, []
    for finding in diagnosis.findings:
        cause = next((id for id in CAUSES.get(finding.id, ()) if id in found), None)
        if cause:
            finding = replace(finding, level="note", cause=f"It follows from {cause}.", fix=found[cause].fix)
        findings.append(finding)
    return replace(diagnosis, findings=tuple(findings))
