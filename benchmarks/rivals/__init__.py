"""Who is timed: this package on each array library, and the rivals, each as its own users would write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np

from benchmarks.workloads import Problem
from nnbackprop.nn.layers.base import Params

Kind = Literal["ours", "floor", "rival"]


class Rival(Protocol):
    """A network with its first parameters in place, made by `module.make(problem, **options)`."""

    def prepare(self, rows: np.ndarray) -> Any:
        """Row numbers (steps, batch) of the next steps as `run` takes them, on the device; not timed."""

    def run(self, batches: Any) -> None:
        """Train a step for each batch, and wait until they are done."""

    def weights(self) -> Params:
        """The weights as they stand, on the host: W (in, out) and b (out,) of each dense layer."""


@dataclass(frozen=True)
class Entry:
    """A rival: its title, module, the package it `needs`, the workloads it can run and on which devices.

    `blocked` is a package that its process cannot import: we are also timed as on a machine without numba.
    """

    title: str
    module: str
    needs: str
    kind: Kind = "rival"
    options: dict[str, Any] = field(default_factory=dict)
    workloads: Sequence[str] = ("W1", "W1n", "W1a", "W2", "W3", "W4")
    devices: Sequence[str] = ("cpu",)
    blocked: str | None = None

    def make(self, problem: Problem) -> Rival:
        """Build it, in the process it runs in."""
        return import_module(f"benchmarks.rivals.{self.module}").make(problem, **self.options)


def _ours(title: str, backend: str, needs: str = "", devices: Sequence[str] = ("cpu",), **further: Any) -> Entry:
    options = {"backend": backend, **further.pop("options", {})}
    return Entry(
        f"nnbackprop, {title}", "nnbackprop_steps", needs or backend, "ours", options, devices=devices, **further
    )


ANY, CUDA = ("cpu", "cuda"), ("cuda",)
PLAIN = ("W1n", "W1a")
RIVALS = {
    "numpy-fast": _ours("NumPy and numba", "numpy", "numba"),
    "numpy": _ours("NumPy", "numpy", blocked="numba"),
    "cupy": _ours("CuPy", "cupy", devices=CUDA),
    "cupy-single": _ours("CuPy, graphs of 1 step", "cupy", devices=CUDA, options={"graph_steps": 1}),
    "cupy-eager": _ours("CuPy, kernel by kernel", "cupy", devices=CUDA, options={"eager": True}),
    "jax": _ours("JAX arrays", "jax", devices=ANY),
    "torch": _ours("PyTorch arrays", "torch", devices=ANY),
    "products": Entry("the matrix products alone, NumPy", "products", "numpy", "floor"),
    "cublas": Entry("the matrix products alone, cuBLAS", "products", "cupy", "floor", devices=CUDA),
    "tutorial": Entry("plain NumPy, as in tutorials", "tutorial", "numpy"),
    "torch-eager": Entry("PyTorch, eager", "torch_rival", "torch", devices=ANY),
    "torch-fused": Entry("PyTorch, fused optimizer", "torch_rival", "torch", options={"fused": True}, devices=ANY),
    "torch-graph-1": Entry(
        "PyTorch, a CUDA graph of 1 step", "torch_rival", "torch", options={"graph": 1}, devices=CUDA
    ),
    "torch-graph-10": Entry(
        "PyTorch, a CUDA graph of 10 steps", "torch_rival", "torch", options={"graph": 10}, devices=CUDA
    ),
    "torch-compile": Entry(
        "PyTorch, compile reduce-overhead",
        "torch_rival",
        "torch",
        options={"fused": True, "compiled": True},
        devices=CUDA,
    ),
    "jax-jit": Entry("JAX autodiff, jit", "jax_rival", "jax", options={"scan": False}, devices=CUDA),
    "jax-grad": Entry("JAX autodiff, jit and scan", "jax_rival", "jax", devices=ANY),
    "keras": Entry("Keras on JAX", "keras_rival", "keras", workloads=("W1", *PLAIN)),
    "sklearn": Entry("scikit-learn", "sklearn_rival", "sklearn", workloads=PLAIN),
}
