"""The recipes on tables beside scikit-learn's MLP: the same rows to train on and to test on, seed by seed."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from statistics import mean, stdev
from typing import Any

import numpy as np

from nnbackprop.data.dataset import Dataset
from nnbackprop.report.prediction_metrics import number_scores
from nnbackprop.runs.config_files import load_recipe
from nnbackprop.runs.run_data import RunData
from nnbackprop.runs.train import start

from . import machine, one_thread, table, today

SEEDS = {"iris": range(100), "house-prices": range(20)}
"""Of the split, the weights and the order. The recipes' settings were chosen on the seeds from 100 on, those of
iris by validation parts: a quarter of the training part."""

SCORES = {
    "iris": {"accuracy": ("test accuracy", "{:.2%}"), "log_loss": ("test cross-entropy", "{:.4f}")},
    "house-prices": {
        "rmse": ("test RMSE", "{:,.0f}"),
        "mae": ("test MAE", "{:,.0f}"),
        "r2": ("test R²", "{:.4f}"),
    },
}
LEAST = {"iris": "log_loss", "house-prices": "rmse"}
"""The score that is compared seed by seed; the less the better."""

MLPS: dict[str, dict[str, dict[str, Any]]] = {
    "iris": {
        "MLPClassifier, as it is": {},
        "MLPClassifier, until converged": {"max_iter": 5000},
        "MLPClassifier, 16 tanh units": {
            "hidden_layer_sizes": (16,),
            "activation": "tanh",
            "learning_rate_init": 0.02,
            "max_iter": 5000,
        },
    },
    "house-prices": {
        "MLPRegressor, until converged": {"max_iter": 5000},
        "MLPRegressor, 64-64": {"hidden_layer_sizes": (64, 64), "max_iter": 5000},
        "MLPRegressor, 64-64, early stopping": {
            "hidden_layer_sizes": (64, 64),
            "max_iter": 5000,
            "early_stopping": True,
            "n_iter_no_change": 30,
        },
    },
}
"""Its settings where they are not the defaults. Inputs, and prices, are standardised for it too."""


def measure() -> dict[str, Any]:
    """Every recipe and rival, one seed after the other: some minutes on a core."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that max_iter was reached
        rows = {recipe: {name: scores(recipe, name) for name in (recipe, *MLPS[recipe])} for recipe in MLPS}
    packages = {"scikit-learn": version("scikit-learn")}
    return {"date": today(), "machine": machine(), "packages": packages, "rows": rows}


def scores(recipe: str, name: str) -> dict[str, list[float]]:
    """Each score of the recipe, or of a rival of it, at every seed."""
    predict = ours if name == recipe else rival(recipe, MLPS[recipe][name])
    found = [score(*predict(recipe, seed)) for seed in SEEDS[recipe]]
    print(name, {key: mean(row[key] for row in found) for key in found[0]}, flush=True)
    return {key: [row[key] for row in found] for key in found[0]}


def score(test: Dataset, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy and cross-entropy of probabilities (n, k), or RMSE, MAE and R^2 of numbers (n, 1)."""
    if not test.classes:
        return {name: float(value[0]) for name, value in number_scores(test.targets, predicted)._asdict().items()}
    right = predicted[np.arange(len(test)), test.targets].astype(np.float64)
    return {
        "accuracy": float(np.mean(predicted.argmax(axis=1) == test.targets)),
        "log_loss": float(-np.mean(np.log(right))),
    }


def ours(recipe: str, seed: int) -> tuple[Dataset, np.ndarray]:
    """The test part and the predictions of a run of the recipe."""
    changes = {"seed": seed, "backend": "numpy", "progress": "off"}
    with tempfile.TemporaryDirectory() as runs, start(_config(recipe, {**changes, "runs_dir": runs})) as run:
        run.fit()
        assert run.data.test
        return run.data.test, run.trainer.predict_proba_or_values(run.data.test.inputs)


def rival(recipe: str, options: dict[str, Any]) -> Callable[[str, int], tuple[Dataset, np.ndarray]]:
    """The same by scikit-learn, from the same rows: categories are one-hot, numbers standardised."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def predict(recipe: str, seed: int) -> tuple[Dataset, np.ndarray]:
        data = RunData.load(_config(recipe, {"seed": seed}))
        train, test = data.train, data.test
        assert test
        assert not data.validation
        if train.classes:
            model = make_pipeline(StandardScaler(), MLPClassifier(**options, random_state=seed))
            return test, model.fit(train.inputs, train.targets).predict_proba(test.inputs)
        mlp = MLPRegressor(**options, random_state=seed)
        model = make_pipeline(StandardScaler(), TransformedTargetRegressor(mlp, transformer=StandardScaler()))
        return test, model.fit(train.inputs, train.targets[:, 0]).predict(test.inputs)[:, np.newaxis]

    return predict


def _config(recipe: str, changes: dict[str, Any]) -> Any:
    from nnbackprop.runs.config_files import apply_overrides

    return apply_overrides(load_recipe(recipe), changes)


def blocks(found: dict[str, Any]) -> dict[str, str]:
    """A table a recipe: mean and standard deviation of each score."""
    return {recipe: block(recipe, found) for recipe in MLPS}


def difference(ours: list[float], theirs: list[float], form: str) -> str:
    """Mean and standard error of a difference, seed by seed."""
    found = [a - b for a, b in zip(ours, theirs, strict=True)]
    signed = form.replace("{:", "{:+")
    return f"{signed.format(mean(found))} ± {form.format(stdev(found) / len(found) ** 0.5)}"


def block(recipe: str, found: dict[str, Any]) -> str:
    """A row for the recipe and for each rival."""
    rows, shown = found["rows"][recipe], SCORES[recipe]
    first, least = next(iter(shown)), LEAST[recipe]
    compared = f"the recipe's {shown[first][0]} less this one's", f"the recipe's {shown[least][0]} is less on"
    head = "", *(title for title, _ in shown.values()), *compared
    lines, seeds = [], len(rows[recipe][first])
    for name, scores in rows.items():
        forms = ((scores[key], form) for key, (_, form) in shown.items())
        cells = [f"{form.format(mean(values))} ± {form.format(stdev(values))}" for values, form in forms]
        ours = name == recipe
        label = f"`nnbackprop train {recipe}`" if ours else f"scikit-learn's {name}"
        worse = sum(a > b for a, b in zip(scores[least], rows[recipe][least], strict=True))
        gain = "" if ours else difference(rows[recipe][first], scores[first], shown[first][1])
        wins = "" if ours else f"{worse} of {seeds}"
        lines.append((label, *(f"**{cell}**" if ours else cell for cell in cells), gain, wins))
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    return (
        f"{table(head, lines)}\n\nMean and standard deviation over "
        f"{seeds} seeds, each with a split of its own; of the difference, mean and standard error. Made by "
        f"`python scripts/make_figures.py --run tables` on {found['machine']}, {packages}, {found['date']}.\n"
    )
