"""scikit-learn's own checks of an estimator, all of them, with none expected to fail, on each library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import backends

pytest.importorskip("sklearn", reason="sklearn is not installed: pip install scikit-learn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from nnbackprop.sklearn import NNClassifier, NNRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]
ESTIMATORS = [
    estimator(backend=name) for name in ("numpy", "torch", "jax") for estimator in (NNClassifier, NNRegressor)
]


@parametrize_with_checks(ESTIMATORS)
def test_estimator_passes_the_checks_of_scikit_learn(estimator: Any, check: Callable[[Any], None]) -> None:
    try:
        backends.select(estimator.backend)
    except backends.BackendError as error:
        pytest.skip(f"{estimator.backend}: {error.reason}")
    check(estimator)
