"""An elementwise kernel on many tensors by one launch, as PyTorch's `torch._foreach_*` functions.

`cupy.fuse` takes arrays of one shape, so that an update of six parameters is six launches. Here the formula is
traced: it is called once, with objects that write its operators down as CUDA C++, and that is the body of one
`cupy.ElementwiseKernel` over the elements of all tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, wraps
from typing import Any

import cupy
import numpy as np

from backends.namespace import ElementwiseKernel, Namespace, donated_argnums
from backends.tree import Array, Tree, zip_leaves

from .arrays import kernel_name

MAX_ARRAYS = 96
"""Arrays of a launch, besides scalars: each takes 32 bytes of the 4 kB that a kernel's parameters may take."""

TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
"""The dtypes that this is for, in C++."""

Operands = tuple[Any, ...]
"""Of the update of one array: w, dw and its states, and the scalars, which are 0-d arrays and Python numbers."""


def foreach(
    xp: Namespace,
    kernel: ElementwiseKernel,
    params: Tree,
    grads: Tree,
    states: tuple[Tree, ...],
    scalars: Sequence[Any],
) -> tuple[Tree, tuple[Tree, ...]]:
    """`Namespace.foreach` by one launch, which writes into the old arrays, where formula and arrays allow it."""
    kernel, scalars = bind_options(kernel, scalars)
    updates = [(*row, *scalars) for row in zip_leaves(params, grads, *states) if row[1] is not None]
    if not updates or not _alike(updates) or trace(kernel, len(updates[0])) is None:
        return Namespace.foreach(xp, kernel, params, grads, states, scalars)
    at_once = MAX_ARRAYS // (2 + len(states))
    for begin in range(0, len(updates), at_once):
        _launch(kernel, donated_argnums(states), updates[begin : begin + at_once])
    return params, states


def bind_options(kernel: ElementwiseKernel, scalars: Sequence[Any]) -> tuple[ElementwiseKernel, Sequence[Any]]:
    """The kernel with those of its last operands bound to it that are no numbers, and the numbers.

    Code is generated for each True, None or "mean", as a branch of the formula may depend on them.
    """
    numbers = [a for a in scalars if _is_number(a)]
    options = tuple((k, a) for k, a in enumerate(scalars) if not _is_number(a))
    return (_bound(kernel, options, len(numbers)) if options else kernel), numbers


def _is_number(a: Any) -> bool:
    return isinstance(a, (int, float, np.number, cupy.ndarray)) and not isinstance(a, bool)


@cache
def _bound(kernel: ElementwiseKernel, options: tuple[tuple[int, Any], ...], count: int) -> ElementwiseKernel:
    """The kernel without its `options`, each with its place among them and the `count` numbers at the end."""

    @wraps(kernel)
    def bound(xp: Any, *operands: Any) -> Any:
        filled = list(operands)
        for k, option in options:
            filled.insert(len(operands) - count + k, option)
        return kernel(xp, *filled)

    return bound


def _alike(updates: Sequence[Operands]) -> bool:
    """Whether all arrays are contiguous, of one dtype of `TYPES`, and of their parameter's shape or 0-d."""
    dtype = updates[0][0].dtype
    return dtype in TYPES and all(
        a.dtype == dtype and a.flags.c_contiguous and a.shape in ((), operands[0].shape)
        for operands in updates
        for a in operands
        if isinstance(a, cupy.ndarray)
    )


def _launch(kernel: ElementwiseKernel, donated: tuple[int, ...], updates: Sequence[Operands]) -> None:
    """Write the kernel's results over what is donated."""
    names: dict[Any, str] = {}  # of arrays by their id, and of numbers
    arrays, numbers = list[Array](), list[float]()

    def code(a: Any, w: Array) -> str:
        """An operand of the update of w in C++: its number k, or its only one."""
        if not isinstance(a, cupy.ndarray):
            if ("number", a) not in names:
                names["number", a] = f"number{len(numbers)}"
                numbers.append(a)
            return names["number", a]
        if id(a) not in names:
            names[id(a)] = f"x{len(arrays)}"
            arrays.append(a.reshape(-1))
        return f"{names[id(a)]}[{'k' if a.shape == w.shape else 0}]"

    calls = tuple(tuple(code(a, operands[0]) for a in operands) for operands in updates)
    params = tuple(names[id(w)] for w, *_ in updates)
    launch = _compile(kernel, donated, calls, params, len(numbers), len(arrays), updates[0][0].dtype)
    launch(*numbers, *arrays, size=sum(w.size for w, *_ in updates))


