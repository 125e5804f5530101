"""The checks of a run: its learning rate, its layers, its learning curve, and dropout in evaluation.

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

from .history import History, mean

USUAL = 1e-3  # update-to-weight ratio
HIGH = 0.1  # a hundred times what is right: ten steps are as large as the weights
LOW = 1e-5  # a hundredth of what is right: a hundred thousand steps to make new weights
REACH = 0.1  # of the weights' norm: what all steps together could change
LOSS_RISE = 2.0  # over what it was: chunks of few samples differ by less
LOSS_FALL = 0.2  # less than this is slow
RATE_STEPS = 20  # fewer say nothing of a learning rate
TOP_RATE = 10.0  # of those people use
SATURATED = 0.5  # of a layer's outputs: half of what goes back is lost; in healthy runs it is under a tenth
DEAD = 0.4  # "as much as 40% of your network can be dead", where the rate is too high (CS231n, Stanford, 2016)
DEEP = 3  # layers with weights: of two, one is the last, and there is only one layer between
VANISHED = 1e-2
"""Of the gradient that enters the last layer: what reaches the first. Weights with variance 2 / fan-in keep that
near 1 (He et al., Delving deep into rectifiers, 2015, section 2.2); a sigmoid's slope, 1/4 at most, takes its
factor in each layer (Hochreiter, Bengio, Frasconi and Schmidhuber, Gradient flow in recurrent nets, 2001). It
counts where a run has not learnt: an optimizer that divides by the gradient's size can live with it."""
EXPLODED = 1e3  # the same for growth: no learning rate is right for layers whose gradients are so far apart
CURVE_POINTS, CURVE_STEPS = 8, 200  # fewer are no curve: ex4 needs 50 steps to be better than chance
STILL = 0.002  # of the loss: ex4 falls by 0.004 in a quarter of its first 200 steps
OVERFITTING_EPOCHS = 3  # in a row above the best: one bad epoch is noise
VALIDATION_RISE = 1.15  # of the validation loss over its least
APART = 1e-3  # between two evaluations: a thousand roundings of float32, whose sums a GPU may order anew
DROPPED = 0.01  # of nonzero inputs


def not_finite(history: History) -> CheckResult:
    """The step and layer where a diverged run became NaN or infinite."""
    if (fault := history.fault) is None:
        return None
    if fault.kind == "inputs":
        cause, fix = "The data, or its scaling, holds NaN or infinity.", "Correct or remove those samples."
    else:
        cause = "Likely the steps are too large: each overshoots further than the last, until numbers overflow."
        fix = f"{lower_rate(history)}, or --clip-norm 1"
    return Finding("not-finite", "fault", fault.text, cause, fix)


def lower_rate(history: History) -> str:
    """A learning rate to try after one too high, as a flag: a tenth, or less if the first step was far too large.

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
    if not history.fault and history.steps < RATE_STEPS:
        return NOT_APPLICABLE
    effect, ratio = _effect_of_rate(history), ""
    if effect is None:
        return None
    if history.stats:
        worst = max(history.stats, key=lambda stats: stats.largest.ratio if stats.largest else 0.0)
        if not worst.largest or worst.largest.ratio < HIGH:
            return None
        ratio = (
            f"Step {worst.step + 1} changes the weights of {worst.largest.name} by {worst.largest.ratio:.2g} of "
            f"their norm, where {USUAL:g} is usual; "
        )
    evidence = f"{ratio or 'During training '}{effect}."
    return Finding("rate-too-high", "warning", evidence, "Each step overshoots the minimum.", lower_rate(history))


def _effect_of_rate(history: History) -> str | None:
    """What went wrong with the loss, if anything did."""
    if fault := history.fault:
        return None if fault.kind == "inputs" else f"training diverges at step {fault.step}"
    curve = history.curve
    start = history.stats[0].loss if history.from_the_start else curve[0].loss
    top = max(curve, key=lambda point: point.loss)
    if top.loss > LOSS_RISE * start:
        return f"the loss rises from {start:.4g} to {top.loss:.4g} by step {top.step}"
    worst = [history.worst_idle(kinds) for kinds in (("sigmoid", "tanh"), ("relu",))]
    lost = any(w and w[1] >= SATURATED > w[2] for w in worst)
    if len(curve) >= CURVE_POINTS and history.at_chance and lost:
        loss = mean(curve[-(len(curve) // 4) :]).loss
        return f"most units of a layer stop learning, and the loss stays at {loss:.4g}"
    return None


def rate_too_low(history: History) -> CheckResult:
    """Steps too small to change the weights, and a loss that has hardly fallen.

    A step is small too where there is no gradient, and then no rate would help: so the usual ratio must come of a
    rate that people use.
    """
    lr = history.lr
    if not history.from_the_start or history.steps < RATE_STEPS or not lr:
        return NOT_APPLICABLE
    ratio = max((stats.largest.ratio for stats in history.stats if stats.largest), default=0.0)
    start, end = history.stats[0].loss, history.stats[-1].loss
    small = 0 < ratio < LOW or 0 < ratio * history.steps < REACH
    if not small or lr * USUAL / ratio > TOP_RATE or end < (1 - LOSS_FALL) * start:
        return None
    evidence = (
        f"No step measured changes the weights of a layer by more than {ratio:.1e} of their norm, where {USUAL:g} "
        f"is usual; the loss went from {start:.4g} to {end:.4g} in {history.steps} steps."
    )
    cause = "The learning rate is too small to change the weights."
    return Finding("rate-too-low", "warning", evidence, cause, f"--lr {lr * USUAL / ratio:.1g}")


def saturation(history: History) -> CheckResult:
    """Half of a layer's sigmoids or tanhs are flat, over the run and at its end."""
    if (worst := history.worst_idle(("sigmoid", "tanh"))) is None:
        return NOT_APPLICABLE
    layer, share, first = worst
    if share < SATURATED:
        return None
    what = "samples have a wrong output with" if layer.last else f"outputs of its {layer.units} units have"
    evidence = f"{layer.name}: {share:.0%} of the {what} a slope under 1% of its greatest, {first:.0%} at first."
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
        cause = "Initial biases, or weights, are so low that no sample activates the units."
        fix = "--init he-normal"
    return Finding("dead-relu", "warning", evidence, cause, f"{fix}, or --activation leaky-relu")


