"""Checks of the learning curve: a loss that does not fall, and a validation loss that rises."""

from __future__ import annotations

import math
from statistics import stdev

from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding, Level

from .history import RunHistory, mean

MIN_CURVE_POINTS, MIN_CURVE_STEPS = 8, 200  # fewer are no curve: ex4 needs 50 steps to be better than chance
MIN_LOSS_DECREASE = 0.002  # of the loss: ex4 falls by 0.004 in a quarter of its first 200 steps
CHANCE_MARGIN = 0.03  # of the way from chance to 1: ex4, slow and healthy, is at 0.05 after 50 steps
OVERFITTING_EPOCHS = 3  # in a row above the best: one bad epoch is noise
MAX_VALIDATION_RISE = 1.15  # of the validation loss over its least


def plateau(history: RunHistory) -> CheckResult:
    """In the second half of the curve the loss does not fall and the accuracy is no better than chance.

    Chance is to predict the most common class always. Rows do not tell its fraction; without it, an accuracy that
    does not rise and is below 0.6 counts.
    """
    curve = history.curve
    if len(curve) < MIN_CURVE_POINTS or history.steps < MIN_CURVE_STEPS or math.isnan(mean(curve).accuracy):
        return NOT_APPLICABLE
    middle, three_quarters = len(curve) // 2, 3 * len(curve) // 4
    first_half, second_half = mean(curve[:middle]), mean(curve[middle:])
    before, after = mean(curve[middle:three_quarters]).loss, curve[three_quarters:]
    noise = 2 * stdev(point.loss for point in after) / math.sqrt(len(after))
    chance = history.majority_fraction
    at_chance = (
        second_half.accuracy < min(0.6, first_half.accuracy + 0.01)
        if chance is None
        else second_half.accuracy < chance + CHANCE_MARGIN * (1 - chance)
    )
    if not at_chance or before - mean(after).loss >= max(MIN_LOSS_DECREASE * abs(before), noise):
        return None
    evidence = (
        f"From step {curve[middle - 1].step} to {second_half.step} the loss stays at {second_half.loss:.4g} and "
        f"the accuracy at {second_half.accuracy:.3f}."
    )
    cause = (
        "The network has learnt only how common each class is: likely its units are all alike, or labels belong "
        "to other samples."
    )
    fix = "init='he-normal'; or check the data: nnbackprop doctor"
    measured = {
        "first_step": curve[middle - 1].step,
        "last_step": second_half.step,
        "loss": second_half.loss,
        "accuracy": second_half.accuracy,
    }
    return Finding("plateau", "warning", evidence=evidence, cause=cause, fix=fix, measured=measured)


def overfitting(history: RunHistory) -> CheckResult:
    """The validation loss has risen for some epochs while the training loss fell."""
    rows = [row for row in history.rows if row["validation_loss"] is not None]
    if len(rows) <= OVERFITTING_EPOCHS:
        return NOT_APPLICABLE
    best, last = min(rows, key=lambda row: row["validation_loss"]), rows[-1]
    after = [row["validation_loss"] - best["validation_loss"] for row in rows if row["step"] > best["step"]]
    allowed = (MAX_VALIDATION_RISE - 1) * abs(best["validation_loss"])  # a loss may be below 0
    rises = len(after) >= OVERFITTING_EPOCHS and min(after[-OVERFITTING_EPOCHS:]) > allowed
    if not rises or not last["train_loss"] < best["train_loss"]:
        return None
    evidence = (
        f"The validation loss was least, {best['validation_loss']:.4g}, after epoch {best['epoch']} and is "
        f"{last['validation_loss']:.4g} after epoch {last['epoch']}; the training loss went from "
        f"{best['train_loss']:.4g} to {last['train_loss']:.4g}."
    )
    cause = "The network memorises its training samples: it has more weights than they can determine."
    level: Level = "note" if history.stop_reason == "early-stopping" else "warning"
    fix = "patience=3, and more data, dropout=0.2 or l2=1e-4"
    names = ("epoch", "validation_loss", "train_loss")
    measured = {f"{which}_{name}": row[name] for which, row in (("best", best), ("last", last)) for name in names}
    return Finding("overfitting", level, evidence=evidence, cause=cause, fix=fix, measured=measured)
