"""Estimators for scikit-learn: `NNClassifier` and `NNRegressor`, in place of MLPClassifier and MLPRegressor."""

from importlib import import_module
from importlib.util import find_spec

_version = import_module("sklearn").__version__ if find_spec("sklearn") else None
if _version is None or [int(number) for number in _version.split(".")[:2]] < [1, 6]:
    raise ImportError(
        f"scikit-learn is {_version or 'not installed'}, and nnbackprop.sklearn needs version 1.6 or newer: "
        'pip install "nnbackprop[sklearn]".',
        name="sklearn",
    )

from .estimators import NNClassifier, NNRegressor  # noqa: E402

__all__ = ["NNClassifier", "NNRegressor"]
