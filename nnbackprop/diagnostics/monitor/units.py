"""saturation and dead-relu: units that pass no gradient."""

from __future__ import annotations

from statistics import median

from nnbackprop.diagnostics.findings import Finding

from .activation_stats import Units
from .history import History
from .verdict import NOT_APPLICABLE, Verdict, lower_rate

UNITS, SAMPLES = 8, 32  # at least: a share of fewer says nothing
FLAT = 0.5  # of a layer's outputs: half of what goes back is lost; in healthy runs it is under a tenth
DEAD = 0.4  # "as much as 40% of your network can be dead", where the rate is too high (CS231n, Stanford, 2016)


def saturation(history: History) -> Verdict:
    """Half of a layer's sigmoids or tanhs are flat, from look to look and at the last."""
    found = _worst(history, ("sigmoid", "tanh"))
    if found is None:
        return NOT_APPLICABLE
    layer, share, first = found
    if share < FLAT:
        return None
    of = "samples have an output" if layer.output else f"outputs of its {layer.units} units have a slope"
    flat = "that is wrong and of a slope under 1% of its greatest" if layer.output else "under 1% of its greatest"
    evidence = f"{layer.name}: {share:.0%} of the {of} {flat}, {first:.0%} before the first step seen."
    if first >= FLAT:
        cause = "The first weights, or unscaled inputs, drive the units far from zero."
        return Finding("saturation", "warning", evidence, cause, "--init glorot-uniform, or --scale standard", 0.9)
    cause = "Steps too large have driven the units far from zero, where no gradient brings them back."
    return Finding("saturation", "warning", evidence, cause, lower_rate(history.lr), 0.8)


def dead_relu(history: History) -> Verdict:
    """Of a layer's ReLUs 40% are zero on every sample, from look to look and at the last."""
    found = _worst(history, ("relu",))
    if found is None:
        return NOT_APPLICABLE
    layer, share, first = found
    if share < DEAD:
        return None
    samples = history.looks[-1].samples
    evidence = (
        f"{share:.0%} of the {layer.units} units of {layer.name} are zero on all {samples} samples looked at, "
        f"{first:.0%} before the first step seen."
    )
    if first >= DEAD:
        cause = "The first biases, or weights, are so low that no sample lifts the units above zero."
        return Finding(
            "dead-relu", "warning", evidence, cause, "--init he-normal, or --activation leaky-relu", 0.9
        )
    cause = "Steps too large have pushed the units below zero for every sample, where their gradient is zero."
    fix = f"{lower_rate(history.lr)}, or --activation leaky-relu"
    return Finding("dead-relu", "warning", evidence, cause, fix, 0.8)


def lost(history: History) -> bool:
    """Whether most of a layer passes no gradient that did at first."""
    found = (_worst(history, kinds) for kinds in (("sigmoid", "tanh"), ("relu",)))
    return any(worst and worst[1] >= FLAT > worst[2] for worst in found)


def _worst(history: History, kinds: tuple[str, ...]) -> tuple[Units, float, float] | None:
    """The layer of these kinds most of which is idle, how much of it, and how much at the first look.

    How much is the median of the looks or the last, whichever is less: a layer that comes back was not lost.
    """
    if not history.looks or history.looks[-1].samples < SAMPLES:
        return None
    shares: dict[str, list[float]] = {}
    found = (u for u in history.looks[-1].units if u.kind in kinds)
    layers = {u.name: u for u in found if u.output or u.units >= UNITS}
    for look in history.looks:
        for unit in look.units:
            shares.setdefault(unit.name, []).append(unit.share)
    rows = [
        (layer, min(median(shares[name]), shares[name][-1]), shares[name][0]) for name, layer in layers.items()
    ]
    return max(rows, key=lambda row: row[1], default=None)
