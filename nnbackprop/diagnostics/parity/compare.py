"""The same training on several array libraries in lockstep: each is compared with the first after every step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, pairwise
from typing import Literal

import numpy as np

from backends import Backend, BackendError, BackendStatus, Tree, select
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.diagnostics.difference import difference
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Activation, Layer
from nnbackprop.runs import build
from nnbackprop.runs.config import Config
from nnbackprop.runs.data_splits import DataSplits
from nnbackprop.training.batch_schedule import Chunk
from nnbackprop.training.trainer import Trainer

from .backend_run import BackendRun, StepTrace
from .results import Comparison, Excuse, Kink, Parity, TensorDifference
from .rounding import Rounding

DType = Literal["float64", "float32"]
DTYPES: tuple[DType, ...] = ("float64", "float32")


def parity(config: Config, names: Sequence[str], steps: int, dtypes: Sequence[DType] = DTYPES) -> Parity:
    """Train a recipe for `steps` steps on every library of `names` that works here, in each of `dtypes`.

    The configuration's device is that of every library that has a choice. UsageError if fewer than two work.
    """
    build.check(config)
    if steps < 1:
        raise UsageError(f"Parity takes at least one step; got --steps {steps}.")
    if not set(dtypes) <= set(DTYPES):
        raise UsageError(f"Libraries are compared in {' or '.join(DTYPES)}; got --dtype {dtypes[0]}.")
    backends, absent = _open(names, config.device)
    train = DataSplits.load(config).train
    scaling = fit_scaling(config.scale, train)
    comparisons = []
    for dtype in dtypes:
        typed = replace(config, dtype=dtype)
        first, *others = (build.trainer(typed, backend, train, scaling) for backend in backends)
        comparisons += compare(first, others, train, steps)
    return Parity(
        recipe=config.recipe,
        steps=steps,
        batch_size=build.batch_size(config, len(train)),
        seed=config.seed,
        libraries=tuple(BackendStatus(b.name, usable=True, version=b.version, device=b.device) for b in backends),
        absent=tuple(absent),
        comparisons=tuple(comparisons),
    )


def _open(names: Sequence[str], device: str | None) -> tuple[list[Backend], list[BackendStatus]]:
    """The libraries that work, in their order, and those that do not."""
    backends, absent = [], []
    for name in dict.fromkeys(names):
        try:
            backends.append(select(name, None if name in ("numpy", "strict") else device))
        except BackendError as error:
            absent.append(BackendStatus(name, usable=False, reason=error.reason, fix=error.fix))
    if len(backends) < 2:
        reasons = " ".join(f"{row.name}: {row.reason} {row.fix.removesuffix('.')}." for row in absent)
        raise UsageError(
            f"Parity compares at least two libraries, and of {', '.join(names) or 'none'} {len(backends)} can be "
            f"used here. {reasons} Name two that work, such as --backends numpy,torch: see `nnbackprop backends`."
        )
    return backends, absent


def compare(first: Trainer, others: Sequence[Trainer], train: Dataset, steps: int) -> list[Comparison]:
    """Train `first` and each of `others` for `steps` steps, one step at a time, and compare after each.

    The trainers differ in their backends alone. UsageError if they are not of one dtype.
    """
    if any(other.dtype != first.dtype for other in others):
        raise UsageError(
            f"Parity compares trainers of one dtype; got {', '.join(t.dtype for t in (first, *others))}."
        )
    reference, rounding = BackendRun(first, train), Rounding(first, train)
    runs = [ComparedRun(BackendRun(other, train), rounding) for other in others]
    state = reference.begin()
    batches = zip(reference.batches(), *(compared.run.batches() for compared in runs), strict=True)
    for k, (batch, *own) in enumerate(islice(batches, steps)):
        before = reference.to_host(state)
        state, trace = reference.step(state, batch)
        for compared, other in zip(runs, own, strict=True):
            compared.step(k, other, before, trace)
    return [compared.comparison for compared in runs]


class ComparedRun:
    """A library's training and what it has been measured to differ by so far."""

    def __init__(self, run: BackendRun, rounding: Rounding) -> None:
        self.run, self.rounding, self.state = run, rounding, run.begin()
        self.comparison = Comparison(run.backend.name, run.trainer.dtype)
        self.drift: dict[str, float] = {}  # relative difference of its own weights from the reference's

    def step(self, k: int, batch: Chunk, before: Tree, reference: StepTrace) -> None:
        """Make step `k`, counted from 0, and compare it with the reference's, which began from `before`."""
        own, kinks = self.comparison.begin == "own weights", self.comparison.kinks
        if not own:
            self.state = self.run.from_host(before)
        self.state, trace = self.run.step(self.state, batch)
        found = find_kinks(self.run, k + 1, reference, trace)
        if not own or not kinks:
            kinks += found
        rows = self._differences(k + 1, reference, trace, [] if own else found)
        rows = self._excuse_rounding(rows, k, before, reference)
        self.comparison.differences.extend(rows)
        if own:
            self.drift = {d.tensor: d.relative for d in rows if d.kind == "weights" and d.relative < math.inf}

    def _differences(
        self, step: int, reference: StepTrace, trace: StepTrace, kinks: Sequence[Kink]
    ) -> list[TensorDifference]:
        """Every tensor compared; `kinks` excuse the gradients and weights of the layers before them."""
        names = list(self.run.layers)
        excused = names[: names.index(kinks[-1].layer)] if kinks else []
        rows = []
        for (kind, layer, tensor), a in trace.items():
            distance = difference(a, reference[kind, layer, tensor])._asdict()
            excuse: Excuse | None = "kink" if kind != "activations" and layer in excused else None
            rows.append(TensorDifference(step, kind, layer, tensor, **distance, excuse=excuse))
        return rows

    def _excuse_rounding(
        self, found: list[TensorDifference], k: int, before: Tree, reference: StepTrace
    ) -> list[TensorDifference]:
        """Excuse what is past the tolerance where rounding may go as far; nothing after a first failure."""
        past = [d for d in found if not d.excuse and d.relative > self.comparison.tolerance]
        if not past or self.comparison.first_failure():
            return found
        sizes = self.rounding.sizes(before, self.drift, k, reference)
        small = [d for d in past if d.norm <= sizes[d.kind, d.tensor] < math.inf]
        return [replace(d, excuse="rounding") if d in small else d for d in found]


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
            values = float(z[sample, unit]), float(w[sample, unit])
            found.append(Kink(step, layer, unit, sample, *values, len(places)))
    return found


def has_kink(layer: Layer) -> bool:
    """Whether a layer is an activation whose slope jumps at 0, such as ReLU."""
    if not isinstance(layer, Activation):
        return False
    xp = select("numpy").xp
    x = np.array([[-1e-9], [1e-9]])
    below, above = layer.vjp(xp, layer.forward(xp, {}, x, None)[1], np.ones_like(x))[:, 0]
    return bool(abs(above - below) > 1e-6)
