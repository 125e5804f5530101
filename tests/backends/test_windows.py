"""A backend's own forms of windows and pooling against the formulas, on whole numbers and ties, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends import Formula, Namespace, numba_windows, select
from backends.numba_fuse import MIN_COMPILED_SIZE
from nnbackprop.nn.layers.pooling import max_pool, max_pool_vjp
from nnbackprop.nn.layers.windows import Pair, window_columns

NUMPY = Namespace(np)  # without fuse or forms


@pytest.fixture(params=["numpy", "torch"])
def fast(request: pytest.FixtureRequest) -> Any:
    """A namespace whose forms must be compiled: a formula that is called instead fails."""
    pytest.importorskip("numba", reason="numba is not installed")
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return select(request.param, "cpu" if request.param == "torch" else None)


def run(backend: Any, name: Formula, *arguments: Any) -> np.ndarray:
    """What the backend's own form gives."""
    moved = [backend.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
    if backend.name == "torch":
        import torch

        with torch.no_grad():
            result = backend.xp.forms[name](*moved)
    else:
        result = backend.xp.forms[name](*moved)
    assert result is not None, "the formula would be evaluated"
    return backend.to_numpy(result)


def images(dtype: str, channels: int, rows: int = 12, columns: int = 11) -> np.ndarray:
    """Small whole numbers: among the four of a window are many ties."""
    rng = np.random.default_rng(0)
    n = -(-MIN_COMPILED_SIZE // (rows * columns * channels))
    return rng.integers(-2, 3, (n, rows, columns, channels)).astype(dtype)


def test_every_formula_has_a_form() -> None:
    assert set(numba_windows.FORMS) == set(Formula)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "turned"),
    [
        ((3, 3), (1, 1), ((0, 0), (0, 0)), False),
        ((5, 2), (2, 3), ((2, 1), (0, 1)), False),
        ((3, 3), (1, 1), ((2, 2), (2, 2)), True),
        ((2, 4), (1, 1), ((0, 3), (1, 0)), True),
        ((12, 11), (1, 1), ((0, 0), (0, 0)), False),
        ((1, 1), (4, 4), ((0, 0), (0, 0)), False),
    ],
)
def test_columns_are_the_windows(
    fast: Any, size: Pair, stride: Pair, padding: tuple[Pair, Pair], turned: bool, channels: int, dtype: str
) -> None:
    x = images(dtype, channels)
    expected = window_columns(NUMPY, x, size, stride, padding, turned)
    found = run(fast, Formula.WINDOW_COLUMNS, x, size, stride, padding, turned)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "stride"), [((2, 2), (2, 2)), ((3, 2), (3, 2)), ((3, 3), (2, 1))])
def test_pooling_takes_the_largest_and_its_gradient_goes_to_the_first(
    fast: Any, size: Pair, stride: Pair, dtype: str
) -> None:
    x = images(dtype, 5)
    y = max_pool(NUMPY, x, size, stride)
    np.testing.assert_array_equal(run(fast, Formula.MAX_POOL, x, size, stride), y)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    if size == stride:
        expected = max_pool_vjp(NUMPY, x, y, dy, size, stride)
        np.testing.assert_array_equal(run(fast, Formula.MAX_POOL_VJP, x, y, dy, size, stride), expected)
    else:  # windows overlap: gradients add, which the formula does
        assert numba_windows.max_pool_vjp(x, y, dy, size, stride) is None


def test_a_nan_is_the_largest_of_its_window_and_an_infinite_gradient_is_seen(fast: Any) -> None:
    x = images("float32", 5)
    x[0, 1, 1, 2] = x[1, 0, 0, 0] = np.nan
    y = max_pool(NUMPY, x, (2, 2), (2, 2))
    found = run(fast, Formula.MAX_POOL, x, (2, 2), (2, 2))
    np.testing.assert_array_equal(found, y)
    assert np.isnan(found).sum() == 2
    dy = np.ones_like(y)
    dy[0, 0, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        expected = max_pool_vjp(NUMPY, x, y, dy, (2, 2), (2, 2))
    np.testing.assert_array_equal(run(fast, Formula.MAX_POOL_VJP, x, y, dy, (2, 2), (2, 2)), expected)


def test_small_arrays_and_views_are_left_to_the_formula() -> None:
    x = images("float32", 3)
    for other in (x[:1], x[:, ::2], x.astype(np.int32)):
        assert numba_windows.window_columns(other, (3, 3), (1, 1), ((0, 0), (0, 0))) is None
        assert numba_windows.max_pool(other, (2, 2), (2, 2)) is None
    plain, own = (xp.specialize(Formula.MAX_POOL, max_pool) for xp in (NUMPY, select("numpy").xp))
    np.testing.assert_array_equal(own(x[:, ::2], (2, 2), (2, 2)), plain(x[:, ::2], (2, 2), (2, 2)))
