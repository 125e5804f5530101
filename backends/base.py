"""The interface between the mathematics and an array library: a namespace, two conversions and `scan`.

Everything above this package computes with `Backend.xp`, the Array API namespace and what `Namespace` adds to it,
and moves arrays in and out by `asarray` and `to_numpy`. A new library is one subclass of `Backend`.
"""

from __future__ import annotations

import contextlib
import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, ClassVar, TypeVar

import numpy as np

from .prefetch import prefetch

Array = Any
"""An array of the backend's own library."""

Tree = Any
"""Arrays nested in tuples and dicts."""

T = TypeVar("T")

ElementwiseKernel = Callable[..., Any]
"""An elementwise formula for one element: `kernel(xp, *operands) -> number or tuple of numbers`."""

RowKernel = Callable[..., Any]
"""A formula of the rows of a matrix: `kernel(xp, matrix, *operands)`.

Operands are matrices (n, k), columns (n, 1) or (n,), rows (1, k) and numbers; so are the results. It consists of
elementwise kernels, by `xp.fuse`, and of `max`, `sum` (with keepdims) and `argmax` along axis 1.
"""

Step = Callable[[Tree, Tree, Tree], Tree]
"""One training step: `step(state, data, batch) -> state`. `state` is donated, `data` is only read."""


