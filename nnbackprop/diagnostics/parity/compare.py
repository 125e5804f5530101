"""The same training on several array libraries in lockstep: each is compared with the first after every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

import numpy as np

from backends import Tree, select
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.difference import difference
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Activation, Layer
from nnbackprop.training.batch_schedule import Chunk
from nnbackprop.training.trainer import Trainer

from .backend_run import BackendRun, StepTrace
from .results import OWN, TOLERANCES, Begin, Comparison, Excuse, Kink, TensorDifference
from .rounding import Rounding


def compare(first: Trainer, others: Sequence[Trainer], train: Dataset, steps: int) -> list[Comparison]:
    """Train `first` and each of `others` for `steps` steps, one step at a time, and compare after each.

    The trainers differ in their backends alone, and each begins from its seed.
    UsageError if they are not of one dtype, or `steps` is below 1.
    """
    if steps < 1 or any(other.dtype != first.dtype for other in others):
        raise UsageError(f"Parity compares trainers of one dtype for at least one step; got {steps} steps.")
    reference, rounding = BackendRun(first, train), Rounding(first, train)
    begins = [begin for dtype, begin in TOLERANCES if dtype == first.dtype]
    runs = [BackendRun(other, train) for other in others]
    compared = [[ComparedRun(run, begin, rounding, run.begin()) for begin in begins] for run in runs]
    state = reference.begin()
    drawn = zip(*(run.batches() for run in (reference, *runs)), strict=True)
    for k, (batch, *batches) in enumerate(islice(drawn, steps)):
        before = reference.to_host(state)
        state, trace = reference.step(state, batch)
        for ways, own in zip(compared, batches, strict=True):
            for way in ways:
                way.step(k, own, before, trace)
    return [way.comparison() for ways in compared for way in ways]


@dataclass
class ComparedRun:
    """A library's training in one beginning, and what has been measured of it so far."""

    run: BackendRun
    begin: Begin
    rounding: Rounding
    state: Tree
    drift: dict[str, float] = field(default_factory=dict)  # relative difference of each weight from the reference
    failed: bool = False
    differences: list[TensorDifference] = field(default_factory=list)
    kinks: list[Kink] = field(default_factory=list)

    def step(self, k: int, batch: Chunk, before: Tree, reference: StepTrace) -> None:
        """Make step `k`, counted from 0, and compare it with the reference's, which began from `before`."""
        if self.begin != OWN:
            self.state = self.run.from_host(before)
        self.state, trace = self.run.step(self.state, batch)
        kinks = find_kinks(self.run, k + 1, reference, trace)
        found = self._excuse(self._differences(k + 1, reference, trace, kinks), k, before, reference)
        if self.begin != OWN or not self.kinks:
            self.kinks += kinks
        self.differences += found
        if self.begin == OWN:
            self.drift = {d.tensor: d.relative for d in found if d.kind == "weights" and d.relative < math.inf}

    def _differences(
        self, step: int, reference: StepTrace, trace: StepTrace, kinks: Sequence[Kink]
    ) -> list[TensorDifference]:
        """Every tensor compared. Where steps begin alike, a kink excuses the gradients of its layer and below."""
        names = list(self.run.layers)
        below = set(names[: names.index(kinks[-1].layer)] if kinks and self.begin != OWN else ())
        rows = []
        for (kind, layer, tensor), a in trace.items():
            excuse: Excuse | None = "kink" if kind != "activations" and layer in below else None
            distance = difference(a, reference[kind, layer, tensor])._asdict()
            rows.append(TensorDifference(step, kind, layer, tensor, **distance, excuse=excuse))
        return rows

    def _excuse(
        self, found: list[TensorDifference], k: int, before: Tree, reference: StepTrace
    ) -> list[TensorDifference]:
        """Excuse what is past the tolerance where rounding may go as far; nothing after a first failure."""
        tolerance = TOLERANCES[self.run.trainer.dtype, self.begin]
        if tolerance is None or self.failed:
            return found
        past = [not d.excuse and d.relative > tolerance for d in found]
        if any(past):
            sizes = self.rounding.sizes(before, self.drift, k, reference)
            found = [
                replace(d, excuse="rounding") if wide and d.norm <= sizes[d.kind, d.tensor] < math.inf else d
                for d, wide in zip(found, past, strict=True)
            ]
            self.failed = any(wide and not d.excuse for d, wide in zip(found, past, strict=True))
        return found

    def comparison(self) -> Comparison:
        """The results."""
        trainer = self.run.trainer
        found = tuple(self.differences), tuple(self.kinks)
        return Comparison(trainer.backend.name, trainer.dtype, self.begin, *found)


def find_kinks(run: BackendRun, step: int, reference: StepTrace, other: StepTrace) -> list[Kink]:
    """One kink a layer, where outputs (n, ...) of the layer before it, its pre-activations, differ in sign."""
    found = []
    for before, layer in pairwise(run.layers):
        if not has_kink(run.layers[layer][0]):
            continue
        outputs = (trace["activations", before, before] for trace in (reference, other))
        z, w = (y.reshape(len(y), -1) for y in outputs)
        places = np.argwhere((z > 0) != (w > 0))
        if len(places):
            sample, unit = places[0].tolist()
            found.append(
                Kink(step, layer, unit, sample, float(z[sample, unit]), float(w[sample, unit]), len(places))
            )
    return found


def has_kink(layer: Layer) -> bool:
    """Whether a layer is an activation whose slope jumps at 0, as those of ReLU and its like do."""
    if not isinstance(layer, Activation):
        return False
    xp = select("numpy").xp
    x = np.array([[-1e-9], [1e-9]])
    below, above = layer.vjp(xp, layer.forward(xp, {}, x, None)[1], np.ones_like(x))[:, 0]
    return bool(abs(above - below) > 1e-6)
