"""The same training on several array libraries in lockstep: each is compared with the first after every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np

from backends import Backend, BackendError, BackendStatus, select, with_float64
from nnbackprop.data.dataset import Dataset
from nnbackprop.diagnostics.difference import difference, norm
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Activation, Layer, PReLU
from nnbackprop.runs import build
from nnbackprop.runs.config import Config
from nnbackprop.runs.config_checks import check_config
from nnbackprop.runs.run_data import RunData
from nnbackprop.training.trainer import Trainer

from .backend_run import BackendRun, StepTrace
from .results import KINDS, Comparison, Excuse, Kind, Kink, Parity, TensorDifference

DType = Literal["float64", "float32"]
DTYPES: tuple[DType, ...] = ("float64", "float32")


def parity(config: Config, names: Sequence[str], steps: int, dtypes: Sequence[DType] = DTYPES) -> Parity:
    """Train a recipe for `steps` steps on every library of `names` that works here, in each of `dtypes`.

    The configuration's device is that of every library that has a choice; without one, a library whose own has no
    float64 computes on the CPU. UsageError if fewer than two work.
    """
    check_config(config)
    if steps < 1:
        raise UsageError(f"Parity takes at least one step; got --steps {steps}.")
    if not set(dtypes) <= set(DTYPES):
        raise UsageError(f"Libraries are compared in {' or '.join(DTYPES)}; got --dtype {dtypes[0]}.")
    backends, absent = _open(names, config.device)
    if config.device is None and "float64" in dtypes:
        backends = [with_float64(backend) for backend in backends]
    train = RunData.load(config).train
    config = build.resolve_task(config, train)
    scaling = build.scaling(config, train)
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

    The trainers differ in their backends alone.
    """
    reference, *runs = (BackendRun(trainer, train) for trainer in (first, *others))
    comparisons = [Comparison(run.backend.name, first.dtype) for run in runs]
    largest_norms = dict.fromkeys(KINDS, 0.0)
    for step in range(1, steps + 1):
        before = reference.host_state()
        expected = reference.step()
        for kind in KINDS:
            together = norm(*(a for key, a in expected.items() if key[0] == kind))
            largest_norms[kind] = max(largest_norms[kind], together)
        for run, comparison in zip(runs, comparisons, strict=True):
            if comparison.begin == "same weights":
                run.load_state(before)
            compare_step(comparison, step, run.layers, run.step(), expected, largest_norms)
    return comparisons


def compare_step(
    comparison: Comparison,
    step: int,
    layers: Mapping[str, Layer],
    found: StepTrace,
    expected: StepTrace,
    largest_norms: Mapping[Kind, float],
) -> None:
    """Add the difference of each tensor of a step to `comparison`, and its kinks.

    Where steps begin from the same weights, a kink excuses gradients and weights of the layers before it.
    `largest_norms` are, until this step, of all activations of a step together, all gradients, all weights.
    """
    kinks, names = find_kinks(layers, step, expected, found), list(layers)
    same_weights = comparison.begin == "same weights"
    if same_weights or not comparison.kinks:
        comparison.kinks.extend(kinks)
    before_kink = names[: names.index(kinks[-1].layer)] if kinks and same_weights else []
    for (kind, layer, tensor), a in found.items():
        distance = difference(a, expected[kind, layer, tensor])
        excuse: Excuse | None = None
        if kind != "activations" and layer in before_kink:
            excuse = "kink"
        elif (
            distance.relative > comparison.tolerance and distance.norm < comparison.rounding * largest_norms[kind]
        ):
            excuse = "rounding"
        row = TensorDifference(step, kind, layer, tensor, **distance._asdict(), excuse=excuse)
        comparison.differences.append(row)


def find_kinks(layers: Mapping[str, Layer], step: int, reference: StepTrace, other: StepTrace) -> list[Kink]:
    """One kink a layer, where outputs (n, ...) of the layer before it, its pre-activations, differ in sign."""
    found = []
    for previous, name in pairwise(layers):
        if not has_kink(layers[name]):
            continue
        outputs = (trace["activations", previous, previous] for trace in (reference, other))
        z, z_other = (y.reshape(len(y), -1) for y in outputs)
        differing = np.argwhere((z > 0) != (z_other > 0))
        if len(differing):
            sample, unit = differing[0].tolist()
            values = float(z[sample, unit]), float(z_other[sample, unit])
            found.append(Kink(step, name, unit, sample, *values, len(differing)))
    return found


def has_kink(layer: Layer) -> bool:
    """Whether a layer is an activation whose slope jumps at 0, such as ReLU."""
    if isinstance(layer, PReLU):
        return True
    if not isinstance(layer, Activation):
        return False
    xp = select("numpy").xp
    x = np.array([[-1e-9], [1e-9]])
    below, above = layer.vjp(xp, layer.forward(xp, {}, x, None)[1], np.ones_like(x))[:, 0]
    return bool(abs(above - below) > 1e-6)
