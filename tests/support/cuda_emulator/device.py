"""The emulated device, for tests: when its streams run, its memory, its failures, and what happened on it."""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from functools import cache
from typing import Any

from . import build, kernels, patching

EAGER, LATE, RANDOM = range(3)


@cache
def load() -> ctypes.CDLL:
    """Load the stand-ins under the names by which CUDA's libraries are looked for; the driver's is returned."""
    cuda, *_ = (ctypes.CDLL(str(path)) for path in build.libraries())
    cuda.emulator_report.restype = ctypes.c_char_p
    cuda.emulator_used.restype = ctypes.c_size_t
    for name, types in {
        "emulator_report": [ctypes.c_char_p, ctypes.c_void_p],
        "emulator_set_pace": [ctypes.c_int, ctypes.c_uint64],
        "emulator_set_speed": [ctypes.c_int, ctypes.c_void_p, ctypes.c_double],
        "emulator_set_memory": [ctypes.c_size_t],
    }.items():
        getattr(cuda, name).argtypes = types
    return cuda


def take_over() -> None:
    """Patch the modules of CuPy, which is loaded."""
    from cupy.cuda import compiler, cub
    from cupy_backends.cuda.api import runtime

    for module in (runtime, cub):
        patching.patch(module, load())
    compiler._compile_using_nvrtc_no_warning = kernels.compiler(compiler._compile_using_nvrtc_no_warning)
    reset()


# When streams run


def run_eagerly() -> None:
    """Do all work as soon as it is asked for."""
    load().emulator_set_pace(EAGER, 0)


def run_late() -> None:
    """Do work only when the host waits for it."""
    load().emulator_set_pace(LATE, 0)


def run_in_random_order(seed: int) -> None:
    """Do the work of streams, and of a graph's branches, in an order drawn from those that CUDA allows."""
    load().emulator_set_pace(RANDOM, seed)


def set_speed(stream: Any, speed: float, most_after_a_call: int = 0) -> None:
    """Where the order is drawn: how fast a stream is beside others, and how much is done after each call."""
    load().emulator_set_speed(most_after_a_call, stream.ptr, speed)


# Memory


def set_memory(size: int = 8 * 2**30) -> None:
    """Let each device have so many bytes from now on."""
    load().emulator_set_memory(size)


def used_memory(device: int = 0) -> int:
    """Bytes that are allocated on a device, by CuPy's pools or for themselves."""
    return load().emulator_used(device)


# Failures


def answer_products(status: int = 0) -> None:
    """Let cuBLAS answer each product with this status from now on: 15 is not supported, 0 is success."""
    ctypes.CDLL("libcublas.so.13").cublas_emulator_answer(status)


def reset() -> None:
    """All memory, products that succeed, nothing has happened; eager streams, unless CUDA_EMULATOR_SEED is set."""
    if seed := os.environ.get("CUDA_EMULATOR_SEED"):
        run_in_random_order(int(seed))
    else:
        run_eagerly()
    set_memory()
    answer_products()
    forget()


# What happened


def counts() -> Counter[str]:
    """How often each kernel was launched or captured, and each other call made, since `forget`."""
    lines = (line.split("\t") for line in _report("counts"))
    return Counter({what: int(often) for what, often in lines})


def notes() -> list[str]:
    """What the device refused, and why, since `forget`."""
    return _report("notes")


def forget() -> None:
    """Forget counts and notes."""
    load().emulator_forget()


def nodes(graph: Any) -> list[str]:
    """The nodes of a captured `cupy.cuda.Graph` by the names of their kernels, in the order of the capture."""
    return [line.split("\t")[0] for line in _report("nodes", graph.graph)]


def edges(graph: Any) -> list[tuple[int, int]]:
    """The edges of a captured graph, by the numbers of its nodes."""
    lines = (line.split("\t")[1].split() for line in _report("nodes", graph.graph))
    return [(int(earlier), node) for node, before in enumerate(lines) for earlier in before]


def _report(which: str, handle: int | None = None) -> list[str]:
    return load().emulator_report(which.encode(), handle).decode().splitlines()
