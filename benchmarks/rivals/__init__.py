"""Who is timed: this package on each array library, and the rivals, each as its own users would write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np

from benchmarks.workloads import WORKLOADS, Problem
from nnbackprop.nn.layers.base import Params

Kind = Literal["ours", "floor", "rival"]


class Rival(Protocol):
    """A network with its first parameters in place, made by `module.make(problem, **options)`.

    After `check_steps` steps its tensors must be within `tolerance` of ours in float64, ||a - b|| / ||b||; where
    it has neither, these are the workload's and 1e-12.
    """

    def prepare(self, rows: np.ndarray) -> Any:
        """Row numbers (steps, batch) of the next steps as `run` takes them, on the device; not timed."""

    def run(self, batches: Any) -> None:
        """Train a step for each batch, and wait until they are done."""

    def weights(self) -> Params:
        """The trained parameters as they stand, on the host: those of `Problem.weights`, in their shapes."""


@dataclass(frozen=True)
class Entry:
    """A rival: its title, module, the package it `needs`, the workloads it can run and on which devices.

    `blocked` is a package that its process cannot import: we are also timed as on a machine without numba.
    """

    title: str
    module: str
    needs: str
    devices: Sequence[str] = ("cpu",)
    options: dict[str, Any] = field(default_factory=dict)
    kind: Kind = "rival"
    workloads: Sequence[str] = tuple(WORKLOADS)
    blocked: str | None = None

    def make(self, problem: Problem) -> Rival:
        """Build it, in the process it runs in."""
        return import_module(f"benchmarks.rivals.{self.module}").make(problem, **self.options)


def _ours(title: str, backend: str, devices: Sequence[str], needs: str = "", **options: Any) -> Entry:
    options["backend"] = backend
    return Entry(f"nnbackprop, {title}", "nnbackprop_steps", needs or backend, devices, options, "ours")


CPU, ANY, CUDA = ("cpu",), ("cpu", "cuda"), ("cuda",)
DENSE = tuple(name for name in WORKLOADS if name != "CNN")
RIVALS = {
    "numpy-fast": _ours("NumPy and numba", "numpy", CPU, needs="numba"),
    "numpy": replace(_ours("NumPy", "numpy", CPU), blocked="numba"),
    "cupy": _ours("CuPy", "cupy", CUDA),
    "cupy-single": _ours("CuPy, graphs of 1 step", "cupy", CUDA, graph_steps=1),
    "cupy-eager": _ours("CuPy, kernel by kernel", "cupy", CUDA, eager=True),
    "jax": _ours("JAX arrays", "jax", ANY),
    "torch": _ours("PyTorch arrays", "torch", ANY),
    "products": Entry("matrix products only, NumPy", "products", "numpy", kind="floor"),
    "cublas": Entry("matrix products only, cuBLAS", "products", "cupy", CUDA, {"backend": "cupy"}, "floor"),
    "tutorial": Entry("plain NumPy, as in tutorials", "tutorial", "numpy"),
    "torch-eager": Entry("PyTorch, eager", "torch_rival", "torch", ANY),
    "torch-fused": Entry("PyTorch, fused optimizer", "torch_rival", "torch", ANY, {"fused": True}),
    "torch-graph": Entry("PyTorch, a CUDA graph of 10 steps", "torch_rival", "torch", CUDA, {"graph_steps": 10}),
    "torch-compile": Entry("PyTorch, torch.compile", "torch_rival", "torch", CUDA, {"compiled": True}),
    "jax-jit": Entry("JAX autodiff, jit", "jax_rival", "jax", CUDA, {"scan": False}),
    "jax-grad": Entry("JAX autodiff, jit and scan", "jax_rival", "jax", ANY, workloads=DENSE),
    "jax-step": Entry("JAX autodiff, jit", "jax_rival", "jax", CPU, {"scan": False}, workloads=("CNN",)),
    "keras": Entry("Keras on JAX", "keras_rival", "keras", workloads=("W1", "W1n", "W1a", "W1b", "CNN")),
    "sklearn": Entry("scikit-learn", "sklearn_rival", "sklearn", workloads=("W1n", "W1a")),
}
