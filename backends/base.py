"""The interface between the mathematics and an array library: a namespace, two conversions and `scan`.

Everything above this package computes with `Backend.xp`, the Array API namespace and what `Namespace` adds to it,
and moves arrays in and out by `asarray` and `to_numpy`. A new library is one subclass of `Backend`.
"""

from __future__ import annotations

import contextlib
import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from .collectives import Collectives, Processes
from .namespace import Namespace
from .prefetch import prefetch
from .tree import Array, Tree, leaves, tree_map

T = TypeVar("T")

Step = Callable[[Tree, Tree, Tree], Tree]
"""One training step: `step(state, constants, batch) -> state`. `state` is donated; `constants` are only read."""


@dataclass(frozen=True)
class Memory:
    """Memory of a device in bytes; None where the library does not report it."""

    used: int | None
    free: int | None


class BackendError(RuntimeError):
    """A backend cannot be used: `reason` says why, `fix` what to do."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(f"{reason} {fix}")
        self.reason = reason
        self.fix = fix


def device_of(array: Array) -> Any:
    """The device of an array, for the `device=` of a creation function.

    None within a compiled JAX program, whose tracers have no device (jax issue 26000) and need none.
    """
    return getattr(array, "device", None)


def dtype_name(array: Array) -> str:
    """The name of an array's dtype as NumPy has it: PyTorch's own is torch.float32."""
    return str(array.dtype).rpartition(".")[2]


class Backend(ABC):
    """One array library on one device; no other code calls the library.

    `name` is its name in `select`, `device` is `cpu`, `cuda:0` or the like. `has_float64` is False on the GPUs of
    laptops, which compute in float32 at most. `launch_bound` says that small steps pay for each kernel, so that
    fewer and longer ones for `xp.fuse` are faster. `scan_consumes_state` says that `scan` itself overwrites or
    deletes the arrays of a state; else only the step may.
    """

    name: ClassVar[str]
    device: str
    xp: Namespace
    version: str
    selection_reason: str = "asked for by name"
    has_float64: bool = True
    launch_bound: ClassVar[bool] = False
    scan_consumes_state: ClassVar[bool] = True

    def __reduce__(self) -> Any:
        """Pickled and deep-copied as its class and device; arrays, compiled steps and TF32 are not part of it."""
        return type(self), (self.device,), {"selection_reason": self.selection_reason}

    @property
    def fuses_elementwise(self) -> bool:
        """Whether `xp.fuse` evaluates an elementwise kernel in one pass, not in one for each operator."""
        return False

    @abstractmethod
    def asarray(self, array: np.ndarray, copy: bool = True) -> Array:
        """Move a host array to the device; dtype and shape stay.

        With `copy=False` the result may share the host's memory: for arrays that nobody writes to. BackendError
        for float64 where the device has none.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array to the host, C-contiguous."""

    def synchronize(self) -> None:  # noqa: B027 (NumPy returns when it is done)
        """Wait until the device is idle."""

    def memory(self) -> Memory:
        """Memory of the device, used by this process's arrays and free for new ones."""
        return Memory(None, None)

    @property
    def description(self) -> str:
        """One line on the device and its libraries; "" where `name` and `device` say it all."""
        return ""

    def check_dtype(self, dtype: np.dtype) -> None:
        """BackendError for float64 on a device that has none."""
        if dtype == np.float64 and not self.has_float64:
            raise BackendError(
                f"The backend {self.name} on {self.device} has no float64, only float32.",
                "Use dtype='float32', or device='cpu'.",
            )

    def use_tf32(self) -> None:
        """Round the factors of float32 products to 10 bits, from now on; BackendError off NVIDIA GPUs."""
        raise BackendError(
            f"TF32 needs an NVIDIA GPU, and the backend {self.name} computes on {self.device}.",
            "Use dtype='float32', or a backend on cuda.",
        )

    def limit_memory(self, size: int) -> None:
        """Let arrays take at most `size` bytes of the GPU, from now on; BackendError where that cannot be set."""
        raise BackendError(
            f"The backend {self.name} on {self.device} cannot limit its GPU memory.",
            "Leave gpu_memory_limit out; for JAX, set XLA_PYTHON_CLIENT_MEM_FRACTION before it starts.",
        )

    def use_deterministic(self) -> None:  # noqa: B027 (most libraries have no other algorithms)
        """Use the library's reproducible algorithms, from now on; BackendError if it is too late for that."""

    def empty_cache(self) -> None:
        """Free the memory that the library keeps for new arrays."""
        gc.collect()

    def memory_errors(self) -> contextlib.AbstractContextManager[None]:
        """A context that raises MemoryError where the library has an error of its own for want of memory."""
        return contextlib.nullcontext()

    def prefetch(self, chunks: Iterable[tuple[T, Tree]]) -> Iterator[tuple[T, Tree]]:
        """Each chunk's host arrays on the device, copied ahead of their use by a thread.

        They may be overwritten when the next chunk is requested; those of the last one stay.
        """
        return prefetch((label, tree_map(self.asarray, arrays)) for label, arrays in chunks)

    def scan(self, step: Step, state: Tree, constants: Tree, batches: Tree, last_step: Step | None = None) -> Tree:
        """Run `step` over the leading axis of every array in `batches`, as `jax.lax.scan`; returns the last state.

        `last_step`, where it is given, is called in the place of the last one. Both must be persistent callables,
        as compiled forms are cached by them. `state` is donated: its arrays may be overwritten or deleted, and the
        returned ones take their place. `constants` are what every step reads: the data set and, in an
        evaluation, the parameters. The batch of step k is `a[k, ...]` of each array `a` in `batches`: a vector of
        numbers gives 0-d arrays, dtype kept.
        """
        steps = leaves(batches)[0].shape[0]
        for k in range(steps):
            step_function = step if last_step is None or k < steps - 1 else last_step
            state = step_function(state, constants, tree_map(lambda a: a[k, ...], batches))  # noqa: B023
        return state

    def run_step(self, step: Step, state: Tree, constants: Tree, batch: Tree) -> Tree:
        """`scan` of a single step, whose batch has no leading axis."""
        return self.scan(step, state, constants, tree_map(lambda a: self.xp.reshape(a, (1, *a.shape)), batch))

    def force_evaluation(self, tree: Tree) -> Tree:
        """The same arrays, as other threads may use them: a lazy library computes by the thread that asked."""
        return tree

    def collectives(self, processes: Processes) -> Collectives | None:
        """Exchanges of arrays between the GPUs of several processes by NCCL; collective.

        None where the library has none, or where not every process has a GPU of its own.
        """
        return None

    def copy(self, tree: Tree) -> Tree:
        """The same arrays in memory of their own."""
        return tree_map(lambda a: self.xp.asarray(a, copy=True), tree)

    def run_eagerly(self, step: Step, state: Tree, constants: Tree, batch: Tree) -> Tree:
        """One step, neither compiled nor captured: it may read its arrays on the host on the way."""
        return step(state, constants, batch)
