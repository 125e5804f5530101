"""What a layer does, found out by experiment: over which axes it normalizes, and whether it drops units."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nnbackprop.nn.layers import BatchNorm, Dropout
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.nn.trace import LayerTrace

from .probes import ModelProbe

SAMPLES = 20  # as many as `behaviour` and `overfit` take
INPUT_STD = 10.0  # of inputs in experiments, beside which the eps of a variance is nothing
TOLERANCE = 1e-3  # of the outputs' standard deviation: a thousand roundings of float32
OWN = "nnbackprop.nn."
"""Module of the layers of this package, which the tests prove; what they do is known."""


@lru_cache(maxsize=4)
def small(probe: ModelProbe) -> ModelProbe:
    """A few of the samples."""
    return probe.subset(SAMPLES)


def is_known(layer: object) -> bool:
    """Whether a layer is one of this package's, and no subclass of one."""
    return type(layer).__module__.startswith(OWN)


def unknown_layers(probe: ModelProbe) -> list[LayerTrace]:
    """The layers that somebody else wrote, as they evaluate a few samples."""
    if all(is_known(layer) for _, layer in probe.objective.network.named_layers()):
        return []
    layers = small(probe).trace(small(probe).x).layers
    return [t for t in layers if not is_known(t.layer) and not isinstance(t.layer, Sequential)]


def any_inputs(t: LayerTrace) -> np.ndarray:
    """Inputs for a layer that vary, whatever the network gives it: (SAMPLES, ...)."""
    return INPUT_STD * np.random.default_rng(1).standard_normal((SAMPLES, *t.x.shape[1:]))


def layer_output(probe: ModelProbe, t: LayerTrace, x: np.ndarray, key: RngKey | None) -> np.ndarray:
    """A layer's output for any input, on the host in float64."""
    x = probe.backend.asarray(x.astype(probe.dtype))
    return probe.to_numpy(t.layer.forward(probe.backend.xp, t.params, x, key)[0])


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two outputs are the same but for roundings."""
    return float(np.abs(a - b).max()) <= TOLERANCE * float(a.std())


def normalized_axes(probe: ModelProbe, t: LayerTrace, key: RngKey | None) -> tuple[int, ...] | None:
    """The axes over which a layer takes mean and variance; None for a layer that does no such thing.

    What normalizes over some axes gives the same for a x + b, where a > 0 and b are constant along these. So the
    other axes are those along which a and b may vary without any effect.
    """
    rng = np.random.default_rng(0)
    x = any_inputs(t)
    y = layer_output(probe, t, x, key)
    if y.shape != x.shape or not y.std() > 0 or not np.isfinite(y).all():
        return None
    if not same(y, layer_output(probe, t, 3 * x + 2 * INPUT_STD, key)):
        return None
    axes = []
    for axis, size in enumerate(x.shape):
        along = [1] * x.ndim
        along[axis] = size
        a, b = rng.uniform(0.5, 2, along), INPUT_STD * rng.standard_normal(along)
        if size > 1 and not same(y, layer_output(probe, t, a * x + b, key)):
            axes.append(axis)
    return tuple(axes)


def batch_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of batch normalization: all but the channels, where there is more than one place."""
    return tuple(axis for axis, size in enumerate((SAMPLES, *shape[1:-1])) if size > 1)


def dropped_share(x: np.ndarray, y: np.ndarray) -> float:
    """The share of inputs that are set to 0 at random, 0 for a layer that is no dropout.

    Dropout multiplies the others by one constant, and drops other units in each sample. What it drops is not the
    least of a sample, in size or by its sign, as it is where a threshold decides: ReLU, hard shrinkage.
    """
    if y.shape != x.shape or x.ndim < 2:
        return 0.0
    x, y = (a.reshape(len(a), -1) for a in (x, y))
    alive = x != 0
    dropped, kept = alive & (y == 0), alive & (y != 0)
    if not dropped.any() or not kept.any():
        return 0.0
    factors = y[kept] / x[kept]
    if factors.min() < 1 - TOLERANCE or factors.max() - factors.min() > TOLERANCE * factors.max():
        return 0.0
    both = dropped.any(axis=1) & kept.any(axis=1)
    varies = bool((dropped.any(axis=0) & kept.any(axis=0)).any())
    if not varies or any(_threshold_decides(v[both], dropped[both], kept[both]) for v in (x, -x, np.abs(x))):
        return 0.0
    return float(dropped.sum() / alive.sum())


def _threshold_decides(v: np.ndarray, dropped: np.ndarray, kept: np.ndarray) -> bool:
    """Whether what is dropped of a sample is below what is kept, in half of the samples at least."""
    below = np.where(dropped, v, -np.inf).max(axis=1) <= np.where(kept, v, np.inf).min(axis=1)
    return bool(below.mean() >= 0.5)


@lru_cache(maxsize=4)
def layer_in_training_mode(probe: ModelProbe) -> tuple[str, str] | None:
    """The first layer that does in evaluation what belongs in training: its name, and what it does."""
    probe = small(probe)
    for t in probe.trace(probe.x).layers:
        if isinstance(t.layer, Sequential):
            continue
        x, y = probe.to_numpy(t.x), probe.to_numpy(t.y)
        share = dropped_share(x, y) if isinstance(t.layer, Dropout) or not is_known(t.layer) else 0.0
        if share > 0:
            return t.name, f"{t.name} sets {share:.0%} of its inputs to 0 in evaluation"
        if isinstance(t.layer, BatchNorm):
            trains, evaluates = (layer_output(probe, t, x, key) for key in (probe.key, None))
            by_batch = same(y, trains) and not same(y, evaluates)
        else:
            by_batch = not is_known(t.layer) and 0 in (normalized_axes(probe, t, None) or ())
        if by_batch:
            return t.name, f"{t.name} normalizes by the batch in evaluation too"
    return None
