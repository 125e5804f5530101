"""MLX: Apple's library for the GPU of its chips, which computes on CPUs too. Its autodiff is not used."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mlx.core as mx
import numpy as np

from .base import Backend, BackendError, Memory, Step
from .devices import parse_device
from .namespace import Namespace
from .tree import Array, Tree

_MAX_COMPILED = 16  # compiled steps cached; a run has a handful


class MlxBackend(Backend):
    """mlx.core.array on `cpu` or `gpu`, which becomes MLX's default device; by default the GPU where there is one.

    The GPU has no float64. MLX 0.32 on Linux ends the process when memory runs out: there is no MemoryError. And
    where another thread than the main one has computed, it aborts when the process exits.
    """

    name = "mlx"

    def __init__(self, device: str | None = None) -> None:
        has_gpu = mx.is_available(mx.gpu)
        self.device, _ = parse_device(self.name, device or ("gpu" if has_gpu else "cpu"), ("cpu", "gpu"))
        if self.device == "gpu" and not has_gpu:
            raise BackendError(
                f"MLX {mx.__version__} finds no GPU.", "It needs a Mac with an Apple chip: use device='cpu'."
            )
        self.version = mx.__version__
        self.has_float64 = self.device == "cpu"
        self._device = mx.Device(mx.gpu if self.device == "gpu" else mx.cpu)
        mx.set_default_device(self._device)
        self._stream_of_any_thread = mx.new_thread_local_stream(self._device)
        self._prepare = lru_cache(maxsize=_MAX_COMPILED)(_compiled if self.device == "gpu" else _queued)
        self.xp = Namespace(
            mx,
            bool=mx.bool_,
            exp=_exp,
            arange=_without_device(mx.arange),
            ones=_without_device(mx.ones),
            zeros=_without_device(mx.zeros),
            full=_without_device(mx.full),
        )

    @property
    def fuses_elementwise(self) -> bool:
        """Within `scan` on the GPU, where MLX compiles a step; `xp.fuse` itself leaves a kernel as it is."""
        return self.device == "gpu"

    def asarray(self, array: np.ndarray, copy: bool = True) -> Array:
        self.check_dtype(array.dtype)
        return mx.array(array, dtype=getattr(self.xp, array.dtype.name))  # of float64 it would make float32

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.array(array, order="C")

    def synchronize(self) -> None:
        mx.synchronize()

    def memory(self) -> Memory:
        if self.device == "cpu":
            return Memory(None, None)
        used, limit = mx.get_active_memory(), mx.device_info().get("max_recommended_working_set_size")
        return Memory(used, None) if limit is None else Memory(used, int(limit) - used)

    def empty_cache(self) -> None:
        super().empty_cache()
        mx.clear_cache()

    @property
    def description(self) -> str:
        return str(mx.device_info().get("device_name", "")) if self.device == "gpu" else ""

    def scan(self, step: Step, state: Tree, constants: Tree, batches: Tree, last_step: Step | None = None) -> Tree:
        with mx.stream(self._device):
            state = super().scan(
                self._prepare(step), state, constants, batches, last_step and self._prepare(last_step)
            )
            mx.eval(state)
        return state

    def force_evaluation(self, tree: Tree) -> Tree:
        mx.eval(tree)
        return tree

    def run_eagerly(self, step: Step, state: Tree, constants: Tree, batch: Tree) -> Tree:
        with mx.stream(self._stream_of_any_thread):
            state = step(state, constants, batch)
            mx.eval(state)
        return state


def _queued(step: Step) -> Step:
    """The step, queued on the device while Python goes on.

    MLX is lazy: left alone, it would keep the graph of a whole chunk and all of its arrays.
    """

    def queued(state: Tree, constants: Tree, batch: Tree) -> Tree:
        state = step(state, constants, batch)
        mx.async_eval(state)
        return state

    return queued


def _compiled(step: Step) -> Step:
    """The same with its elementwise kernels fused.

    Not on a CPU, where MLX calls g++ for every kernel: 10 s for 784-25-10 at batch 120, which then took 1.75 ms a
    step for 2.1 ms; 784-512-256-10 took 45 ms for 46 ms.
    """
    return _queued(mx.compile(step))


def _exp(x: Array) -> Array:
    """e^x; in float64 by way of sinh and cosh, as MLX's exp is right to 7 digits there (measured on MLX 0.32)."""
    if x.dtype != mx.float64:
        return mx.exp(x)
    e = mx.sinh(mx.abs(x)) + mx.cosh(x)
    return mx.where(x < 0, 1 / e, e)


def _without_device(create: Callable[..., Array]) -> Callable[..., Array]:
    """A creation function with the Array API's `device`: MLX's arrays have none, and go where they are used."""

    def created(*args: Any, device: None = None, **options: Any) -> Array:
        return create(*args, **options)

    return created
