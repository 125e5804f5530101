"""not-finite and dropout-in-evaluation: what makes a run's numbers wrong, not slow."""

from __future__ import annotations

from nnbackprop.diagnostics.findings import Finding

from .history import History
from .verdict import NOT_APPLICABLE, Verdict, lower_rate

APART = 1e-3  # between two evaluations: a thousand roundings of float32, whose sums a GPU may order anew
DROPPED = 0.01  # of nonzero inputs


def not_finite(history: History) -> Verdict:
    """From the same facts as the error that ends such a run."""
    fault = history.fault
    if fault is None:
        return None
    evidence = f"{fault.words}."
    if fault.kind == "inputs":
        cause = "The data, or what its scaling makes of it, holds NaN or infinity; no network can learn from it."
        return Finding("not-finite", "fault", evidence, cause, "repair or leave out those samples", 1.0)
    cause = "Steps so large that each overshoots further than the last, until numbers leave the dtype's range."
    fix = f"{lower_rate(history.lr)}, or --clip-norm 1"
    return Finding("not-finite", "fault", evidence, cause, fix, 0.8)


def dropout_in_evaluation(history: History) -> Verdict:
    """A layer that is random in evaluation, or is so in training and drops inputs in evaluation all the same."""
    layers = [layer for layer in history.droppings if layer.random]
    if not layers:
        return NOT_APPLICABLE
    for layer in layers:
        evidence = None
        if layer.apart > APART:
            evidence = f"two evaluations of the same samples differ by {layer.apart:.2g} of their norm"
        elif layer.dropped > DROPPED:
            evidence = f"{layer.dropped:.0%} of its nonzero inputs become zero in evaluation"
        if evidence:
            cause = "The layer drops units in evaluation as it does in training, so predictions miss a part of it."
            fix = f"in forward of {layer.name}, return x as it is where draw is None"
            found = f"layer {layer.name}: {evidence}."
            return Finding("dropout-in-evaluation", "fault", found, cause, fix, 0.95)
    return None
