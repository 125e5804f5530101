"""The machine: figures mean nothing without it. Every figure here is words."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from backends import Backend, BackendError

from .results import Figure, Skipped
from .setting import Asked, on_gpu

GPU = "GPU"
"""What the figure is called that there is only on a GPU."""

PACKAGES = ("numpy", "array-api-compat", "cupy-cuda12x", "cupy-cuda13x", "torch", "jax")


def environment(asked: Asked) -> Iterator[Figure]:
    """The host first; then the GPU, where the backend works."""
    yield Figure("system", f"{platform.system()} {platform.release()}")
    yield Figure("cores", f"{os.cpu_count()}")
    yield Figure("Python", platform.python_version())
    for package in PACKAGES:
        if found := installed(package):
            yield Figure(package, found)
    try:
        backend = asked.open()
    except BackendError as error:
        raise Skipped(f"the backend {asked.backend} cannot be used here: {error}") from error
    yield Figure("backend", f"{backend.name} on {backend.device}")
    if about := backend.description:
        yield Figure("device", about)
    if on_gpu(backend):
        yield Figure(GPU, name(backend))
        yield Figure("memory free", f"{(backend.memory().free or 0) / 2**30:.1f} GiB")


def installed(package: str) -> str | None:
    """Its version, None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def name(backend: Backend) -> str:
    """What the GPU calls itself, asked of the library that runs on it."""
    index = int(backend.device.removeprefix("cuda:"))
    if backend.name == "cupy":
        import cupy

        return cupy.cuda.runtime.getDeviceProperties(index)["name"].decode()
    if backend.name == "torch":
        import torch

        return torch.cuda.get_device_name(index)
    import jax

    return jax.devices("cuda")[index].device_kind
