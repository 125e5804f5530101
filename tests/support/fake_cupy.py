"""As much of CuPy and cuBLAS as the CuPy backend calls, over `Taped` arrays, without a GPU.

Names and signatures are those of CuPy 14.2. cuBLAS reads and writes memory by address, columns first.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import array_api_compat
import numpy as np
import pytest

import nnbackprop as nb
from backends import Backend
from tests.support.fake_graphs import Tape, Taped, TapedNamespace, call
from tests.support.fake_streams import Device, Event, Stream, current, reset

PARTS = ("arrays", "bfloat16", "cublas", "cupy_graph_recorder", "double_buffer")
MODULES = ("backends.cupy_backend", *(f"backends.cuda.{name}" for name in PARTS))
DOUBLE, IN_DOUBLE = 1, 70
BLOCK = 4096
"""What is drawn of a pool wherever one is used."""
TYPES = {0: "float32", DOUBLE: "float64", 2: "float16", 14: "bfloat16"}


class Blas:
    """A cuBLAS that follows its manual: its calls are in `calls`; `status` is its answer to a product."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.status = 0
        for name in ("cublasCreate_v2", "cublasDestroy_v2", "cublasSetStream_v2", "cublasSetWorkspace_v2"):
            setattr(self, name, self._recorded(name))
        self.cublasGetVersion_v2 = lambda handle, number: setattr(number._obj, "value", 130100) or 0
        self.cublasGetStatusName = lambda status: b"CUBLAS_STATUS_NOT_SUPPORTED"
        self.cublasGemmEx = self._recorded("cublasGemmEx", self._gemm)

    def _recorded(self, name: str, then: Callable[..., int] = lambda *_: 0) -> Callable[..., int]:
        def function(*arguments: Any) -> int:
            self.calls.append((name, *arguments))
            return then(*arguments)

        return function

    def _gemm(self, handle: Any, *arguments: Any) -> int:
        transa, transb, m, n, k, alpha, a, kind, lda, b, _, ldb, beta, c, _, ldc, computed, _ = arguments
        assert (alpha._obj.value, beta._obj.value) == (1, 0)
        assert (kind == DOUBLE) == (computed == IN_DOUBLE) == isinstance(alpha._obj, ctypes.c_double)
        work = (transa, transb, m, n, k, a, lda, b, ldb, c, ldc, kind)
        if Tape.now.tape:
            Tape.now.tape.calls.append((multiply, work, {}, None))
        elif not self.status:
            multiply(*work)
        return self.status


def multiply(ta: int, tb: int, m: int, n: int, k: int, a: int, lda: int, *rest: Any) -> None:
    """Products and sums are made in float32, or float64 for it, and rounded once."""
    b, ldb, c, ldc, kind = rest
    wide = np.float64 if kind == DOUBLE else np.float32
    left, right = (
        columns(a, *((k, m) if ta else (m, k)), lda, kind),
        columns(b, *((n, k) if tb else (k, n)), ldb, kind),
    )
    factors = (x.mT if turned else x for x, turned in ((left, ta), (right, tb)))
    columns(c, m, n, ldc, kind)[...] = np.matmul(*(x.astype(wide) for x in factors))


def columns(address: int, rows: int, width: int, leading: int, kind: int) -> np.ndarray:
    """The matrix in memory whose element (i, j) is number i + j `leading` from `address` on."""
    dtype = np.dtype(TYPES[kind])
    memory = (ctypes.c_char * ((leading * (width - 1) + rows) * dtype.itemsize)).from_address(address)
    flat = np.frombuffer(memory, dtype)
    return np.lib.stride_tricks.as_strided(flat, (rows, width), (dtype.itemsize, leading * dtype.itemsize))


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
    reset()
    Pool.drawn = []
    pool, pinned = Pool(), Pool()
    used: list[list[str]] = [["cub"]]
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
    same = ("float32", "isnan", "may_share_memory", "sign", "uint8", "where")
    return SimpleNamespace(
        **{name: getattr(np, name) for name in same},
        **{name: maker(getattr(np, name)) for name in ("arange", "empty", "full", "ones")},
        __version__="14.2.0",
        array=lambda a, order: np.array(a, order=order).view(Taped),
        all=lambda a: call(np.all, (a,)),
        asnumpy=lambda a, order="C": np.array(a, order=order),
        concatenate=lambda arrays, axis: call(np.concatenate, (list(arrays),), {"axis": axis}),
        cuda=cuda,
        fuse=lambda kernel_name: fused,
        get_default_memory_pool=lambda: pool,
        get_default_pinned_memory_pool=lambda: pinned,
        matmul=matmul,
        ndarray=Taped,
        sum=lambda a: call(np.sum, (a,)),
        _core=SimpleNamespace(get_reduction_accelerators=lambda: used[-1], set_reduction_accelerators=used.append),
    )


def maker(function: Callable[..., Any]) -> Callable[..., Any]:
    """One of NumPy's that makes an array of nothing: an operation, which is recorded."""

    def make(*arguments: Any, dtype: Any) -> Any:
        return call(function, arguments, {"dtype": dtype})

    make.__name__ = function.__name__
    return make


def fused(formula: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel itself; CuPy 14.2 cannot cast to bfloat16 in one."""

    def kernel(*numbers: Any) -> Any:
        assert all(a.dtype.name != "bfloat16" for a in numbers)
        return formula(*numbers)

    return kernel


def matmul(a: Any, b: Any) -> Any:
    if Tape.now.tape:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    return call(np.matmul, (a, b))


@contextmanager
def installed(monkeypatch: pytest.MonkeyPatch, blas: Blas) -> Iterator[SimpleNamespace]:
    """A machine with two GPUs, as far as names go."""
    kept = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    cupy, path = make(), SimpleNamespace(abs_path="libcublas.so.13")
    pathfinder = SimpleNamespace(load_nvidia_dynamic_lib=lambda name: path)
    pinned = SimpleNamespace(empty_pinned=np.empty)
    modules = {"cupy": cupy, "cupyx": pinned, "array_api_compat.cupy": np, "cuda.pathfinder": pathfinder}
    for name, module in {**modules, "cuda": SimpleNamespace(pathfinder=pathfinder)}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(array_api_compat, "cupy", np, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: blas)
    yield cupy
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(kept)


def backend(eager: bool = False) -> Any:
    """The CuPy backend on the second of them; `eager` captures nothing."""
    made = importlib.import_module("backends.cupy_backend").CupyBackend("cuda:1")
    made.xp._module = TapedNamespace()
    if eager:
        made.scan = partial(Backend.scan, made)
    return made


def trained(gpu: Backend, optimizer: Any = None, **options: Any) -> nb.Trainer:
    """A trainer after three epochs on `gpu`, with dropout, ragged batches and an evaluation after each epoch."""
    rng = np.random.default_rng(5)
    train, test = (
        nb.Dataset(rng.integers(0, 255, (n, 6), np.uint8), rng.integers(0, 3, n), ("a", "b", "c"))
        for n in (203, 40)
    )
    network = nb.Sequential(nb.Dense(8), nb.ReLU(), nb.Dropout(0.3), nb.Dense(3))
    options = {"epochs": 3, "batch_size": 4, "lr": 0.01, **options}
    trainer = nb.Trainer(network, nb.SoftmaxCrossEntropy(), optimizer or nb.Adam(), backend=gpu, **options)
    trainer.fit(train, test=test)
    return trainer
