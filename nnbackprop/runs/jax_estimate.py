"""How long a step takes on NumPy and on JAX on a CPU, estimated from the network's shape: JAX is not imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from backends import leaves
from nnbackprop.nn.trace import LayerSummary

MIN_SPEEDUP = 1.5  # times as fast
JAX_STARTUP = 3.0  # seconds that JAX takes to be imported and to compile its loops


class Cost(NamedTuple):
    """Seconds of a library on a CPU, fitted to benchmarks/results (two cores): a test compares them."""

    layer: float  # a layer with parameters, forward and backward, however small
    flop: float  # of a product, on one core
    random_number: float
    image_number: float  # that a layer gives of an image, whatever the layer: windows, normalization, pooling


NUMPY = Cost(layer=46e-6, flop=1 / 1.1e11, random_number=3.5e-9, image_number=2.6e-9)
JAX = Cost(layer=5.5e-6, flop=1 / 1.25e11, random_number=0.6e-9, image_number=2.6e-9)


def step_seconds(cost: Cost, layers: Sequence[LayerSummary], batch: int, cores: int) -> float:
    """Seconds of a training step of `batch` samples, as products, random numbers and calls add up."""
    matrices = [
        [a.size * math.prod(layer.out_shape[:-1]) for a in leaves(layer.params) if a.ndim > 1] for layer in layers
    ]
    flops = 6 * sum(map(sum, matrices))
    flops -= 2 * sum(next(filter(None, matrices), []))  # the first layer's gradient of its input is not computed
    drawn = sum(math.prod(layer.out_shape) for layer in layers if layer.draws)
    images = sum(math.prod(layer.out_shape) for layer in layers if len(layer.out_shape) == 3)
    calls = cost.layer * sum(bool(leaves(layer.params)) for layer in layers)
    numbers = drawn * cost.random_number + images * cost.image_number
    return calls + batch * (flops * cost.flop / cores + numbers)


def jax_speedup(layers: Sequence[LayerSummary], batch: int, cores: int) -> float:
    """Times as fast as NumPy's that JAX's step is."""
    numpy, jax = (step_seconds(cost, layers, batch, cores) for cost in (NUMPY, JAX))
    return numpy / jax


def jax_remark(layers: Sequence[LayerSummary], batch: int, steps: int, cores: int) -> str | None:
    """A header's line where a run of so many steps on NumPy would take less time on JAX, its start included."""
    ratio = jax_speedup(layers, batch, cores)
    saved = steps * (1 - 1 / ratio) * step_seconds(NUMPY, layers, batch, cores)
    if ratio < MIN_SPEEDUP or saved < JAX_STARTUP:
        return None
    return f"--backend jax is about {ratio:.{0 if ratio >= 3 else 1}f} times as fast at batch {batch:,}"
