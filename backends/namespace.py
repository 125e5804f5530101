"""The `xp` of layers, losses and optimizers: a library's Array API namespace and what a backend adds to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

from .tree import Array, Tree, tree_map, tree_unflatten, zip_leaves

ElementwiseKernel = Callable[..., Any]
"""An elementwise formula for one element: `kernel(xp, *operands) -> number or tuple of numbers`."""

RowKernel = Callable[..., Any]
"""A formula of the rows of a matrix: `kernel(xp, matrix, *operands)`.

Operands are matrices (n, k), columns (n, 1) or (n,), rows (1, k) and numbers; so are the results. It consists of
elementwise kernels, by `xp.fuse`, and of `max`, `sum` (with keepdims) and `argmax` along axis 1.
"""


class Formula(Enum):
    """Formulas of layers that a backend may have a native kernel for: see `Namespace.native`."""

    CONV2D = auto()
    CONV2D_WEIGHT_GRAD = auto()
    CONV2D_INPUT_GRAD = auto()
    MAX_POOL = auto()
    MAX_POOL_VJP = auto()


class Namespace:
    """A library's Array API namespace plus `fuse`, `fuse_rowwise`, `native` and `foreach`: the `xp` of layers.

    Names are looked up in `module` once and cached. `overrides` replaces single functions by a backend's own.
    `fuse(kernel)` returns a function of whole arrays, `fused(*arrays_and_scalars)`, that evaluates
    `kernel(xp, ...)` on every element; it may be called in each step, as the result is cached.
    `fuse(kernel, donate_argnums)` may write output k over argument `donate_argnums[k]`, in the sense of
    `jax.jit`. `fuse_rowwise` is the same for a `RowKernel`.

    `batch_means` and `whole_batch_size` are for layers whose arrays may be a shard of the batch: see `replaced`.
    """

    def __init__(
        self,
        module: ModuleType,
        fuse: Callable[..., ElementwiseKernel] | None = None,
        native_kernels: Mapping[Formula, Callable[..., Any]] | None = None,
        **overrides: Any,
    ) -> None:
        self._module = module
        self.native_kernels = native_kernels or {}
        self.fuse: Any = lru_cache(maxsize=None)(fuse or (lambda kernel, donate_argnums=(): partial(kernel, self)))
        self.fuse_rowwise: Any = lru_cache(maxsize=None)(lambda kernel: partial(kernel, self))
        self.__dict__.update(overrides)

    def native(self, formula: Formula, fallback: Callable[..., Any]) -> Callable[..., Any]:
        """The backend's native kernel of a formula where it has one, else `fallback(xp, *arguments)` without `xp`.

        `native_kernels` has those, without `xp` too. They give the same numbers, but for the rounding of sums, or
        None for arrays that they are not made for: `fallback` is called then.
        """
        kernel = self.native_kernels.get(formula)
        if kernel is None:
            return partial(fallback, self)

        def native(*arguments: Any) -> Any:
            result = kernel(*arguments)
            return fallback(self, *arguments) if result is None else result

        return native

    def batch_means(self, *of_shard: Array) -> tuple[Array, ...]:
        """The mean of each array over the batch's shards, by their shares: itself where the batch is one piece."""
        return of_shard

    def whole_batch_size(self, rows: int) -> int:
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
        fused = self.fuse(kernel, donated_argnums(states))

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


def donated_argnums(states: tuple[Tree, ...]) -> tuple[int, ...]:
    """Which arguments of an update's kernel, (w, dw, *states, ...), its results replace: w and the states."""
    return (0, *range(2, 2 + len(states)))
