"""rate-too-high and rate-too-low: what a step is beside the weights it changes, and what becomes of the loss.

The update-to-weight ratio, ||dW|| / ||W|| of one step, is near 1e-3 where a rate is well chosen (CS231n, Stanford,
2016: "Ratio of weights:updates"). By itself it says little: ex4 begins at 0.1 and ends at 1e-4 and is healthy. So
it is judged over the run, and with the loss.
"""

from __future__ import annotations

from nnbackprop.diagnostics.findings import Finding

from .history import History, mean_loss
from .units import lost
from .verdict import NOT_APPLICABLE, Verdict, lower_rate

USUAL = 1e-3
HIGH = 0.1  # a hundred times what is right: ten steps are as large as the weights
LOW = 1e-5  # a hundredth of what is right: a hundred thousand steps to make new weights
RISE = 2.0  # of the loss over what it was: chunks of few samples differ by less
STEPS = 20  # fewer say nothing of a rate
FALL = 0.2  # of the loss: less than this is slow
TOP = 10.0  # of the rates people use


def rate_too_high(history: History) -> Verdict:
    """Steps of a tenth of the weights or more, and a loss that rises, stands still at chance, or is lost."""
    if not history.fault and history.steps < STEPS:
        return NOT_APPLICABLE
    outcome, ratio = _outcome(history), ""
    if outcome is None:
        return None
    if history.looks:
        look = max(history.looks, key=lambda look: look.largest.ratio if look.largest else 0.0)
        if not look.largest or look.largest.ratio < HIGH:
            return None
        ratio = (
            f"step {look.step + 1} changes the weights of {look.largest.name} by {look.largest.ratio:.2g} of "
            f"their norm, where {USUAL:g} is usual; "
        )
    cause = "Each step overshoots what it aims at."
    return Finding("rate-too-high", "warning", f"{ratio}{outcome}.", cause, lower_rate(history.lr), 0.9)


def _outcome(history: History) -> str | None:
    """What went wrong with the loss, in words, if anything did."""
    if history.fault:
        return None if history.fault.kind == "inputs" else f"by step {history.fault.step} it was no finite number"
    course = history.course
    start = history.looks[0].loss if history.seen_from_the_start else course[0].loss
    worst, quarter = max(course, key=lambda point: point.loss), course[-max(1, len(course) // 4) :]
    if worst.loss > RISE * start:
        return f"the loss rose from {start:.4g} to {worst.loss:.4g} by step {worst.step}"
    if len(course) >= 8 and history.at_chance and lost(history):
        return f"most units of a layer have ceased to learn, and the loss stands at {mean_loss(quarter):.4g}"
    return None


def rate_too_low(history: History) -> Verdict:
    """Steps of less than 1e-5 of the weights from the first to the last, and a loss that has hardly fallen.

    A step is small too where there is no gradient, and then no rate would help: what is asked for is that the
    usual ratio would come of a rate that people use.
    """
    lr = history.lr
    if not history.seen_from_the_start or history.steps < STEPS or not lr:
        return NOT_APPLICABLE
    largest = max((look.largest.ratio for look in history.looks if look.largest), default=0.0)
    start, end = history.looks[0].loss, history.looks[-1].loss
    if not 0 < largest < LOW or lr * USUAL / largest > TOP or end < (1 - FALL) * start:
        return None
    evidence = (
        f"no step looked at changes the weights of a layer by more than {largest:.1e} of their norm, where "
        f"{USUAL:g} is usual; the loss went from {start:.4g} to {end:.4g} in {history.steps} steps."
    )
    fix = f"--lr {lr * USUAL / largest:.1g}"
    cause = "The learning rate is too small for the weights to get anywhere."
    return Finding("rate-too-low", "warning", evidence, cause, fix, 0.9)
