"""scikit-learn's own checks of an estimator, all of them, with none expected to fail, on each library.

On JAX, which compiles a step for each of their hundred data sets, the classifier stands for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import backends

pytest.importorskip("sklearn", reason="sklearn is not installed: pip install scikit-learn")

from sklearn.utils.estimator_checks import estimator_checks_generator

from nnbackprop.sklearn import NNClassifier, NNRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


def cases() -> list[Any]:
    """Every check of each estimator, by library."""
    return [
        pytest.param(estimator, check, id=f"{name}-{kind.__name__}-{getattr(check, 'func', check).__name__}")
        for name in ("numpy", "torch", "jax")
        for kind in (NNClassifier, NNRegressor)
        if (name, kind) != ("jax", NNRegressor)
        for estimator, check in estimator_checks_generator(kind(backend=name))
    ]


@pytest.mark.parametrize(("estimator", "check"), cases())
def test_an_estimator_passes_the_check(estimator: Any, check: Callable[[Any], None]) -> None:
    try:
        backends.select(estimator.backend)
    except backends.BackendError as error:
        pytest.skip(f"{estimator.backend}: {error.reason}")
    check(estimator)
