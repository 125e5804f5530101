"""JAX: a chunk of steps becomes one compiled program. Its autodiff is not used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .base import Backend, BackendError, Memory, Step
from .devices import check_index, parse_device
from .memory import raise_memory_error
from .namespace import Namespace
from .tree import Array, Tree, leaves, tree_map

_MAX_COMPILED = 16  # compiled steps cached; a run has a handful
_DETERMINISTIC_FLAG = "--xla_gpu_deterministic_ops=true"


class JaxBackend(Backend):
    """jax.Array on `cpu` or `cuda:N`; by default the first device that JAX lists.

    JAX turns float64 into float32 in silence unless x64 is enabled before its first array: enabled here, for the
    whole process, and checked in `asarray`.
    """

    name = "jax"

    def __init__(self, device: str | None = None) -> None:
        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
        self._device = _find_device(device)
        platform = {"gpu": "cuda"}.get(self._device.platform, self._device.platform)
        self.device = "cpu" if platform == "cpu" else f"{platform}:{self._device.id}"
        self.version = jax.__version__
        # float32 products in float32: a GPU's default keeps 10 bits of each factor (TF32)
        self._precision = jax.lax.Precision.HIGHEST
        # jnp.take fills in NaN beyond the ends by default, which makes a gather twice as slow
        self.xp = Namespace(jnp, matmul=self._matmul, take=partial(jnp.take, mode="clip"))
        self._compiled = lru_cache(maxsize=_MAX_COMPILED)(_compile)

    @property
    def fuses_elementwise(self) -> bool:
        """Within `scan`, where jit sees through an elementwise kernel; `xp.fuse` itself leaves it as it is."""
        return True

    def asarray(self, array: np.ndarray, copy: bool = True) -> Array:
        # JAX copies asynchronously, and the caller may write to `array` meanwhile: hand it a copy
        moved = jax.device_put(np.array(array, order="C"), self._device, may_alias=False)
        if moved.dtype != array.dtype:
            raise BackendError(
                f"JAX made {moved.dtype} of {array.dtype}: 64-bit numbers were switched off after this backend "
                "had switched them on.",
                'Remove jax.config.update("jax_enable_x64", False) from the program.',
            )
        return moved

    def to_numpy(self, array: Array) -> np.ndarray:
        with self.memory_errors():  # JAX computes asynchronously: this waits for the array
            return np.array(array, order="C")

    def synchronize(self) -> None:
        arrays = jax.live_arrays(self._device.platform)  # type: ignore[no-untyped-call]
        jax.block_until_ready(arrays)  # type: ignore[no-untyped-call]

    def memory(self) -> Memory:
        stats = self._device.memory_stats() or {}
        used, limit = stats.get("bytes_in_use"), stats.get("bytes_limit")
        return Memory(used, None if used is None or limit is None else limit - used)

    def use_tf32(self) -> None:
        if not self.device.startswith("cuda"):
            super().use_tf32()
        self._precision = jax.lax.Precision.DEFAULT
        self._compiled.cache_clear()

    def use_deterministic(self) -> None:
        """On a CPU the number of threads fixes XLA's order; for a GPU it reads a flag when JAX starts."""
        if self.device.startswith("cuda") and _DETERMINISTIC_FLAG not in os.environ.get("XLA_FLAGS", "").split():
            raise BackendError(
                f"XLA picks its algorithms on {self.device} by timing them, unless it was told otherwise before "
                "JAX began.",
                f"Start with XLA_FLAGS={_DETERMINISTIC_FLAG} in the environment.",
            )

    def memory_errors(self) -> contextlib.AbstractContextManager[None]:
        return raise_memory_error(jax.errors.JaxRuntimeError, "RESOURCE_EXHAUSTED")

    def scan(self, step: Step, state: Tree, constants: Tree, batches: Tree, last_step: Step | None = None) -> Tree:
        with jax.default_device(self._device), self.memory_errors():
            return _reorder_like(state, self._compiled(step, last_step)(state, constants, batches))

    def copy(self, tree: Tree) -> Tree:
        return _reorder_like(tree, _copy(tree))  # each array by itself would take ten times as long

    def run_eagerly(self, step: Step, state: Tree, constants: Tree, batch: Tree) -> Tree:
        with jax.default_device(self._device), self.memory_errors():
            return step(state, constants, batch)

    def _matmul(self, a: Array, b: Array) -> Array:
        return jnp.matmul(a, b, precision=self._precision)


def _compile(step: Step, last_step: Step | None) -> Callable[..., Any]:
    def scan(state: Tree, constants: Tree, batches: Tree) -> Tree:
        return jax.lax.scan(lambda carry, batch: (step(carry, constants, batch), None), state, batches)[0]

    def chunk(state: Tree, constants: Tree, batches: Tree) -> Tree:
        if last_step is None:
            return scan(state, constants, batches)
        if leaves(batches)[0].shape[0] > 1:
            state = scan(state, constants, tree_map(lambda a: a[:-1], batches))
        return last_step(state, constants, tree_map(lambda a: a[-1], batches))

    return jax.jit(chunk, donate_argnums=0)  # constants are arguments: closed over, they would be baked in


@jax.jit
def _copy(tree: Tree) -> Tree:
    return tree_map(jnp.copy, tree)


def _reorder_like(like: Tree, tree: Tree) -> Tree:
    """The same tree with its dicts in the order of `like`: JAX sorts their keys."""
    if isinstance(like, dict):
        return {key: _reorder_like(like[key], tree[key]) for key in like}
    if isinstance(like, tuple):
        return tuple(map(_reorder_like, like, tree))
    return tree


def _find_device(name: str | None) -> Any:
    if name is None:
        return jax.devices()[0]
    kind, index = parse_device("jax", name, ("cpu", "cuda"))
    if kind == "cpu":
        return jax.devices("cpu")[0]
    try:
        devices = jax.devices("cuda")
    except RuntimeError as error:
        raise BackendError(
            f"JAX {jax.__version__} finds no CUDA device.",
            "Install its CUDA plugin: pip install \"jax[cuda13]\" (or cuda12), or use device='cpu'.",
        ) from error
    check_index("jax", index, len(devices))
    return devices[index]
