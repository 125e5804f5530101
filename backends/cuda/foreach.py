"""An elementwise kernel over many tensors by one launch, as PyTorch's `torch._foreach_*` functions.

`cupy.fuse` takes arrays of one shape, so that an update of six parameters is six launches. Here the formula is
traced: it is called once with objects that write its operators down as CUDA C++, and that is the body of one
`cupy.ElementwiseKernel` over the elements of all tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cupy
import numpy as np

from backends.base import Array, ElementwiseKernel

MAX_ARRAYS = 96
"""Arrays of a launch, each of which takes 32 bytes of the 4 kB that the parameters of a kernel may take."""

TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
"""The dtypes that one launch is made for, in C++."""

Operands = Sequence[Any]
"""Of one tensor: the tensor, arrays of its shape, 0-d arrays and Python numbers."""


def foreach(xp: Any, kernel: ElementwiseKernel, donated: tuple[int, ...], rows: Sequence[Operands]) -> list[Any]:
    """`Namespace.foreach`: in one launch where the formula and the arrays allow it, else in one for each row."""
    if len(rows) < 2 or not _are_alike(rows) or trace(kernel, len(rows[0]), "float") is None:
        fused = xp.fuse(kernel, donated)
        return [fused(*row) for row in rows]
    at_once = MAX_ARRAYS // len(rows[0])
    for begin in range(0, len(rows), at_once):
        _launch(kernel, donated, rows[begin : begin + at_once])
    return [row[donated[0]] if len(donated) == 1 else tuple(row[k] for k in donated) for row in rows]


def _are_alike(rows: Sequence[Operands]) -> bool:
    """Whether all arrays are contiguous and of one of the dtypes, and those of a row have one shape or are 0-d."""
    dtype = rows[0][0].dtype
    return dtype in TYPES and all(
        a.dtype == dtype and a.flags.c_contiguous and a.shape in ((), row[0].shape)
        for row in rows
        for a in row
        if isinstance(a, cupy.ndarray)
    )


def _launch(kernel: ElementwiseKernel, donated: tuple[int, ...], rows: Sequence[Operands]) -> None:
    """Write the formula's results over what is donated, in all rows."""
    names: dict[Any, str] = {}  # of each array, and of each number
    arrays, numbers = list[Array](), list[float]()

    def code(a: Any, shape: tuple[int, ...]) -> str:
        """The operand in C++: element k of an array of this shape, the one of a 0-d array, or a number."""
        is_array = isinstance(a, cupy.ndarray)
        key = id(a) if is_array else ("number", a)
        if key not in names:
            names[key] = f"x{len(arrays)}" if is_array else f"number{len(numbers)}"
            (arrays if is_array else numbers).append(a.reshape(-1) if is_array else a)
        return names[key] + (f"[{'k' if a.shape == shape else 0}]" if is_array else "")

    operands = tuple(tuple(code(a, row[0].shape) for a in row) for row in rows)
    first = tuple(names[id(row[0])] for row in rows)
    launch = _compile(kernel, donated, operands, first, len(numbers), len(arrays), rows[0][0].dtype)
    launch(*numbers, *arrays, size=sum(row[0].size for row in rows))


@cache
def _compile(
    kernel: ElementwiseKernel,
    donated: tuple[int, ...],
    operands: tuple[tuple[str, ...], ...],
    first: tuple[str, ...],
    numbers: int,
    arrays: int,
    dtype: np.dtype,
) -> cupy.ElementwiseKernel:
    """The CUDA kernel, in which element i of all tensors is element k of one, whose name is in `first`."""
    count, ctype = len(operands[0]), TYPES[dtype]
    statements, results = trace(kernel, count, ctype)  # type: ignore[misc]  # `foreach` has seen that it can
    parameters = ", ".join(f"{ctype}{'&' if k in donated else ''} a{k}" for k in range(count))
    body = [*statements, *(f"a{k} = {result};" for k, result in zip(donated, results, strict=True))]
    branches = [
        f"if (k < {name}.size()) {{ formula({', '.join(row)}); continue; }} k -= {name}.size();"
        for name, row in zip(first, operands, strict=True)
    ]
    return cupy.ElementwiseKernel(
        ", ".join(f"{dtype} number{k}" for k in range(numbers)),
        ", ".join(f"raw {dtype} x{k}" for k in range(arrays)),
        "\n".join(["ptrdiff_t k = i;", *branches]),
        name=f"foreach_{kernel.__name__}",
        preamble=f"__device__ void formula({parameters}) {{ {' '.join(body)} }}",
    )


class _Number:
    """A number of a formula, by its name in C++; its operators add statements."""

    def __init__(self, name: str, ctype: str, statements: list[str]) -> None:
        self.name, self._ctype, self._statements = name, ctype, statements

    def __add__(self, other: Any) -> _Number:
        return self.result("{} + {}", self, other)

    def __radd__(self, other: Any) -> _Number:
        return self.result("{} + {}", other, self)

    def __sub__(self, other: Any) -> _Number:
        return self.result("{} - {}", self, other)

    def __rsub__(self, other: Any) -> _Number:
        return self.result("{} - {}", other, self)

    def __mul__(self, other: Any) -> _Number:
        return self.result("{} * {}", self, other)

    def __rmul__(self, other: Any) -> _Number:
        return self.result("{} * {}", other, self)

    def __truediv__(self, other: Any) -> _Number:
        return self.result("{} / {}", self, other)

    def __rtruediv__(self, other: Any) -> _Number:
        return self.result("{} / {}", other, self)

    def __neg__(self) -> _Number:
        return self.result("-{}", self)

    def result(self, code: str, *operands: Any) -> _Number:
        """The number that `code` gives of the operands, in a variable of its own."""
        names = [a.name if isinstance(a, _Number) else f"{self._ctype}({float(a)!r})" for a in operands]
        name = f"t{len(self._statements)}"
        self._statements.append(f"const {self._ctype} {name} = {code.format(*names)};")
        return _Number(name, self._ctype, self._statements)


class _Functions:
    """The `xp` of a traced formula: what the updates of optimizers need."""

    @staticmethod
    def sqrt(x: _Number) -> _Number:
        return x.result("sqrt({})", x)


@cache
def trace(kernel: ElementwiseKernel, count: int, ctype: str) -> tuple[list[str], list[str]] | None:
    """The formula of the numbers a0, a1, ... as statements in C++, and its results' names.

    None where it has another function, or another operator, than there are here.
    """
    statements: list[str] = []
    try:
        results = kernel(_Functions(), *(_Number(f"a{k}", ctype, statements) for k in range(count)))
    except (AttributeError, TypeError):
        return None
    return statements, [result.name for result in (results if isinstance(results, tuple) else (results,))]
