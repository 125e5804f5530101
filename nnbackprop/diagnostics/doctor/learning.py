"""Checks that train a little: twenty samples must be learnt by heart, and from their inputs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from backends import tree_map
from nnbackprop.data.loader import DataLoader
from nnbackprop.diagnostics.check import NOT_APPLICABLE, Outcome
from nnbackprop.diagnostics.findings import Finding
from nnbackprop.nn.layers import Dropout
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Adam
from nnbackprop.training.batch_schedule import scalars_of
from nnbackprop.training.step import TrainStep

from .baseline_loss import BaselineLoss
from .model_probe import ModelProbe

SAMPLES = 20
RATES = (0.01, 0.001, 0.1)  # a network that learns by one of them can learn
CHUNK, CHUNKS = 50, 8  # 400 steps a rate: Adam moves a weight by up to 4, 0.4 and 40 in these
SECONDS = 6.0  # of all rates together; what is not solved by then is left open
ALIKE = 1e-4  # of the outputs' size: rounding of float32 is a thousand times less


@dataclass(frozen=True)
class Attempt:
    """How learning by heart went: loss before and after, share right after, and what a constant would lose."""

    samples: int
    before: float
    after: float
    accuracy: float
    best: float
    steps: int
    finished: bool
    subject: ModelProbe

    @property
    def solved(self) -> bool:
        """All right, or half of the loss of the best constant guess gone."""
        return self.accuracy == 1.0 or self.after <= 0.5 * min(self.before, self.best)


def capacity(subject: ModelProbe, outputs: int) -> int:
    """How many samples a network of so many parameters can surely learn by heart, at most SAMPLES.

    A network with P parameters has room for about P answers (Cover, Geometrical and statistical properties of
    systems of linear inequalities, 1965, gives 2 P); half of it is asked for, as a few hundred steps must do.
    """
    parameters = sum(math.prod(p.shape) for layer in subject.params for p in layer.values())
    return min(SAMPLES, len(subject.dataset), parameters // (2 * outputs))


@lru_cache(maxsize=4)
def attempt(subject: ModelProbe) -> Attempt | None:
    """Train on a few samples with Adam, dropout and penalties off; None if there are too few to tell."""
    outputs = int(subject.outputs(subject.x)[-1].shape[1])
    few = _undisturbed(subject.few(capacity(subject, outputs)))
    if len(few.dataset) < 2 or len(np.unique(few.dataset.targets)) < 2:
        return None
    guess = BaselineLoss.of(few.objective, few.dataset.targets, outputs)
    before, _ = few.loss(few.x)
    begin, tries = time.monotonic(), []
    for rate in RATES:
        params, steps = _learn(few, rate, begin + SECONDS)
        learnt = replace(few, params=params, trained=True)
        after, accuracy = learnt.loss(learnt.x)
        finished = time.monotonic() < begin + SECONDS
        best = guess.best if guess else before
        tries.append(Attempt(len(few.dataset), before, after, accuracy, best, steps, finished, learnt))
        if tries[-1].solved or not finished:
            break
    return min(tries, key=lambda t: (not t.solved, t.after if math.isfinite(t.after) else math.inf))


def _undisturbed(subject: ModelProbe) -> ModelProbe:
    """The same without dropout layers, penalty and training's own noise."""
    kept = [i for i, layer in enumerate(subject.objective.network.layers) if not isinstance(layer, Dropout)]
    network = Sequential(*(subject.objective.network.layers[i] for i in kept))
    objective = replace(subject.objective, network=network, penalty=None)
    return replace(subject, objective=objective, params=tuple(subject.params[i] for i in kept))


