"""Who runs: ourselves on each library, and the rivals, each as its own users would write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from benchmarks.works import Problem
from nnbackprop.nn.layers.base import Params


class Contestant(Protocol):
    """A network with its first weights in place, ready to train; made by `module.make(problem, chunk)`."""

    def run(self, at: int, steps: int) -> None:
        """Train `steps` steps from step `at` of the problem's order on, and wait until they are done."""

    def weights(self) -> Params:
        """The weights as they stand, on the host: W (in, out) and b (out,), a dict a layer that has any."""


@dataclass(frozen=True)
class Entry:
    """`needs` is the package it cannot do without; `works` those it can run; `ours` tells us from rivals.

    `blocked` is a package kept from it: we are also measured as a machine without numba would run us.
    """

    title: str
    module: str
    needs: str
    works: Sequence[str]
    options: dict[str, Any]
    ours: bool = False
    blocked: str | None = None
    floor: bool = False

    def make(self, problem: Problem, chunk: int) -> Contestant:
        """Build it, in the process it runs in."""
        make: Callable[..., Contestant] = import_module(f"benchmarks.contestants.{self.module}").make
        return make(problem, chunk, **self.options)


ALL = ("W1", "W1n", "W1a", "W2", "W3", "W4")
PLAIN = ("W1n", "W1a")
US = "numpy-fast"
ENTRIES = {
    US: Entry("nnbackprop, NumPy and numba", "ours", "numba", ALL, {"backend": "numpy"}, ours=True),
    "numpy": Entry("nnbackprop, NumPy", "ours", "numpy", ALL, {"backend": "numpy"}, ours=True, blocked="numba"),
    "jax": Entry("nnbackprop, JAX arrays", "ours", "jax", ALL, {"backend": "jax"}, ours=True),
    "torch": Entry("nnbackprop, PyTorch arrays", "ours", "torch", ALL, {"backend": "torch"}, ours=True),
    "products": Entry("the matrix products alone, NumPy", "products", "numpy", ALL, {}, floor=True),
    "tutorial": Entry("plain NumPy, as in tutorials", "tutorial", "numpy", ALL, {}),
    "torch-eager": Entry("PyTorch, eager", "torch_autograd", "torch", ALL, {"fused": False}),
    "torch-fused": Entry("PyTorch, fused optimizer", "torch_autograd", "torch", ALL, {"fused": True}),
    "jax-grad": Entry("JAX autodiff, jit and scan", "jax_autodiff", "jax", ALL, {}),
    "keras": Entry("Keras on JAX", "keras_on_jax", "keras", ("W1", *PLAIN), {}),
    "sklearn": Entry("scikit-learn", "sklearn_mlp", "sklearn", PLAIN, {}),
    "thinc": Entry("Thinc", "thinc_network", "thinc", ("W1", *PLAIN), {}),
}
