"""plateau and overfitting: what the course of the losses shows by itself."""

from __future__ import annotations

from nnbackprop.findings import Finding

from .history import History
from .verdict import NOT_APPLICABLE, Verdict

EPOCHS = 3  # in a row above the best: one bad epoch is noise
RISE = 1.15  # of the validation loss over its least


def plateau(history: History) -> Verdict:
    return NOT_APPLICABLE


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
        f"{best['train_loss']:.4g} to {last['train_loss']:.4g}"
    )
    cause = "The network learns its training samples by heart: it has more weights than they can pin down."
    fix = "--patience 3, and more data, --dropout 0.2 or --l2 1e-4"
    level = "note" if history.stopped == "early-stopping" else "warning"
    return Finding("overfitting", level, evidence, cause, fix, 0.9)
