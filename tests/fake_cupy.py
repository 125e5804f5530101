"""As much of CuPy and cuBLAS as the CuPy backend asks for, over `Taped` arrays. No GPU is in it, only the calls.

Names and signatures are those of CuPy 14.2. cuBLAS reads and writes memory by address, columns first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import contextmanager
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_cupy_streams import Device, Event, Stream, begin, current
from taped import Tape, Taped, call

DOUBLE, IN_DOUBLE = 1, 70
BLOCK = 4096
"""What is drawn of a pool wherever one is used."""
TYPES = {0: ctypes.c_float, DOUBLE: ctypes.c_double}


class Blas:
    """A cuBLAS that follows its manual: what it was asked, in `asked`; `status` is its answer to a product."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.status = 0
        for name in ("cublasCreate_v2", "cublasDestroy_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2"):
            setattr(self, name, self._noting(name))
        self.cublasGetVersion_v2 = lambda handle, number: setattr(number._obj, "value", 130100) or 0
        self.cublasGetStatusName = lambda status: b"CUBLAS_STATUS_NOT_SUPPORTED"
        self.cublasGemmEx = self._noting("cublasGemmEx", self._gemm)

    def _noting(self, name: str, then: Callable[..., int] = lambda *_: 0) -> Callable[..., int]:
        def function(*arguments: Any) -> int:
            self.asked.append((name, *arguments))
            return then(*arguments)

        return function

    def _gemm(self, handle: Any, *arguments: Any) -> int:
        transa, transb, m, n, k, alpha, a, kind, lda, b, _, ldb, beta, c, _, ldc, computed, _ = arguments
        assert (alpha._obj.value, beta._obj.value) == (1, 0)
        assert (kind == DOUBLE) == (computed == IN_DOUBLE) == isinstance(alpha._obj, ctypes.c_double)
        work = (transa, transb, m, n, k, a, lda, b, ldb, c, ldc, TYPES[kind])
        if Tape.now.tape:
            Tape.now.tape.calls.append((multiply, work, {}, None))
        elif not self.status:
            multiply(*work)
        return self.status


def multiply(ta: int, tb: int, m: int, n: int, k: int, a: int, lda: int, *rest: Any) -> None:
    b, ldb, c, ldc, number = rest
    left, right, out = (ctypes.cast(address, ctypes.POINTER(number)) for address in (a, b, c))
    for i, j in product(range(m), range(n)):
        terms = (
            left[p + i * lda if ta else i + p * lda] * right[j + p * ldb if tb else p + j * ldb] for p in range(k)
        )
        out[i + j * ldc] = sum(terms)


class Pool:
    """A pool that draws on `malloc`, and keeps what it drew until it is emptied: being dropped is not enough."""

    drawn: list[Pool]

    def __init__(self, malloc: Any = None) -> None:
        self.limit, self.freed, self.draw = 0, 0, malloc
        if malloc:
            Pool.drawn.append(self)

    def malloc(self, size: int) -> Any:
        return self.draw(size) if self.draw else SimpleNamespace(mem=SimpleNamespace(size=size))

    def used_bytes(self) -> int:
        return 1024

    free_bytes = used_bytes

    def free_all_blocks(self) -> None:
        self.freed += 1

    def set_limit(self, size: int) -> None:
        self.limit = size


@contextmanager
def using_allocator(malloc: Any) -> Any:
    malloc(BLOCK)
    yield


def make() -> SimpleNamespace:
    """A module `cupy`."""
    begin()
    Pool.drawn = []
    pool, pinned = Pool(), Pool()
    runtime = SimpleNamespace(
        getDeviceCount=lambda: 2,
        getDeviceProperties=lambda index: {"name": b"NVIDIA H200"},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13020,
        memGetInfo=lambda: (2048, 4096),
        CUDARuntimeError=RuntimeError,
    )
    cuda = SimpleNamespace(
        Device=Device,
        Event=Event,
        MemoryPool=Pool,
        Stream=Stream,
        get_current_stream=current,
        runtime=runtime,
        using_allocator=using_allocator,
    )
    return SimpleNamespace(
        __version__="14.2.0",
        arange=maker(np.arange),
        array=lambda a, order: np.array(a, order=order).view(Taped),
        asnumpy=lambda a, order="C": np.array(a, order=order),
        concatenate=lambda arrays, axis: call(np.concatenate, (list(arrays),), {"axis": axis}),
        cuda=cuda,
        empty=maker(np.empty),
        float32=np.float32,
        full=maker(np.full),
        fuse=lambda kernel_name: lambda rule: rule,
        get_default_memory_pool=lambda: pool,
        get_default_pinned_memory_pool=lambda: pinned,
        matmul=matmul,
        may_share_memory=np.may_share_memory,
        ndarray=Taped,
        ones=maker(np.ones),
        sum=lambda a: call(np.sum, (a,)),
        uint8=np.uint8,
    )


def maker(function: Callable[..., Any]) -> Callable[..., Any]:
    """One of NumPy's that makes an array of nothing: an operation, which is recorded."""

    def make(*arguments: Any, dtype: Any) -> Any:
        return call(function, arguments, {"dtype": dtype})

    make.__name__ = function.__name__
    return make


def matmul(a: Any, b: Any) -> Any:
    if Tape.now.tape:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    return call(np.matmul, (a, b))
