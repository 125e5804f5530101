"""Parity of a recipe: trained on several array libraries, each compared with the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from backends import Backend, BackendError, BackendStatus, select
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.errors import UsageError
from nnbackprop.runs import build
from nnbackprop.runs.config import Config
from nnbackprop.runs.data_splits import DataSplits

from .compare import compare
from .results import Parity

DType = Literal["float64", "float32"]

DTYPES: tuple[DType, ...] = ("float64", "float32")
ON_THE_HOST = ("numpy", "strict")
"""Libraries without a device to choose."""


def parity(config: Config, names: Sequence[str], steps: int, dtypes: Sequence[DType] = DTYPES) -> Parity:
    """Train the recipe for `steps` steps on every library of `names` that works here, in each of `dtypes`.

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
        absent=absent,
        comparisons=tuple(comparisons),
    )


def _open(names: Sequence[str], device: str | None) -> tuple[list[Backend], tuple[BackendStatus, ...]]:
    """The libraries that work, in their order, and those that do not."""
    backends, absent = [], []
    for name in dict.fromkeys(names):
        try:
            backends.append(select(name, None if name in ON_THE_HOST else device))
        except BackendError as error:
            absent.append(BackendStatus(name, usable=False, reason=error.reason, fix=error.fix))
    if len(backends) < 2:
        words = " ".join(f"{row.name}: {row.reason} {row.fix.removesuffix('.')}." for row in absent)
        raise UsageError(
            f"Parity compares at least two libraries, and of {', '.join(names) or 'none'} {len(backends)} can be "
            f"used here. {words} Name two that work, such as --backends numpy,torch: see `nnbackprop backends`."
        )
    return backends, tuple(absent)
