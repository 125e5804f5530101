"""CuPy on an emulated CUDA device, for the tests of what only CUDA needs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from backends import Backend, select


@pytest.fixture
def gpu(emulated_device: Any) -> Iterator[Any]:
    """The CuPy backend on the second of two devices."""
    import cupy

    backend: Any = select("cupy", "cuda:1")
    yield backend
    backend.limit_memory(0)
    backend.empty_cache()
    cupy.cuda.Device(0).use()


@pytest.fixture
def eager(gpu: Any) -> Any:
    """The same with `Backend.scan`: a Python loop, which captures nothing."""
    backend: Any = select("cupy", "cuda:1")
    backend.scan = partial(Backend.scan, backend)
    return backend
