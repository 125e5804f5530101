"""A CuPy backend without a GPU, for the tests of what only CUDA needs."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import fake_cupy


@pytest.fixture
def blas() -> fake_cupy.Blas:
    return fake_cupy.Blas()


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch, blas: fake_cupy.Blas) -> Iterator[SimpleNamespace]:
    with fake_cupy.installed(monkeypatch, blas) as cupy:
        yield cupy


@pytest.fixture
def gpu(cupy: Any) -> Any:
    return fake_cupy.backend()


@pytest.fixture
def eager(cupy: Any) -> Any:
    """The same backend with `Backend.scan`: a Python loop."""
    return fake_cupy.backend(eager=True)
