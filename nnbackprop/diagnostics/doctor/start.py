"""Checks at initialization: the first loss, and how signals and gradients change from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from backends import NumpyBackend
from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding
from nnbackprop.nn.losses import Loss, MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.nn.objective import Objective

from .probes import ModelProbe

# He's and Glorot's rules keep a signal within a factor of 2 a layer, and a sigmoid takes a factor of 3 to 4 away:
# four sigmoids of Glorot's leave 1/200 and still learn MNIST, five 1/1000 and hardly do; ReLUs, which gain as they
# learn, still do so from 1/1000. Forward, N(0, 1) weights make 180 of one hidden layer, which learns, 1000 of two.
MIN_RATIO, MAX_RATIO = 3e-4, 300.0
BETTER_THAN_CONSTANT = 0.1  # of the best constant's loss: initial weights may reach half of it by chance
# Of standard deviation: He's rule gives 1.4, N(0, 1) after 30 sigmoids, which trains, about 4.
LARGE_OUTPUTS = 6.0
INIT = "--init he-normal (ReLU) or --init glorot-uniform (tanh, sigmoid), with --scale standard."


def baseline_loss(objective: Objective, targets: np.ndarray, n_outputs: int) -> tuple[float, str] | None:
    """The least loss of constant outputs on host targets, and in words the loss of equal outputs: ln 10 = 2.303.

    The first is the targets' entropy or variance. None for a loss that is not one of this package's.
    """
    xp, n, k = NumpyBackend().xp, len(targets), n_outputs
    targets = targets if targets.ndim == 1 else targets.astype(np.float64)
    t = objective.loss.encode_targets(xp, np.zeros((n, k)), targets)
    q = np.mean(np.eye(k)[t] if t.ndim == 1 else t, axis=0)
    loss: Loss
    with np.errstate(divide="ignore"):
        match objective.loss:  # of a subclass, the loss it should compute
            case SoftmaxCrossEntropy(label_smoothing=s):
                loss, constant = SoftmaxCrossEntropy(s), np.log(q * (1 - s) + s / k)
                of_equal_outputs = f"ln {k} = {math.log(k):.3f}"
            case SigmoidBinaryCrossEntropy(label_smoothing=s):
                q = q * (1 - s) + s / 2
                loss, constant = SigmoidBinaryCrossEntropy(s), np.log(q) - np.log(1 - q)
                of_equal_outputs = f"{k if k > 1 else ''} ln 2 = {k * math.log(2):.3f}".strip()
            case MeanSquaredError(reduction, off, on):
                loss, constant = MeanSquaredError(reduction), q
                of_equal_outputs = f"the loss of outputs of {(off + on) / 2 if targets.ndim == 1 else 0.0:g}"
            case _:
                return None
    least, _ = loss(xp, np.broadcast_to(np.clip(constant, -1e3, 1e3), (n, k)), t)
    return float(least), of_equal_outputs


def initial_loss(probe: ModelProbe) -> CheckResult:
    """The first loss against that of a model that ignores its input."""
    J, _ = probe.loss_and_accuracy(probe.x)
    if not math.isfinite(J):
        return overflow(f"The first loss is {J}.")
    y = probe.to_numpy(probe.trace(probe.x).y)
    baseline = baseline_loss(probe.objective, probe.host_targets, y.shape[1])
    if baseline is None:
        return NOT_APPLICABLE
    least, of_equal_outputs = baseline
    evidence = f"The first loss is {J:.4g}; an untrained network starts near {of_equal_outputs}"
    if y.std() > LARGE_OUTPUTS and 2 * least < J:
        return Finding(
            "initial-loss",
            "warning",
            evidence=(
                f"{evidence}. Its outputs have a standard deviation of {y.std():.3g}, where about 1 is usual."
            ),
            cause="Initial weights or inputs are too large: the first predictions are random and confident.",
            fix=INIT,
        )
    if BETTER_THAN_CONSTANT * least <= J:
        return None
    return Finding(
        "initial-loss",
        "fault",
        evidence=f"{evidence}, and the best constant guess has a loss of {least:.4g}.",
        cause=(
            "No untrained network is so good: likely the loss is divided twice, or the answer is among the inputs."
        ),
        fix="Take the mean over the batch once; remove features that are made from the label.",
    )


def overflow(evidence: str) -> Finding:
    """Numbers that are NaN or infinite before the first step."""
    cause = "Numbers overflow before the first step: weights or inputs are far too large, or not finite."
    return Finding("initial-loss", "fault", evidence=evidence, cause=cause, fix=INIT)


def variance_forward(probe: ModelProbe) -> CheckResult:
    """The standard deviation over samples, averaged over units, of the outputs of each layer with parameters."""
    layers = [layer for layer in probe.trace(probe.x).layers if layer.params]
    if len(layers) < 2 or not probe.inputs_vary:
        return NOT_APPLICABLE
    outputs = {"input": probe.x} | {layer.name: layer.y for layer in layers}
    sizes = [math.sqrt(float(np.mean(probe.to_numpy(y).var(axis=0)))) for y in outputs.values()]
    return _signal("variance-forward", "signal", list(outputs), sizes)


def variance_backward(probe: ModelProbe) -> CheckResult:
    """||dJ/dy|| of the layers with parameters, from the last on.

    By norm, not by unit: a layer narrower than the next has a larger share of it in each unit.
    """
    xp, objective, trace = probe.backend.xp, probe.objective, probe.trace(probe.x)
    layers = [layer for layer in trace.layers if layer.params]
    if len(layers) < 2 or not probe.inputs_vary:
        return NOT_APPLICABLE
    _, dy = objective.loss(xp, trace.y, objective.loss.encode_targets(xp, trace.y, probe.targets))
    norms = {t.name: float(np.linalg.norm(probe.to_numpy(dy))) for t, dy, _, _ in trace.backward(xp, dy)}
    names = [layer.name for layer in layers][::-1]
    if not norms[names[0]]:
        return NOT_APPLICABLE  # the loss has no slope at all
    return _signal("variance-backward", "gradient", names, [norms[name] for name in names])


def _signal(id: str, what: str, names: Sequence[str], sizes: Sequence[float]) -> CheckResult:
    """A finding if some size is not within MIN_RATIO .. MAX_RATIO of the first."""
    ratios = [size / sizes[0] for size in sizes]
    orders = [abs(math.log10(ratio)) if 0 < ratio < math.inf else math.inf for ratio in ratios]
    worst = orders.index(max(orders))
    if MIN_RATIO <= ratios[worst] <= MAX_RATIO:
        return None
    path = ", ".join(f"{name} {size:.3g}" for name, size in zip(names, sizes, strict=True))
    vanishes = ratios[worst] < MIN_RATIO
    cause = f"Initial weights too {'small' if vanishes else 'large'} for the layers' widths"
    return Finding(
        id,
        "warning" if 0 < ratios[worst] < math.inf else "fault",
        evidence=(
            f"The {what} at the start, layer by layer: {path}; a factor of {ratios[worst]:.2g} by {names[worst]}."
        ),
        cause=cause
        + (", or too many sigmoids in a row, each of which takes three quarters." if vanishes else "."),
        fix=INIT + (" Fewer layers, or --activation relu." if vanishes else ""),
    )
