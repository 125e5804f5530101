"""NumPy arrays whose operations can be captured and replayed as in a CUDA graph.

While `Tape.record` runs, nothing that exists is written to, and each operation is recorded with the very arrays it
reads and makes. `replay` executes them again, into the same arrays: addresses, shapes and Python numbers are baked
in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from backends import NumpyBackend, tree_map
from backends.base import ElementwiseKernel, Namespace, Step, Tree
from backends.cuda.captured_scan import CapturedScan

CREATORS = ("arange", "empty", "full", "ones", "zeros")


class Now(threading.local):
    """The tape of a thread: what others ask meanwhile is executed, as in CUDA's relaxed capture mode."""

    tape: Tape | None = None


class Tape:
    """A `GraphRecorder` over `Taped` arrays; `refuse` is raised by `record`."""

    now = Now()

    def __init__(self, refuse: Exception | None = None) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple, dict, Any]] = []
        self.refuse = refuse
        self.recorded = 0

    def record(self, work: Callable[[], None]) -> Tape:
        if self.refuse:
            raise self.refuse
        self.recorded += 1
        Tape.now.tape = tape = Tape()
        try:
            work()
        finally:
            Tape.now.tape = None
        return tape

    def replay(self) -> None:
        for function, arguments, options, result in self.calls:
            value = function(*arguments, **options)
            if result is not None:
                result[...] = value

    def copy(self, array: Any) -> Any:
        return call(np.copy, (array,))

    def address(self, array: Any) -> Any:
        return array.ctypes.data, array.strides

    def overlap(self, a: Any, b: Any) -> bool:
        return np.may_share_memory(a, b)


def plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value.view(np.ndarray) if isinstance(value, Taped) else value


def call(function: Callable[..., Any], arguments: tuple, options: dict | None = None) -> Any:
    """Execute it; while a tape records, append it, unless it makes a view, which is no operation."""
    arguments, options = plain(arguments), {name: plain(value) for name, value in (options or {}).items()}
    tape = Tape.now.tape
    if "out" in options:
        (out,) = options["out"]
        if tape:
            tape.calls.append((function, arguments, options, None))
        else:
            function(*arguments, **options)
        return out.view(Taped)
    with np.errstate(all="ignore"):
        result = np.asarray(function(*arguments, **options))
    if tape and not any(isinstance(a, np.ndarray) and np.may_share_memory(a, result) for a in arguments):
        tape.calls.append((function, arguments, options, result))
    return result.view(Taped)


class Taped(np.ndarray):
    """An array whose operations go through `call`."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return call(getattr(ufunc, method), inputs, options)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        return call(function, tuple(arguments), options)

    @property
    def data(self) -> Any:
        """As CuPy's arrays have it."""
        return SimpleNamespace(ptr=self.ctypes.data)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return call(np.astype, (self, dtype), {"copy": copy})

    def set(self, host: np.ndarray, stream: Any) -> None:
        """As CuPy's arrays: when the stream comes to it."""
        assert (host.dtype, host.shape) == (self.dtype, self.shape)
        stream.ask(lambda: np.copyto(plain(self), host))

    def __setitem__(self, where: Any, value: Any) -> None:
        call(np.maximum, (plain(value),) * 2, {"out": (self[where],)})  # a copy, of booleans too

    def __getitem__(self, where: Any) -> Any:
        return np.asarray(plain(self)[where]).view(Taped)


class TapedNamespace(Namespace):
    """NumPy's namespace: creation functions are recorded too, and `fuse` writes over what is donated."""

    def __init__(self) -> None:
        super().__init__(np, self._fuse)

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        return (lambda *a, **o: call(value, a, o)) if name in CREATORS else value

    def _fuse(self, kernel: ElementwiseKernel, donated: tuple[int, ...] = ()) -> ElementwiseKernel:
        def fused(*numbers: Any) -> Any:
            answer = kernel(self, *numbers)
            for k, value in zip(donated, answer if isinstance(answer, tuple) else (answer,), strict=False):
                numbers[k][...] = value
            if not donated:
                return answer
            return numbers[donated[0]] if len(donated) == 1 else tuple(numbers[k] for k in donated)

        return fused


class TapedBackend(NumpyBackend):
    """A backend on `Taped` arrays, whose `scan` is `CapturedScan`'s unless it is `eager`."""

    def __init__(self, refuse: Exception | None = None, eager: bool = False) -> None:
        super().__init__()
        self.xp = TapedNamespace()
        self.tape = Tape(refuse)
        self.captured = None if eager else CapturedScan(self.tape)

    def asarray(self, array: np.ndarray, copy: bool = True) -> Any:
        return np.array(array, order="C").view(Taped)

    def scan(self, step: Step, state: Tree, data: Tree, xs: Tree, last: Step | None = None) -> Tree:
        if self.captured is None:
            return super().scan(step, state, data, xs, last)
        with np.errstate(all="ignore"):
            return self.captured.scan(step, state, data, xs, last)

    def host(self, tree: Tree) -> Tree:
        return tree_map(self.to_numpy, tree)
