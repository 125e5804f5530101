"""NumPy: the library every machine has, and the one all others are compared with."""

from __future__ import annotations

import numpy as np

from .base import Array, Backend, Memory, Namespace, Step, Tree
from .devices import check_cpu
from .numba_fuse import compiler, fuse


class NumpyBackend(Backend):
    """NumPy arrays on the CPU; its namespace is the Array API itself since NumPy 2.1."""

    name = "numpy"

    def __init__(self, device: str | None = None) -> None:
        check_cpu(self.name, device)
        self.device = "cpu"
        self.version = np.__version__
        self.xp = Namespace(np, fuse, matmul=_matmul)
        _keep_freed_memory()

    @property
    def fused(self) -> bool:
        """Whether numba is there to compile rules; asking imports it."""
        return compiler() is not None

    def asarray(self, array: np.ndarray) -> Array:
        """Copy a host array, C-contiguous."""
        return np.array(array, order="C")

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array, C-contiguous."""
        return np.array(array, order="C")

    def synchronize(self) -> None:
        """Nothing to wait for: NumPy returns when it is done."""

    def memory(self) -> Memory:
        """Not known to NumPy."""
        return Memory(None, None)

    def loop(self, step: Step, state: Tree, data: Tree, xs: Tree) -> Tree:
        """Run the steps one by one, without NumPy's warnings: no other library has them.

        A loss that is no longer finite is the caller's to find, as on every other backend.
        """
        with np.errstate(all="ignore"):
            return super().loop(step, state, data, xs)


def _matmul(a: Array, b: Array) -> Array:
    """The product; a column by a row, as the gradient of a single sample is, element by element.

    np.matmul hands that to no BLAS and takes five times as long. There is one term to a sum: the bits are equal.
    """
    return np.multiply(a, b) if a.shape[1:] == b.shape[:1] == (1,) else np.matmul(a, b)


def _keep_freed_memory() -> None:
    """Let glibc keep the memory of large temporaries instead of returning it to the system at every free.

    It learns from the largest block freed so far, up to 32 MiB; a page fault for each 4 KiB of every temporary
    costs an unfused update 4 to 6 times its arithmetic. Without glibc this does nothing.
    """
    np.empty(32_000_000, np.uint8)
