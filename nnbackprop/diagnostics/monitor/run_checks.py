"""All checks of a run, by id, and those of its curve: not-finite, plateau and overfitting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from backends import Array, device_of
from nnbackprop.diagnostics.check import NOT_APPLICABLE, Check, CheckResult, run_checks
from nnbackprop.diagnostics.findings import Diagnosis, Finding, Level
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.nn.trace import Trace

from .activation_stats import norm
from .history import History, mean
from .layer_checks import dead_relu, exploding, saturation, vanishing
from .rate_checks import lower_rate, rate_too_high, rate_too_low

POINTS, STEPS = 8, 200  # fewer are no curve: ex4 is healthy and needs 50 steps to be better than chance
EPOCHS = 3  # in a row above the best: one bad epoch is noise
RISE = 1.15  # of the validation loss over its least
APART = 1e-3  # between two evaluations: a thousand roundings of float32, whose sums a GPU may order anew
DROPPED = 0.01  # of nonzero inputs


def not_finite(history: History) -> CheckResult:
    """The step and layer where a diverged run became NaN or infinite."""
    if (fault := history.fault) is None:
        return None
    if fault.kind == "inputs":
        cause, fix = "The data, or its scaling, holds NaN or infinity.", "repair or leave out those samples"
    else:
        cause = "Likely steps so large that each overshoots further than the last, until numbers overflow."
        fix = f"{lower_rate(history)}, or --clip-norm 1"
    return Finding("not-finite", "fault", fault.text, cause, fix)


def plateau(history: History) -> CheckResult:
    """In the second half of the curve the loss does not fall and the accuracy is no better than chance."""
    curve = history.curve
    if len(curve) < POINTS or history.steps < STEPS or mean(curve).accuracy != mean(curve).accuracy:
        return NOT_APPLICABLE
    if not (history.at_chance and history.flat):
        return None
    half = mean(curve[history.half :])
    evidence = (
        f"From step {curve[history.half - 1].step} to {half.step} the loss stays at {half.loss:.4g} and the "
        f"accuracy at {half.accuracy:.3f}."
    )
    cause = (
        "Nothing is learnt but how common each class is: likely units all alike, or labels that belong to other "
        "samples."
    )
    return Finding("plateau", "warning", evidence, cause, "--init he-normal; or check the data: nnbackprop doctor")


def overfitting(history: History) -> CheckResult:
    """The validation loss has risen for some epochs while the training loss fell."""
    rows = [row for row in history.rows if row["validation_loss"] is not None]
    if len(rows) <= EPOCHS:
        return NOT_APPLICABLE
    best, last = min(rows, key=lambda row: row["validation_loss"]), rows[-1]
    after = [row["validation_loss"] / best["validation_loss"] for row in rows if row["step"] > best["step"]]
    rises = len(after) >= EPOCHS and min(after[-EPOCHS:]) > RISE
    if not rises or not last["train_loss"] < best["train_loss"]:
        return None
    evidence = (
        f"The validation loss was least, {best['validation_loss']:.4g}, after epoch {best['epoch']} and is "
        f"{last['validation_loss']:.4g} after epoch {last['epoch']}; the training loss went from "
        f"{best['train_loss']:.4g} to {last['train_loss']:.4g}."
    )
    cause = "The network learns its training samples by heart: it has more weights than they can determine."
    level: Level = "note" if history.stopped == "early-stopping" else "warning"
    fix = "--patience 3, and more data, --dropout 0.2 or --l2 1e-4"
    return Finding("overfitting", level, evidence, cause, fix)


def dropout_in_evaluation(xp: Any, trace: Trace, seed: int) -> CheckResult:
    """A layer of a pass in evaluation mode that is random, or drops inputs, there as it does in training."""
    result: CheckResult = NOT_APPLICABLE
    for t in trace.layers:
        if isinstance(t.layer, Sequential):
            continue  # the sum of a residual block
        keys = [RngKey(seed, xp.asarray(step, dtype=xp.int32, device=device_of(t.y))).at(0) for step in (0, 1)]
        again, *trained = (t.layer.forward(xp, t.params, t.x, key)[0] for key in (None, *keys))
        if not (_difference(xp, t.y, again) or _difference(xp, *trained)):
            continue
        dropped = xp.logical_and(t.x != 0, t.y == 0) if t.x.shape == t.y.shape else t.x != t.x
        share = float(xp.mean(xp.astype(dropped, t.y.dtype)))
        if (apart := _difference(xp, t.y, again)) > APART:
            evidence = f"two evaluations of the same samples differ by {apart:.2g} of their norm"
        elif share > DROPPED:
            evidence = f"{share:.0%} of its nonzero inputs become zero in evaluation"
        else:
            result = None
            continue
        evidence = f"Layer {t.name}: {evidence}."
        cause = "The layer drops units in evaluation as it does in training, so predictions miss a part of it."
        fix = f"In forward of {t.name}, return x as it is where key is None."
        return Finding("dropout-in-evaluation", "fault", evidence, cause, fix)
    return result


def _difference(xp: Any, y: Array, again: Array) -> float:
    """||y - again|| / ||y||, and 0 where y is 0."""
    size = float(norm(xp, [y]))
    return float(norm(xp, [y - again])) / size if size else 0.0


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
    "dropout-in-evaluation": lambda history: history.dropout,
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
