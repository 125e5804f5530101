"""Checks at initialisation: the first loss, and how signals and gradients change from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends import NumpyBackend
from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding
from nnbackprop.nn.losses import Loss, MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy
from nnbackprop.training.step import Objective

from .probes import ModelProbe

# He's and Glorot's rules keep a signal within a factor of 2 a layer, and a sigmoid takes a factor of 3 to 4 away:
# four sigmoids of Glorot's leave 1/200 and still learn MNIST, five 1/1000 and hardly do; ReLUs, which gain as they
# learn, still do so from 1/1000. Forward, N(0, 1) weights make 180 of one hidden layer, which learns, 1000 of two.
LEAST, MOST = 3e-4, 300.0
GOOD = 0.1  # of the best constant's loss: by chance initial weights come to half of it where classes lie apart
# More than initial weights should give: He's rule gives 1.4, N(0, 1) after 30 sigmoids, which trains, about 4.
LARGE = 6.0
INIT = "--init he-normal (ReLU) or --init glorot-uniform (tanh, sigmoid), with --scale standard."


@dataclass(frozen=True)
class BaselineLoss:
    """Losses of models that ignore their input.

    best    the constant that fits these targets best: their entropy, or their variance
    large   random outputs of standard deviation LARGE
    equal   all outputs equal, in words: ln 10 = 2.303
    """

    best: float
    large: float
    equal: str


def baseline_loss(objective: Objective, targets: np.ndarray, outputs: int) -> BaselineLoss | None:
    """For host targets and that many outputs; None for a loss that is not one of this package's."""
    xp, n, k = NumpyBackend().xp, len(targets), outputs
    targets = targets if targets.ndim == 1 else targets.astype(np.float64)
    t = objective.loss.encode(xp, np.zeros((n, k)), targets)
    q = np.mean(np.eye(k)[t] if t.ndim == 1 else t, axis=0)
    loss: Loss
    with np.errstate(divide="ignore"):
        match objective.loss:  # of a subclass, the loss it should compute
            case SoftmaxCrossEntropy(label_smoothing=s):
                loss, best = SoftmaxCrossEntropy(s), np.log(q * (1 - s) + s / k)
                equal = f"ln {k} = {math.log(k):.3f}"
            case SigmoidBinaryCrossEntropy(label_smoothing=s):
                q = q * (1 - s) + s / 2
                loss, best = SigmoidBinaryCrossEntropy(s), np.log(q) - np.log(1 - q)
                equal = f"{k if k > 1 else ''} ln 2 = {k * math.log(2):.3f}".strip()
            case MeanSquaredError(reduction, off, on):
                loss, best = MeanSquaredError(reduction), q
                equal = f"the loss of outputs of {(off + on) / 2 if targets.ndim == 1 else 0.0:g}"
            case _:
                return None
    constant = np.broadcast_to(np.clip(best, -1e3, 1e3), (n, k))
    repeats = 1 + 1000 // n  # enough for a mean
    random = LARGE * np.random.default_rng(0).standard_normal((n * repeats, k))
    of_random = loss(xp, random, np.repeat(t, repeats, axis=0))[0]
    return BaselineLoss(float(loss(xp, constant, t)[0]), float(of_random), equal)


def initial_loss(probe: ModelProbe) -> CheckResult:
    """The first loss against that of a model that ignores its input."""
    J, _ = probe.score(probe.x)
    if not math.isfinite(J):
        return overflow(f"The first loss is {J}.")
    y = probe.host(probe.trace(probe.x).y)
    baseline = baseline_loss(probe.objective, probe.dataset.targets, y.shape[1])
    if baseline is None:
        return NOT_APPLICABLE
    evidence = f"The first loss is {J:.4g}; an untrained network starts near {baseline.equal}, and "
    if baseline.large < J:
        return Finding(
            "initial-loss",
            "warning",
            f"{evidence}below {baseline.large:.3g} even with large random outputs. The outputs have a standard "
            f"deviation of {y.std():.3g}.",
            "Initial weights or inputs are too large: the first predictions are random and confident.",
            INIT,
        )
    if GOOD * baseline.best <= J:
        return None
    return Finding(
        "initial-loss",
        "fault",
        f"{evidence}the best constant guess has a loss of {baseline.best:.4g}.",
        "No untrained network is so good: likely the loss is divided twice, or the answer is among the inputs.",
        "Take the mean over the batch once; remove features that are made from the label.",
    )


def overflow(evidence: str) -> Finding:
    """Numbers that are NaN or infinite before the first step."""
    cause = "Numbers overflow before the first step: weights or inputs are far too large, or not finite."
    return Finding("initial-loss", "fault", evidence, cause, INIT)


def variance_forward(probe: ModelProbe) -> CheckResult:
    """The standard deviation over samples, averaged over units, of the outputs of each layer with parameters."""
    layers = [layer for layer in probe.trace(probe.x).layers if layer.params]
    if len(layers) < 2 or not probe.varied:
        return NOT_APPLICABLE
    outputs = {"input": probe.x} | {layer.name: layer.y for layer in layers}
    sizes = [math.sqrt(float(np.mean(probe.host(y).var(axis=0)))) for y in outputs.values()]
    return _signal("variance-forward", "signal", list(outputs), sizes)


def variance_backward(probe: ModelProbe) -> CheckResult:
    """||dJ/dy|| of the layers with parameters, from the last on.

    By norm, not by unit: a layer narrower than the next has a larger share of it in each unit.
    """
    xp, objective, trace = probe.backend.xp, probe.objective, probe.trace(probe.x)
    layers = [layer for layer in trace.layers if layer.params]
    if len(layers) < 2 or not probe.varied:
        return NOT_APPLICABLE
    _, dy = objective.loss(xp, trace.y, objective.loss.encode(xp, trace.y, probe.targets))
    norms = {t.name: float(np.linalg.norm(probe.host(dy))) for t, dy, _, _ in trace.backward(xp, dy)}
    names = [layer.name for layer in layers][::-1]
    if not norms[names[0]]:
        return NOT_APPLICABLE  # the loss has no slope at all
    return _signal("variance-backward", "gradient", names, [norms[name] for name in names])


def _signal(id: str, what: str, names: Sequence[str], sizes: Sequence[float]) -> CheckResult:
    """A finding if some size is not within LEAST .. MOST of the first."""
    ratios = [size / sizes[0] for size in sizes]
    orders = [abs(math.log10(ratio)) if 0 < ratio < math.inf else math.inf for ratio in ratios]
    worst = orders.index(max(orders))
    if LEAST <= ratios[worst] <= MOST:
        return None
    path = ", ".join(f"{name} {size:.3g}" for name, size in zip(names, sizes, strict=True))
    vanishes = ratios[worst] < LEAST
    cause = f"Initial weights too {'small' if vanishes else 'large'} for the layers' widths"
    return Finding(
        id,
        "warning" if 0 < ratios[worst] < math.inf else "fault",
        f"The {what} at the start, layer by layer: {path}; a factor of {ratios[worst]:.2g} by {names[worst]}.",
        cause + (", or too many sigmoids in a row, each of which takes three quarters." if vanishes else "."),
        INIT + (" Fewer layers, or --activation relu." if vanishes else ""),
    )
