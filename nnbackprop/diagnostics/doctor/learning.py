"""Checks of whether a network learns: it can overfit a few samples, uses its input, and its weights change."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from backends import leaves
from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding
from nnbackprop.errors import DivergedError, InitialValueError, ScalingError
from nnbackprop.nn.layers import Dropout
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Adam
from nnbackprop.training.trainer import Trainer

from .probes import ModelProbe
from .start import baseline_loss

SAMPLES = 20
LEARNING_RATES = (0.01, 0.001, 0.1)  # a network that learns at one of them can learn
MAX_STEPS, EPOCHS_PER_FIT = 400, 50  # a rate: Adam moves a weight by up to 4, 0.4 and 40 in these
MAX_SECONDS = 6.0  # of all rates together; then the check does not apply
MIN_WEIGHT_CHANGE, MIN_LOSS_DECREASE = 0.05, 0.2  # of the weights' norm, and of the loss: less is hardly trained
SAME_OUTPUT_TOLERANCE = 1e-4  # of the outputs' size: rounding of float32 is a thousand times less


@dataclass(frozen=True)
class Attempt:
    """An attempt to overfit `probe.dataset`: loss before and after, accuracy, and the best constant's loss."""

    probe: ModelProbe
    before: float
    after: float
    accuracy: float
    constant: float
    finished: bool  # in time

    @property
    def solved(self) -> bool:
        """All right, or half of the loss of the best constant guess gone; one below 0 has no half."""
        guess = min(self.before, self.constant)
        return self.accuracy == 1.0 or self.after <= min(0.5 * guess, guess)


@lru_cache(maxsize=4)
def overfit(probe: ModelProbe) -> Attempt | None:
    """Train on a few samples with Adam, without dropout and penalties; None if there are too few to tell.

    A network with P parameters has capacity for about P answers (Cover, Geometrical and statistical properties of
    systems of linear inequalities, 1965, gives 2 P); half of it is asked for, as a few hundred steps must do.
    """
    layers = [layer for layer in probe.objective.network.layers if not isinstance(layer, Dropout)]
    objective = replace(probe.objective, network=Sequential(*layers), penalty=None)
    n_outputs = int(probe.trace(probe.x).y.shape[1])
    capacity = sum(math.prod(p.shape) for p in leaves(probe.params)) // (2 * n_outputs)
    data = probe.subset(min(SAMPLES, capacity)).dataset
    if len(data) < 2 or len(np.unique(data.targets, axis=0)) < 2:
        return None
    probe = replace(probe, objective=objective, dataset=data, trained=None)
    before, _ = probe.loss_and_accuracy(probe.x)
    constant, _ = baseline_loss(objective, probe.host_targets, n_outputs) or (before, "")
    deadline, attempts = time.monotonic() + MAX_SECONDS, []
    for lr in LEARNING_RATES:
        trained = _train(probe, lr, deadline)
        finished = time.monotonic() < deadline
        attempts.append(Attempt(trained, before, *trained.loss_and_accuracy(trained.x), constant, finished))
        if attempts[-1].solved or not finished:
            break
    return min(attempts, key=lambda a: (not a.solved, a.after if math.isfinite(a.after) else math.inf))


def _train(probe: ModelProbe, lr: float, deadline: float) -> ModelProbe:
    """The probe after at most MAX_STEPS steps on its samples, fewer if they suffice."""
    trainer = Trainer(
        probe.objective.network,
        probe.objective.loss,
        Adam(),
        lr,
        backend=probe.backend,
        dtype=probe.dtype,
        scaling=probe.scaling,
        batch_size=None,
        seed=probe.seed,
        resident="yes",
    )
    with contextlib.suppress(DivergedError, InitialValueError, ScalingError):  # another rate may do
        for epochs in range(EPOCHS_PER_FIT, MAX_STEPS + 1, EPOCHS_PER_FIT):  # of one step each
            trainer.set_options(epochs=epochs)
            trainer.fit(probe.dataset)
            probe = replace(probe, trained=trainer.params)
            if probe.loss_and_accuracy(probe.x)[1] == 1.0 or time.monotonic() > deadline:
                break
    return probe


