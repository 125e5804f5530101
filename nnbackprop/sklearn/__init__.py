"""Estimators for scikit-learn: `NNClassifier` and `NNRegressor`, in the place of MLPClassifier and MLPRegressor.

>>> from nnbackprop.sklearn import NNClassifier
>>> model = NNClassifier((100,), backend="jax", dropout=0.2, early_stopping=True)
>>> model.fit(X_train, y_train).score(X_test, y_test)  # doctest: +SKIP
"""

from importlib.util import find_spec

if find_spec("sklearn") is None:
    raise ModuleNotFoundError(
        "nnbackprop.sklearn has estimators for scikit-learn, which is not installed; 1.6 or newer is needed: "
        'pip install "nnbackprop[sklearn]".',
        name="sklearn",
    )

from .estimators import NNClassifier, NNRegressor

__all__ = ["NNClassifier", "NNRegressor"]