def _learn(few: ModelProbe, rate: float, until: float) -> tuple[tuple, int]:
    """Parameters after at most CHUNK * CHUNKS steps of the full batch, fewer if they suffice."""
    backend, optimizer, n = few.backend, Adam(), len(few.dataset)
    step = TrainStep(backend.xp, few.objective, optimizer, None, few.seed)
    loader = DataLoader(backend, few.dataset, few.scaling, few.dtype, "yes")
    state = step.begin(tree_map(lambda a: backend.xp.asarray(a, copy=True), few.params))
    for chunk in range(CHUNKS):
        numbers = np.arange(chunk * CHUNK, (chunk + 1) * CHUNK)
        scalars = scalars_of(optimizer, lambda _: rate, numbers, few.dtype)
        every = np.broadcast_to(np.arange(n), (CHUNK, n))
        xs = {**loader.xs(every), "step": numbers.astype(np.int32), "scalars": scalars}
        state = backend.scan(step, step.clear(state), loader.data, tree_map(backend.asarray, xs))
        seen = CHUNK * n
        correct = int(backend.to_numpy(state["correct"])) / seen
        if correct == 1.0 or time.monotonic() > until:
            break
    return state["params"], (chunk + 1) * CHUNK


def cannot_overfit(subject: ModelProbe) -> Outcome:
    """Twenty samples that are not learnt by heart."""
    tried = attempt(subject)
    if tried is None or (not tried.solved and (not tried.finished or _ignored(tried.subject))):
        return NOT_APPLICABLE
    if tried.solved:
        return None
    rates = ", ".join(f"{rate:g}" for rate in RATES)
    return Finding(
        "cannot-overfit",
        "fault",
        f"{tried.samples} samples alone, {CHUNK * CHUNKS} steps of Adam at each of the rates {rates}, dropout "
        f"off: the loss went from {tried.before:.4g} to {tried.after:.4g} at best, {tried.accuracy:.0%} right. A "
        f"constant guess loses {tried.best:.4g}.",
        "The gradient does not lead down: a mistake in a layer's backward or in the loss; or units are saturated "
        "from the start; or labels contradict one another.",
        "Prove the gradients: nnbackprop gradcheck, or nb.gradcheck for a network of your own.",
        0.85,
    )


def input_ignored(subject: ModelProbe) -> Outcome:
    """Outputs that do not depend on the input, or do no better than with an input of zeros."""
    if len(subject.dataset) < 2:
        return NOT_APPLICABLE
    if subject.trained:
        return _finding(subject) if _ignored(subject) or _no_better(subject) else None
    tried = attempt(subject)
    if tried is None:
        return NOT_APPLICABLE
    return _finding(tried.subject) if not tried.solved and _ignored(tried.subject) else None


def _ignored(subject: ModelProbe) -> bool:
    """Whether all samples, and zeros, get the same outputs."""
    y, zero = subject.hosted(subject.x)[-1], subject.hosted(subject.zeros())[-1]
    apart = max(float(y.std(axis=0).max()), float(np.abs(y - zero).max()))
    return apart <= ALIKE * float(np.abs(y).max() + 1e-30)


def _no_better(subject: ModelProbe) -> bool:
    loss, accuracy = subject.loss(subject.x)
    loss0, accuracy0 = subject.loss(subject.zeros())
    return loss >= loss0 and accuracy <= accuracy0


def _finding(subject: ModelProbe) -> Finding:
    (loss, accuracy), (loss0, accuracy0) = subject.loss(subject.x), subject.loss(subject.zeros())
    return Finding(
        "input-ignored",
        "fault",
        f"On {len(subject.dataset)} samples the loss is {loss:.4g} and {accuracy:.0%} are right; with inputs of "
        f"zeros it is {loss0:.4g}, and {accuracy0:.0%}.{_where(subject)}",
        "The input does not reach the outputs: a layer whose units are all dead or saturated, weights of zero, or "
        "a scaling that makes all inputs 0. What was learnt is the classes' frequency.",
        "--init he-normal, a lower --lr, --scale standard; and look whether a layer of your own uses its x.",
        0.9,
    )


def _where(subject: ModelProbe) -> str:
    """The first layer whose outputs are alike for all samples."""
    for i, y in enumerate(subject.hosted(subject.x)):
        if y.std(axis=0).max() <= ALIKE * (np.abs(y).max() + 1e-30):
            name = f"layer {subject.names[i - 1]}" if i else "the scaled input"
            return f" The samples are alike from {name} on."
    return ""
