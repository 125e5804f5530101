"""NNClassifier beside scikit-learn's MLPClassifier: seconds of `fit` and test accuracy at equal settings."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from statistics import mean
from typing import Any

import numpy as np

from nnbackprop.data import load

from . import machine, one_thread, table, today

SEEDS = range(3)
BACKENDS = ("numpy", "torch", "jax")
NAMES = ("MLPClassifier", *(f"NNClassifier, {name}" for name in BACKENDS))

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training inputs and labels, test inputs and labels."""


def measure() -> dict[str, Any]:
    """Every data set and estimator, one seed after the other: about ten minutes on a core."""
    rows = {}
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that max_iter was reached
        for name, epochs, data in data_sets():
            fits = [(estimator, *fit(estimator, seed, epochs, data)) for seed in SEEDS for estimator in NAMES]
            rows[name] = {
                estimator: {
                    "seconds": [s for e, s, _ in fits if e == estimator],
                    "accuracy": [a for e, _, a in fits if e == estimator],
                }
                for estimator in NAMES
            }
            print(name, rows[name], flush=True)
    packages = {name: version(name) for name in ("scikit-learn", "torch", "jax")}
    made = {"date": today(), "machine": machine(), "threads": "one thread", "packages": packages}
    return {**made, "rows": rows}


def data_sets() -> Iterator[tuple[str, int, Arrays]]:
    """A title, the epochs, and the arrays, float32."""
    from sklearn.datasets import load_digits, make_classification
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x.astype("float32") / 16, y, random_state=0, stratify=y)
    yield "digits, 1,347 x 64, 100 epochs", 100, (x_train, y_train, x_test, y_test)
    mnist = load("mnist")
    assert mnist.test
    train, test = ((part.inputs.astype("float32") / 255, part.targets) for part in (mnist.train, mnist.test))
    yield "MNIST, 60,000 x 784, 10 epochs", 10, (*train, *test)
    x, y = make_classification(12_000, 2_000, n_informative=60, n_classes=3, random_state=0)
    x_train, x_test, y_train, y_test = train_test_split(x.astype("float32"), y, random_state=0)
    yield "a wide table, 9,000 x 2,000, 10 epochs", 10, (x_train, y_train, x_test, y_test)


def fit(estimator: str, seed: int, epochs: int, data: Arrays) -> tuple[float, float]:
    """Seconds of fit, whatever it imports and compiles included, and the accuracy on the test part."""
    from sklearn.neural_network import MLPClassifier

    from nnbackprop.sklearn import NNClassifier

    x_train, y_train, x_test, y_test = data
    options: dict[str, Any] = {"random_state": seed, "max_iter": epochs, "tol": 0, "n_iter_no_change": np.inf}
    backend = estimator.partition(", ")[2]
    model = NNClassifier(**options, backend=backend) if backend else MLPClassifier(**options)
    begin = time.perf_counter()
    model.fit(x_train, y_train)
    seconds = time.perf_counter() - begin
    return seconds, float(model.score(x_test, y_test))


def block(found: dict[str, Any]) -> str:
    """A row an estimator, with seconds and accuracy of each data set."""
    sets = found["rows"]
    head = ("", *(column for name in sets for column in (f"{name}: seconds", "accuracy")))
    rows = []
    for estimator in NAMES:
        cells = [sets[name][estimator] for name in sets]
        shown = ((f"{min(c['seconds']):.3g}", f"{mean(c['accuracy']):.2%}") for c in cells)
        rows.append((estimator, *(cell for pair in shown for cell in pair)))
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    first = next(iter(sets.values()))["NNClassifier, numpy"]["seconds"][0]
    return (
        f"{table(head, rows)}\n\nThe least seconds of `fit` and the mean accuracy on the test part, of "
        f"{len(SEEDS)} seeds; one hidden layer of 100, Adam, batches of 200, float32, {found['threads']}. "
        "What JAX compiles in each `fit` is in its seconds; what the first one imports is not: on NumPy, with "
        f"numba, that one took {first:.3g} s. Made by `python scripts/make_figures.py --run estimators` on "
        f"{found['machine']}, {packages}, {found['date']}.\n"
    )