def cannot_overfit(probe: ModelProbe) -> CheckResult:
    """Twenty samples that cannot be overfitted."""
    attempt = overfit(probe)
    if attempt is None or (not attempt.solved and (not attempt.finished or _same_outputs(attempt.probe))):
        return NOT_APPLICABLE
    if attempt.solved:
        return None
    rates = ", ".join(f"{lr:g}" for lr in LEARNING_RATES)
    return Finding(
        "cannot-overfit",
        "fault",
        evidence=(
            f"{len(attempt.probe.dataset)} samples alone, {MAX_STEPS} steps of Adam at each of the rates {rates}, "
            f"without dropout: the loss went from {attempt.before:.4g} to {attempt.after:.4g} at "
            f"best{_accuracy(attempt.accuracy)}. A constant guess has {attempt.constant:.4g}."
        ),
        cause=(
            "Gradient descent does not lower the loss: likely a mistake in a layer's backward or in the loss, "
            "units saturated from the start, or labels that contradict one another."
        ),
        fix="Check the gradients: nnbackprop gradcheck, or nb.gradcheck for a network of your own.",
    )


def input_ignored(probe: ModelProbe) -> CheckResult:
    """Outputs that do not depend on the input, or do no better than with an input of zeros."""
    if len(probe.dataset) < 2:
        return NOT_APPLICABLE
    if trained := probe.trained is not None:
        ignored = _same_outputs(probe)
        if not ignored and weight_change(probe) < MIN_WEIGHT_CHANGE:
            return NOT_APPLICABLE  # hardly trained
    else:
        if (attempt := overfit(probe)) is None:
            return NOT_APPLICABLE
        probe = attempt.probe
        ignored = not attempt.solved and _same_outputs(probe)
    (loss, accuracy), (loss0, accuracy0) = probe.loss_and_accuracy(probe.x), probe.loss_and_accuracy(probe.zeros)
    no_better = loss >= loss0 and not accuracy > accuracy0
    if not ignored and not (trained and no_better):
        return None
    evidence = (
        f"On {len(probe.dataset)} samples the loss is {loss:.4g}{_accuracy(accuracy)}; with inputs of zeros it is "
        f"{loss0:.4g}{_accuracy(accuracy0)}."
    )
    for layer, y in probe.outputs(probe.x).items():
        if y.std(axis=0).max() <= SAME_OUTPUT_TOLERANCE * (np.abs(y).max() + 1e-30):
            evidence += f" All samples are equal from {layer} on."
            break
    return Finding(
        "input-ignored",
        "fault",
        evidence=evidence,
        cause=(
            "The input does not reach the outputs: likely a layer whose units are all dead or saturated, weights "
            "of zero, or a scaling that makes all inputs 0. The network knows only how common each class is."
        ),
        fix="--init he-normal, a lower --lr, --scale standard; and check that a layer of your own uses its x.",
    )


def weights_hardly_changed(probe: ModelProbe) -> CheckResult:
    """Trained weights that are nearly those the run started with, and a loss that has hardly fallen."""
    if not (change := weight_change(probe)) > 0:
        return NOT_APPLICABLE
    start, end = replace(probe, trained=None).loss_and_accuracy(probe.x)[0], probe.loss_and_accuracy(probe.x)[0]
    if change > MIN_WEIGHT_CHANGE or start - end > MIN_LOSS_DECREASE * abs(start):
        return None
    return Finding(
        "rate-too-low",
        "warning",
        evidence=f"The run has changed its weights by {change:.1%} of their norm, and the loss from "
        f"{start:.4g} to {end:.4g}.",
        cause="Likely the learning rate is too small, or the run too short, to change the weights.",
        fix="ten times the --lr, or more --epochs",
    )


def weight_change(probe: ModelProbe) -> float:
    """||W - W0|| / ||W0|| over all weight matrices: 0 where no step was made."""
    pairs = zip(leaves(probe.params), leaves(probe.initial), strict=True)
    matrices = [(probe.to_numpy(W), probe.to_numpy(W0)) for W, W0 in pairs if len(W.shape) > 1]
    change = math.sqrt(sum(float(np.sum((W - W0) ** 2)) for W, W0 in matrices))
    size = math.sqrt(sum(float(np.sum(W0 * W0)) for _, W0 in matrices))
    return change / size if size else math.inf


def _same_outputs(probe: ModelProbe) -> bool:
    """Whether all samples, and zeros, get the same outputs."""
    y, zero = probe.to_numpy(probe.trace(probe.x).y), probe.to_numpy(probe.trace(probe.zeros).y)
    distance = max(float(y.std(axis=0).max()), float(np.abs(y - zero).max()))
    return distance <= SAME_OUTPUT_TOLERANCE * float(np.abs(y).max() + 1e-30)


def _accuracy(accuracy: float) -> str:
    return "" if math.isnan(accuracy) else f" and the accuracy {accuracy:.0%}"
