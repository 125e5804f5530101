"""plateau and overfitting: what the course of the losses shows by itself."""

from __future__ import annotations

from nnbackprop.diagnostics.findings import Finding, Level

from .history import History, mean_accuracy, mean_loss
from .verdict import NOT_APPLICABLE, Verdict

POINTS, STEPS = 8, 200  # fewer are no course: ex4 is healthy and needs 50 steps to be better than chance
EPOCHS = 3  # in a row above the best: one bad epoch is noise
RISE = 1.15  # of the validation loss over its least


def plateau(history: History) -> Verdict:
    """In the second half of the course the loss does not fall and the answers are no better than chance."""
    if len(history.course) < POINTS or history.steps < STEPS:
        return NOT_APPLICABLE
    if not (history.at_chance and history.flat):
        return None
    half = history.course[len(history.course) // 2 :]
    evidence = (
        f"from step {history.course[-len(half) - 1].step} to {half[-1].step} the loss stands at "
        f"{mean_loss(half):.4g} and the accuracy at {mean_accuracy(half):.3f}."
    )
    cause = (
        "Nothing is learnt but how common each class is: units all alike, or labels that belong to other samples."
    )
    fix = "--init he-normal; or look at the data, with nnbackprop doctor"
    return Finding("plateau", "warning", evidence, cause, fix, 0.7)


def overfitting(history: History) -> Verdict:
    """The validation loss has risen for some epochs while the training loss fell."""
    rows = [row for row in history.rows if row["validation_loss"] is not None]
    if len(rows) <= EPOCHS:
        return NOT_APPLICABLE
    best = min(rows, key=lambda row: row["validation_loss"])
    after, last = [row for row in rows if row["step"] > best["step"]], rows[-1]
    risen = len(after) >= EPOCHS and all(
        row["validation_loss"] > RISE * best["validation_loss"] for row in after[-EPOCHS:]
    )
    if not risen or not last["train_loss"] < best["train_loss"]:
        return None
    evidence = (
        f"the validation loss was least, {best['validation_loss']:.4g}, after epoch {best['epoch']} and is "
        f"{last['validation_loss']:.4g} after epoch {last['epoch']}; the training loss went from "
        f"{best['train_loss']:.4g} to {last['train_loss']:.4g}."
    )
    cause = "The network learns its training samples by heart: it has more weights than they can pin down."
    fix = "--patience 3, and more data, --dropout 0.2 or --l2 1e-4"
    level: Level = "note" if history.stopped == "early-stopping" else "warning"
    return Finding("overfitting", level, evidence, cause, fix, 0.9)
