"""One flat array of all that is summed over shards: gradients, next buffers, losses and metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from backends import Array, Backend, Tree, device_of, leaves, tree_unflatten


@dataclass(eq=False)
class FlatLayout:
    """Where the arrays that a `GradientStep` gives lie in a flat array of `size` numbers.

    Gradients and buffers come first, which are means over the samples, then the sums. `result` has
    arrays of their shapes, to be donated to the next step.
    """

    result: Tree
    size: int = field(init=False)

    def __post_init__(self) -> None:
        shapes = [tuple(a.shape) for a in leaves(self.result)]
        ends = list(accumulate(map(math.prod, shapes), initial=0))
        self._parts, self.size = list(zip(pairwise(ends), shapes, strict=True)), ends[-1]
        self._grads = len(leaves(self.result["grads"]))
        self._means = self._grads + len(leaves(self.result["buffers"]))

    def write(self, flat: np.ndarray, result: Tree, backend: Backend, fraction: float) -> None:
        """Write a result to a flat array on the host, its means times `fraction`."""
        for i, (a, part) in enumerate(zip(leaves(result), self._host_views(flat), strict=True)):
            np.multiply(_on_host(backend, a), fraction if i < self._means else 1, out=part)

    def read(self, flat: np.ndarray, backend: Backend) -> Tree:
        """The arrays that a flat array on the host has, on the device.

        Gradients may share its memory; what a state keeps does not.
        """
        arrays = [backend.asarray(a, copy=i >= self._grads) for i, a in enumerate(self._host_views(flat))]
        return tree_unflatten(self.result, arrays)

    def flatten(self, xp: Any, result: Tree, fraction: float, length: int) -> Array:
        """What `write` writes, as an array (length,) on the device, zeros at its end."""
        arrays = [xp.reshape(a, (-1,)) for a in leaves(result)]
        like = arrays[0]
        padding = length - self.size
        zeros = [xp.zeros((padding,), dtype=like.dtype, device=device_of(like))] if padding else []
        return xp.concat([xp.concat(arrays[: self._means]) * fraction, *arrays[self._means :], *zeros])

    def unflatten(self, xp: Any, flat: Array) -> Tree:
        """What `read` gives, of a flat array on the device, whose memory the result may share."""
        arrays = [xp.reshape(flat[begin:end], shape) for (begin, end), shape in self._parts]
        return tree_unflatten(self.result, arrays)

    def _host_views(self, flat: np.ndarray) -> list[np.ndarray]:
        """The arrays in its memory; np.reshape would take three times as long as its own method."""
        return [flat[begin:end].reshape(shape) for (begin, end), shape in self._parts]


def _on_host(backend: Backend, array: Array) -> np.ndarray:
    """An array to be read, without a copy where the library's memory is the host's."""
    return np.asarray(array) if backend.device == "cpu" else backend.to_numpy(array)


def round_up(size: int, multiple: int) -> int:
    """The least multiple of `multiple` that is not below `size`."""
    return -(-size // multiple) * multiple