@cache
def _compile(
    kernel: ElementwiseKernel,
    donated: tuple[int, ...],
    calls: tuple[tuple[str, ...], ...],
    params: tuple[str, ...],
    numbers: int,
    arrays: int,
    dtype: np.dtype,
) -> cupy.ElementwiseKernel:
    """The CUDA kernel: its element i is element k of one of `params`, whose update has the operands in `calls`."""
    count, traced = len(calls[0]), trace(kernel, len(calls[0]))
    assert traced is not None
    statements, results = traced
    # a result may be an operand, such as w before the update: all are read before any is written
    read = [f"const T r{k} = {result};" for k, result in zip(donated, results, strict=True)]
    written = [f"a{k} = r{k};" for k in donated]
    parameters = ", ".join(f"T{'&' if k in donated else ''} a{k}" for k in range(count))
    branches = [
        f"if (k < {w}.size()) {{ formula({', '.join(operands)}); continue; }} k -= {w}.size();"
        for w, operands in zip(params, calls, strict=True)
    ]
    return cupy.ElementwiseKernel(
        ", ".join(f"{dtype} number{k}" for k in range(numbers)),
        ", ".join(f"raw {dtype} x{k}" for k in range(arrays)),
        "\n".join(["ptrdiff_t k = i;", *branches]),
        name=f"foreach_{kernel_name(kernel)}",
        preamble="\n".join(
            [
                f"typedef {TYPES[dtype]} T;",
                f"__device__ void formula({parameters}) {{",
                *statements,
                *read,
                *written,
                "}",
            ]
        ),
    )


@cache
def trace(kernel: ElementwiseKernel, count: int) -> tuple[list[str], list[str]] | None:
    """The formula as C++ statements on T numbers a0, a1, ..., and the names of its results.

    None where it has other operators or functions than those of optimizers, which are here, or depends on a number
    in another way, as by `if`.
    """
    statements: list[str] = []
    try:
        results = kernel(_Functions(), *(_Number(f"a{k}", statements) for k in range(count)))
    except (AttributeError, TypeError):
        return None
    return statements, [number.name for number in (results if isinstance(results, tuple) else (results,))]


class _Number:
    """A number of a formula, by its name in C++. Each operator adds a statement."""

    def __init__(self, name: str, statements: list[str]) -> None:
        self.name, self._statements = name, statements

    def __add__(self, other: _Number) -> _Number:
        return self.result(f"{self.name} + {other.name}")

    def __sub__(self, other: _Number) -> _Number:
        return self.result(f"{self.name} - {other.name}")

    def __mul__(self, other: _Number) -> _Number:
        return self.result(f"{self.name} * {other.name}")

    def __truediv__(self, other: _Number) -> _Number:
        return self.result(f"{self.name} / {other.name}")

    def __neg__(self) -> _Number:
        return self.result(f"-{self.name}")

    def __bool__(self) -> bool:
        raise TypeError("the value of a number is not known when the formula is traced")

    def __eq__(self, other: object) -> bool:
        return bool(self)

    def result(self, code: str) -> _Number:
        """The value of C++ `code`, in a variable of its own."""
        name = f"t{len(self._statements)}"
        self._statements.append(f"const T {name} = {code};")
        return _Number(name, self._statements)


class _Functions:
    """The `xp` of a traced formula."""

    @staticmethod
    def sqrt(x: _Number) -> _Number:
        return x.result(f"sqrt({x.name})")