def vanishing(history: History) -> CheckResult:
    """Less than 1/100 of the gradient reaches the first layer of a network that does not learn."""
    gains = _gains(history)
    if not gains:
        return NOT_APPLICABLE
    learnt = history.stats[-1].accuracy > (1 + (history.commonest or 0.0)) / 2  # over halfway from chance to 1
    if median(gains) > VANISHED or learnt:
        return None
    cause = "Each layer passes back a part of what it gets: slopes or weights are too small."
    fix = "--activation relu --init he-normal, or fewer layers (--hidden)"
    return Finding("vanishing", "warning", _flow(history, gains), cause, fix)


def exploding(history: History) -> CheckResult:
    """The gradient grows a thousandfold from the last layer to the first."""
    gains = _gains(history)
    if not gains:
        return NOT_APPLICABLE
    if median(gains) <= EXPLODED:
        return None
    cause = "Initial weights are so large that each layer multiplies what passes through it."
    return Finding("exploding", "warning", _flow(history, gains), cause, "--init he-normal, or --clip-norm 1")


def _gains(history: History) -> list[float]:
    """||dJ/dy|| of the first layer with weights over that of the last, of each measurement of a deep network."""
    layers = [s.weighted for s in history.stats if len(s.weighted) >= DEEP and s.weighted[-1].delta > 0]
    gains = (weighted[0].delta / weighted[-1].delta for weighted in layers)
    return [gain if math.isfinite(gain) else math.inf for gain in gains]


def _flow(history: History, gains: list[float]) -> str:
    first, *_, last = history.stats[-1].weighted
    return (
        f"Of the norm of dJ/dy at {last.name}, {last.delta:.1e} at the end, {first.delta:.1e} arrives at "
        f"{first.name}: a factor of {median(gains):.1e}, the median of {len(gains)} measurements."
    )


def plateau(history: History) -> CheckResult:
    """In the second half of the curve the loss does not fall and the accuracy is no better than chance."""
    curve = history.curve
    if len(curve) < CURVE_POINTS or history.steps < CURVE_STEPS or math.isnan(mean(curve).accuracy):
        return NOT_APPLICABLE
    middle = 3 * len(curve) // 4
    before, after = mean(curve[history.half : middle]).loss, curve[middle:]
    noise = 2 * stdev(point.loss for point in after) / math.sqrt(len(after))
    if not history.at_chance or before - mean(after).loss >= max(STILL * before, noise):
        return None
    half = mean(curve[history.half :])
    evidence = (
        f"From step {curve[history.half - 1].step} to {half.step} the loss stays at {half.loss:.4g} and the "
        f"accuracy at {half.accuracy:.3f}."
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
    level: Level = "note" if history.stopped == "early-stopping" else "warning"
    fix = "--patience 3, and more data, --dropout 0.2 or --l2 1e-4"
    return Finding("overfitting", level, evidence, cause, fix)


def dropout_in_evaluation(history: History) -> CheckResult:
    """A layer that is random, or drops inputs, in evaluation as it does in training."""
    random = [layer for layer in history.randomness if layer.evaluation or layer.training]
    if not random:
        return NOT_APPLICABLE
    for layer in random:
        if layer.evaluation > APART:
            evidence = f"two evaluations of the same samples differ by {layer.evaluation:.2g} of their norm"
        elif layer.dropped > DROPPED:
            evidence = f"{layer.dropped:.0%} of its nonzero inputs become zero in evaluation"
        else:
            continue
        evidence = f"Layer {layer.name}: {evidence}."
        cause = "The layer drops units in evaluation as it does in training, so predictions lack some of them."
        fix = f"In forward of {layer.name}, return x as it is where key is None."
        return Finding("dropout-in-evaluation", "fault", evidence, cause, fix)
    return None


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
    "dropout-in-evaluation": dropout_in_evaluation,
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
