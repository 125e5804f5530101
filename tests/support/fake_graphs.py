"""NumPy arrays whose operations can be captured and replayed as in a CUDA graph.

While `Tape.now.tape` is set, nothing that exists is written to, and each operation is recorded with the very
arrays it reads and makes. `replay` executes them again, into the same arrays: addresses, shapes and Python numbers
are baked in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from backends.base import Namespace

CREATORS = ("arange", "asarray", "empty", "full", "ones", "zeros")


class Now(threading.local):
    """The tape of a thread: what others ask meanwhile is executed, as in CUDA's relaxed capture mode."""

    tape: Tape | None = None


class Tape:
    """Operations on `Taped` arrays, as a CUDA graph holds them."""

    now = Now()

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple, dict, Any]] = []

    def replay(self) -> None:
        for function, arguments, options, result in self.calls:
            with np.errstate(all="ignore"):
                value = function(*arguments, **options)
            if result is not None:
                result[...] = value


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

    def copy(self) -> Any:
        return call(np.copy, (self,))

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        return call(np.astype, (self, dtype), {"copy": copy})

    def set(self, host: np.ndarray, stream: Any) -> None:
        """As CuPy's arrays: when the stream comes to it."""
        assert (host.dtype, host.shape) == (self.dtype, self.shape)
        stream.enqueue(lambda: np.copyto(plain(self), host))

    def __setitem__(self, where: Any, value: Any) -> None:
        call(np.maximum, (plain(value),) * 2, {"out": (self[where],)})  # a copy, of booleans too

    def __getitem__(self, where: Any) -> Any:
        return np.asarray(plain(self)[where]).view(Taped)


class TapedNamespace(Namespace):
    """NumPy's namespace; creation functions are recorded too."""

    def __init__(self) -> None:
        super().__init__(np)

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        return (lambda *a, **o: call(value, a, o)) if name in CREATORS else value