class Namespace:
    """A library's Array API namespace plus `fuse`, `fuse_rows`, `specialize` and `foreach`: the `xp` of layers.

    Names are looked up in `module` once and cached. `overrides` replaces single functions by a backend's own.
    `fuse(kernel)` returns a function of whole arrays, `fused(*arrays_and_scalars)`, that evaluates
    `kernel(xp, ...)` on every element; it may be called in each step, as the result is cached.
    `fuse(kernel, donated)` may write output k over argument `donated[k]`. `fuse_rows` is the same for a
    `RowKernel`.

    `batch_means` and `batch_rows` are for layers whose arrays may be a shard of the batch: see `replaced`.
    """

    def __init__(
        self,
        module: ModuleType,
        fuse: Callable[..., ElementwiseKernel] | None = None,
        forms: Mapping[str, Callable[..., Any]] | None = None,
        **overrides: Any,
    ) -> None:
        self._module = module
        self.forms = forms or {}
        self.fuse: Any = lru_cache(maxsize=None)(fuse or (lambda kernel, donated=(): partial(kernel, self)))
        self.fuse_rows: Any = lru_cache(maxsize=None)(lambda kernel: partial(kernel, self))
        self.__dict__.update(overrides)

    def specialize(self, formula: Callable[..., Any]) -> Callable[..., Any]:
        """`formula(xp, *arguments)` as a function without `xp`, faster where the backend has a form of its own.

        `forms` has those by the name of the formula, without `xp` too. They give the same numbers, but for the
        rounding of sums, or None for arrays that they are not made for.
        """
        form = self.forms.get(formula.__name__)
        if form is None:
            return partial(formula, self)

        def specialized(*arguments: Any) -> Any:
            result = form(*arguments)
            return formula(self, *arguments) if result is None else result

        return specialized

    def batch_means(self, *of_shard: Array) -> tuple[Array, ...]:
        """The mean of each array over the batch's shards, by their shares: itself where the batch is one piece."""
        return of_shard

    def batch_rows(self, rows: int) -> int:
        """How many rows the whole batch has where the array here has `rows`."""
        return rows

    def replaced(self, **functions: Any) -> Namespace:
        """The same namespace with other functions in the place of its own; fused kernels stay as they are."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__ | functions)
        return other

    def foreach(
        self,
        kernel: ElementwiseKernel,
        params: Tree,
        grads: Tree,
        states: tuple[Tree, ...],
        scalars: Sequence[Any],
    ) -> tuple[Tree, tuple[Tree, ...]]:
        """One update of many arrays: `kernel(xp, w, dw, *states, *scalars)` gives w, or (w, *states), of each.

        The new params and states, which are donated. What has no gradient stays as it is.
        """
        fused = self.fuse(kernel, donated_arguments(states))

        def update(w: Array, dw: Array | None, *own: Array) -> Any:
            if dw is None:
                return (w, *own) if own else w
            return fused(w, dw, *own, *scalars)

        if not states:
            return tree_map(update, params, grads), ()
        rows = [update(*row) for row in zip_leaves(params, grads, *states)]
        new_params, *new_states = (tree_unflatten(params, column) for column in zip(*rows, strict=True))
        return new_params, tuple(new_states)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        self.__dict__[name] = value
        return value

    def __repr__(self) -> str:
        return f"<xp: {self._module.__name__}>"


def donated_arguments(states: tuple[Tree, ...]) -> tuple[int, ...]:
    """Which arguments of an update's kernel, (w, dw, *states, ...), its results replace: w and the states."""
    return (0, *range(2, 2 + len(states)))


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


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` to every array of a tree of tuples and dicts; the structure stays.

    It gets the arrays in the same place of `others` too: None where another has none by that name. Arrays are
    paired by name, as dicts of one structure may differ in order.
    """
    if isinstance(tree, dict):
        return {
            name: tree_map(function, branch, *[other.get(name) for other in others])
            for name, branch in tree.items()
        }
    if isinstance(tree, tuple):
        return tuple([tree_map(function, *branches) for branches in zip(tree, *others, strict=True)])
    return function(tree, *others)


def leaves(tree: Tree) -> list[Array]:
    """All arrays of a tree, depth first, in order."""
    arrays: list[Array] = []
    tree_map(arrays.append, tree)
    return arrays


def zip_leaves(tree: Tree, *others: Tree) -> list[tuple[Any, ...]]:
    """Each array of `tree` with those in its place of `others`, in the order of `leaves`."""
    rows: list[tuple[Any, ...]] = []
    tree_map(lambda *row: rows.append(row), tree, *others)
    return rows


def tree_unflatten(tree: Tree, arrays: Iterable[Array]) -> Tree:
    """`arrays`, in the order of `leaves`, in the structure of `tree`."""
    in_order = iter(arrays)
    return tree_map(lambda _: next(in_order), tree)


def scan_loop(step: Step, last_step: Step | None, state: Tree, data: Tree, batches: Tree) -> Tree:
    """`Backend.scan` as a Python loop."""
    steps = leaves(batches)[0].shape[0]
    for k in range(steps):
        step_function = step if last_step is None or k < steps - 1 else last_step
        state = step_function(state, data, tree_map(lambda a: a[k, ...], batches))  # noqa: B023
    return state


class Backend(ABC):
    """One array library on one device; no other code calls the library.

    `name` is its name in `select`, `device` is `cpu`, `cuda:0` or the like. `has_float64` is False on the GPUs of
    laptops, which compute in float32 at most. `launch_bound` says that small steps pay for each kernel, so that
    fewer and longer ones for `xp.fuse` are faster. `donates` says that `scan` itself overwrites or deletes the
    arrays of a state; else only the step may.
    """

    name: ClassVar[str]
    device: str
    xp: Namespace
    version: str
    selection_reason: str = "asked for by name"
    has_float64: bool = True
    launch_bound: ClassVar[bool] = False
    donates: ClassVar[bool] = True

    def __reduce__(self) -> Any:
        """Pickled and deep-copied as its class and device; arrays, compiled steps and TF32 are not part of it."""
        return type(self), (self.device,), {"selection_reason": self.selection_reason}

    @property
    def fused(self) -> bool:
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
                "Use --dtype float32, or --device cpu.",
            )

    def use_tf32(self) -> None:
        """Round the factors of float32 products to 10 bits, from now on; BackendError off NVIDIA GPUs."""
        raise BackendError(
            f"TF32 needs an NVIDIA GPU, and the backend {self.name} computes on {self.device}.",
            "Use --dtype float32, or a backend on cuda.",
        )

    def limit_memory(self, size: int) -> None:
        """Let arrays take at most `size` bytes of the GPU, from now on; BackendError where that cannot be set."""
        raise BackendError(
            f"The backend {self.name} on {self.device} cannot limit its GPU memory.",
            "Leave --gpu-memory-limit out; for JAX, set XLA_PYTHON_CLIENT_MEM_FRACTION before it starts.",
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

    def scan(self, step: Step, state: Tree, data: Tree, batches: Tree, last_step: Step | None = None) -> Tree:
        """Run `step` over the leading axis of every array in `batches`, as `jax.lax.scan`; returns the last state.

        `last_step`, where it is given, is called in the place of the last one. Both must be persistent callables,
        as compiled forms are cached by them. `state` is donated: its arrays may be overwritten or deleted, and the
        returned ones take their place. `data` is only read. The batch of step k is `a[k, ...]` of each array `a`
        in `batches`: a vector of numbers gives 0-d arrays, dtype kept.
        """
        return scan_loop(step, last_step, state, data, batches)

    def run(self, step: Step, state: Tree, data: Tree, batch: Tree) -> Tree:
        """`scan` of a single step, whose batch has no leading axis."""
        return self.scan(step, state, data, tree_map(lambda a: self.xp.reshape(a, (1, *a.shape)), batch))

    def materialize(self, tree: Tree) -> Tree:
        """The same arrays, as other threads may use them: a lazy library computes by the thread that asked."""
        return tree

    def run_eagerly(self, step: Step, state: Tree, data: Tree, batch: Tree) -> Tree:
        """One step, neither compiled nor captured: it may read its arrays on the host on the way."""
        return step(state, data, batch)
