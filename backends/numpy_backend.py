"""NumPy: the library every machine has, and the one all others are compared with."""

from __future__ import annotations

import array_api_compat.numpy
import numpy as np

from .base import Array, Backend, Memory, Namespace


class NumpyBackend(Backend):
    """NumPy arrays on the CPU."""

    name = "numpy"

    def __init__(self, device: str | None = None) -> None:
        self.device = "cpu"
        self.version = np.__version__
        self.xp = Namespace(array_api_compat.numpy)

    def asarray(self, array: np.ndarray) -> Array:
        """Copy a host array."""
        return np.array(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array, C-contiguous."""
        return np.array(array, order="C")

    def synchronize(self) -> None:
        """Nothing to wait for: NumPy returns when it is done."""

    def memory(self) -> Memory:
        """Not known to NumPy."""
        return Memory(None, None)
