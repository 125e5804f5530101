"""The backends every mathematical test runs on, and `--backend` to insist on one."""

from __future__ import annotations

import numpy as np
import pytest

import backends
from backends import Backend, BackendError

EVERY = ("numpy", "numpy-readonly", "strict", "torch", "jax", "cupy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=EVERY,
        help="run the backend tests on this one alone, and fail rather than skip where it is absent",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--backend")
        metafunc.parametrize("backend", [asked] if asked else EVERY, indirect=True)


class ReadonlyNumpy(backends.NumpyBackend):
    """NumPy whose arrays refuse to be written to: a layer or loss that mutates an argument fails."""

    def asarray(self, array: np.ndarray) -> np.ndarray:
        array = super().asarray(array)
        array.setflags(write=False)
        return array


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn; absent ones skip with the reason, or fail if `--backend` names them."""
    if request.param == "numpy-readonly":
        return ReadonlyNumpy()
    try:
        return backends.select(request.param)
    except BackendError as error:
        if request.config.getoption("--backend"):
            pytest.fail(f"--backend {request.param} was asked for: {error}")
        pytest.skip(f"{request.param}: {error.reason}")
