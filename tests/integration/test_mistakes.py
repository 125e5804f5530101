"""Mistakes that people make from Python: each is answered by an error of ours that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import nnbackprop as nb

rng = np.random.default_rng(0)
X, Y, NAMES = rng.standard_normal((60, 3)), np.arange(60) % 3, np.array(["a", "b", "c"])[np.arange(60) % 3]
DATA = nb.Dataset(X, NAMES)
TABLE = {"p": X[:, 0], "q": X[:, 1], "r": X[:, 2], "label": NAMES}


def make(**options: Any) -> nb.Trainer:
    given = {"loss": nb.SoftmaxCrossEntropy(), "optimizer": nb.Adam(), "lr": 0.01, "epochs": 1, **options}
    return nb.Trainer(nb.Sequential(nb.Dense(4), nb.ReLU(), nb.Dense(3)), **given)  # type: ignore[arg-type]


def fitted(data: nb.Dataset = DATA) -> nb.Trainer:
    trainer = make()
    trainer.fit(data)
    return trainer


def frame(*columns: str) -> Any:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.DataFrame({name: TABLE[name] for name in columns or TABLE})


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    # data
    "targets too short": (lambda: nb.Dataset(X, Y[:5]), r"\(5,\).*60"),
    "targets in a column": (lambda: nb.Dataset(X, Y[:, None], ("a", "b", "c")), r"\(60, 1\).*shape \(60,\)"),
    "one-hot rows as labels": (lambda: nb.Dataset(X, np.eye(3)[Y], ("a", "b", "c")), r"argmax\(axis=1\)"),
    "names that are no classes": (lambda: nb.Dataset(X, NAMES, ("a", "b")), "name c, which is not among"),
    "a number of classes": (lambda: nb.Dataset(X, Y, 3), "names are needed"),  # type: ignore[arg-type]
    "a sample for a set": (lambda: nb.Dataset(X[0], Y), r"\(samples, features\)"),
    "rows of two lengths": (lambda: nb.Dataset([[1, 2], [3]], [0, 1]), "no array of numbers"),  # type: ignore[arg-type]
    "a path for the inputs": (lambda: nb.Dataset("mnist", Y), r"\(samples, features\)"),  # type: ignore[arg-type]
    "a frame with text": (lambda: nb.Dataset(frame(), Y), r"nb\.load\(frame, target=\.\.\.\)"),
    "an array to load": (lambda: nb.load(X), r"nb\.Dataset\(inputs, targets\)"),
    "a column that is not there": (lambda: nb.load(TABLE, target="z"), "no such column"),
    "an array to split": (lambda: nb.split(X, 0.2, 0), "split got ndarray and needs a Dataset"),  # type: ignore[arg-type]
    # options of a trainer
    "a loss by name": (lambda: make(loss="mse"), "a loss, such as"),
    "a loss without parentheses": (lambda: make(loss=nb.SoftmaxCrossEntropy), r"Write SoftmaxCrossEntropy\(\)"),
    "an optimizer by name": (lambda: make(optimizer="adam"), "an optimizer, such as"),
    "an optimizer without parentheses": (lambda: make(optimizer=nb.Adam), r"Write Adam\(\)"),
    "a learning rate of text": (lambda: make(lr="auto"), "a finite number above 0"),
    "a backend by name": (lambda: make(backend="numpy"), r'nb\.select\("numpy"\)'),
    "a scaling by name": (lambda: make(scaling="standard"), r'nb\.fit_scaling\("standard"'),
    "a penalty that is a number": (lambda: make(penalty=0.1), "WeightPenalty"),
    "a gradient limit of zero": (lambda: make(optimizer=nb.GradientClipping(nb.SGD(), norm=0)), "above 0"),
    "one callback": (lambda: make(callbacks=nb.EarlyStopping(3)), "a list of callbacks"),
    "a callback without parentheses": (lambda: make(callbacks=[nb.EarlyStopping]), "a list of callbacks"),
    "half an epoch": (lambda: make(epochs=1.5), "a whole number"),
    "a batch size of text": (lambda: make(batch_size="auto"), "a whole number, or None"),
    "no seed": (lambda: make(seed=None), "whole number of at least 0"),
    # fit, evaluate, scaling
    "fit of x and y": (lambda: make().fit(X, Y), "fit got ndarray as its train data"),  # type: ignore[arg-type]
    "fit of a frame": (lambda: make().fit(frame()), "fit got DataFrame as its train data"),
    "evaluate an array": (lambda: fitted().evaluate(X), "evaluate got ndarray"),  # type: ignore[arg-type]
    "evaluate all parts": (lambda: fitted().evaluate(nb.load(TABLE)), "evaluate got Splits"),  # type: ignore[arg-type]
    "evaluate other features": (lambda: fitted().evaluate(nb.Dataset(X[:, :2], NAMES)), r"shape \(2,\)"),
    "evaluate before fit": (lambda: make().evaluate(DATA), "call fit"),
    "a scaling of all parts": (lambda: nb.fit_scaling("standard", nb.load(TABLE)), r"data\.train"),  # type: ignore[arg-type]
    # predict
    "predict before fit": (lambda: make().predict(X), "call fit"),
    "predict too few columns": (lambda: fitted().predict(X[:, :2]), r"\(60, 2\) and must be \(n, 3\)"),
    "predict a row": (lambda: fitted().predict(X[0]), r"x\.reshape\(1, -1\)"),
    "predict rows of two lengths": (lambda: fitted().predict([[1, 2, 3], [1]]), "the same length"),
    "predict nothing": (lambda: fitted().predict(None), "numbers are needed"),
    "predict a file": (lambda: fitted().predict("digit.png"), "numbers are needed"),
    "predict a data set": (lambda: fitted().predict(DATA), r"dataset\.inputs"),
    "predict a frame with text": (lambda: fitted().predict(frame()), "numbers are needed"),
    "predict without a column": (lambda: fitted(nb.load(TABLE).train).predict(frame("p", "q")), "no column r"),
    # states
    "state before fit": (lambda: make().state_dict(), "call fit"),
    "parameters before fit": (lambda: make().load_params(()), "call fit"),
    "parameters of another network": (lambda: fitted().load_params(({"W": X},)), "of the same network"),
    "weights for a state": (lambda: fitted().load_state_dict({"W": X}), "what state_dict"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_by_what_to_do(name: str) -> None:
    call, words = MISTAKES[name]
    with pytest.raises(nb.NnbackpropError, match=words):
        call()


@pytest.mark.parametrize("make_rows", [np.asfortranarray, np.ndarray.tolist, partial(frame, "p", "q", "r")])
def test_rows_are_predicted_alike_in_whatever_order_they_lie(make_rows: Callable[..., Any]) -> None:
    """Columns one after another, as Fortran and data frames have them, and lists."""
    rows = make_rows() if isinstance(make_rows, partial) else make_rows(X)
    trainer = fitted()
    assert trainer.predict_proba(rows).tobytes() == trainer.predict_proba(X).tobytes()


def test_a_frames_columns_are_found_by_name() -> None:
    trainer = fitted(nb.load(TABLE, split=False).train)
    by_name = trainer.predict_proba(frame("r", "label", "p", "q"))
    assert np.array_equal(by_name, trainer.predict_proba(X.astype(np.float32)))
    with pytest.raises(nb.DataError, match="features r, q, p and the network was trained on p, q, r"):
        trainer.evaluate(nb.Dataset(frame("r", "q", "p"), NAMES))


def test_targets_may_name_the_classes_that_are_given() -> None:
    data = nb.Dataset(X[:2], ["c", "a"], ("a", "b", "c"))  # type: ignore[arg-type]
    assert (data.classes, data.targets.tolist()) == (("a", "b", "c"), [2, 0])
