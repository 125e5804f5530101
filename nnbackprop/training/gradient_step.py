"""Steps on the shards of a batch: gradients of each, where they lie to be summed, one update."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from backends import Array, Backend, Tree, device_of, leaves, tree_map, tree_unflatten
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import replace_buffers

from .step import Microbatch, TrainStep, add_batch, zero_sums


@dataclass(frozen=True, eq=False)
class GradientStep:
    """`result, constants, batch -> result` for `Backend.scan`: gradients, next buffers and sums of one shard.

    `constants` are the data set's arrays and the parameters; `batch` has the shard's first row too.
    """

    step: TrainStep

    def __call__(self, result: Tree, constants: Tree, batch: Tree) -> Tree:
        """What `result` holds is replaced."""
        rows = Microbatch(batch["first_row"], constants, batch, None)
        return self.gradients(constants["params"], *self.step.step_inputs(rows))

    def gradients(
        self, params: Params, x: Array, targets: Array, weights: Array | None, key: RngKey | None
    ) -> Tree:
        """The same of samples as they are; without a key, without dropout."""
        s, xp = self.step, self.step.xp
        result = s.objective.value_and_grad(xp, params, x, targets, key, weights)
        network, sums = s.objective.network, zero_sums(xp, s.metrics, params, weights is not None)
        return {
            "grads": result.grads,
            "buffers": network.new_buffers(xp, params, result.caches) if network.has_buffers else (),
            "sums": add_batch(xp, s.metrics, sums, result.J, result.y, targets, weights),
        }


@dataclass(frozen=True, eq=False)
class UpdateStep:
    """`state, constants, batch -> state`: the update by what the shards' `GradientStep`s give in all."""

    step: TrainStep

    def __call__(self, state: Tree, constants: Tree, batch: Tree) -> Tree:
        """The state after the step."""
        params, result = state["params"], batch["result"]
        if self.step.objective.network.has_buffers:
            params = replace_buffers(params, result["buffers"])
        sums = tree_map(lambda total, added: total + added, state["sums"], result["sums"])
        return self.step.update({**state, "params": params, "sums": sums}, result["grads"], batch)


@dataclass(eq=False)
class FlatLayout:
    """Where the arrays of what a `GradientStep` gives lie in a row of numbers.

    Gradients and buffers come first, which are means over the samples, then the sums. `result` has
    arrays of their shapes, to be donated to the next step.
    """

    result: Tree
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self._shapes = [tuple(a.shape) for a in leaves(self.result)]
        self._ends = list(accumulate(map(math.prod, self._shapes), initial=0))
        self.size = self._ends[-1]
        self._grads = len(leaves(self.result["grads"]))
        self._means = self._grads + len(leaves(self.result["buffers"]))
        self._arrays: dict[int, list[np.ndarray]] = {}  # of a row, by its address

    def write(self, row: np.ndarray, result: Tree, backend: Backend, fraction: float) -> None:
        """Write a result to a row, its means times `fraction`."""
        for i, (a, part) in enumerate(zip(leaves(result), self._parts(row), strict=True)):
            np.multiply(_on_host(backend, a), fraction if i < self._means else 1, out=part)

    def read(self, row: np.ndarray, backend: Backend) -> Tree:
        """The trees that a row has, on the device.

        Gradients may share the row's memory; what a state keeps does not.
        """
        arrays = [backend.asarray(a, copy=i >= self._grads) for i, a in enumerate(self._parts(row))]
        return tree_unflatten(self.result, arrays)

    def flatten(self, xp: Any, result: Tree, fraction: float, k: int) -> Array:
        """What `write` writes, as an array (k,) on the device, zeros at its end."""
        flat = [xp.reshape(a, (-1,)) for a in leaves(result)]
        like = flat[0]
        zeros = [xp.zeros((k - self.size,), dtype=like.dtype, device=device_of(like))] if k > self.size else []
        return xp.concat([xp.concat(flat[: self._means]) * fraction, *flat[self._means :], *zeros])

    def unflatten(self, xp: Any, row: Array) -> Tree:
        """What `read` gives, of an array on the device; it shares its memory."""
        return tree_unflatten(self.result, self._views(xp, row))

    def _parts(self, row: np.ndarray) -> list[np.ndarray]:
        """Views of a row, one an array; rows are few, and written again and again."""
        address = row.ctypes.data
        if address not in self._arrays:
            self._arrays[address] = self._views(np, row)
        return self._arrays[address]

    def _views(self, xp: Any, row: Array) -> list[Array]:
        """The parts of a row, in their shapes."""
        parts = zip(pairwise(self._ends), self._shapes, strict=True)
        return [xp.reshape(row[begin:end], shape) for (begin, end), shape in parts]


def _on_host(backend: Backend, array: Array) -> np.ndarray:
    """An array to be read, without a copy where the library's memory is the host's."""
    return np.asarray(array) if backend.device == "cpu" else backend.to_numpy(array)
