"""The estimators beside scikit-learn's MLPClassifier and MLPRegressor: the same weights from the same start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="sklearn is not installed: pip install scikit-learn")

from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier, MLPRegressor

from nnbackprop.sklearn import NNClassifier, NNRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, DIGIT = load_digits(return_X_y=True)
X, DIGIT = X[:600] / 16, DIGIT[:600]
"""Three batches of 200: a last batch that is smaller has another share of alpha in scikit-learn."""

TARGETS = {
    "multiclass": DIGIT,
    "binary": np.where(DIGIT > 4, "large", "small"),
    "multilabel": np.stack([DIGIT > 4, DIGIT % 2 == 0], axis=1).astype(int),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "adam": {},
    "two-layers": {"hidden_layer_sizes": [20, 10], "activation": "tanh"},
    "logistic": {"activation": "logistic", "alpha": 0.1},
    "identity": {"activation": "identity", "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3},
    "no-hidden-layer": {"hidden_layer_sizes": ()},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.1},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5},
    "batch-of-30": {"solver": "sgd", "momentum": 0, "batch_size": 30},
    "full-batch": {"batch_size": 600},
    "invscaling": {"solver": "sgd", "momentum": 0, "learning_rate": "invscaling", "learning_rate_init": 0.5},
    "adaptive": {
        "solver": "sgd",
        "momentum": 0,
        "learning_rate": "adaptive",
        "learning_rate_init": 0.01,
        "tol": 0.02,
        "n_iter_no_change": 2,
    },
    "stops-early": {"tol": 0.1, "n_iter_no_change": 3},
}


def fit_both(ours: Any, theirs: Any, y: np.ndarray, options: dict[str, Any]) -> tuple[Any, Any]:
    """Both fitted from the weights that ours begins with."""
    options = {"shuffle": False, "random_state": 0, "max_iter": 20, "learning_rate_init": 1e-3, **options}
    standstill = {**options, "max_iter": 1, "learning_rate_init": 1e-300}
    start = ours(**standstill).fit(X, y)
    theirs = theirs(**standstill, warm_start=True).fit(X, y)  # makes a new optimizer in the next fit
    theirs.coefs_ = [W.copy() for W in start.coefs_]
    theirs.intercepts_ = [b.copy() for b in start.intercepts_]
    theirs.t_, theirs.loss_curve_, theirs.best_loss_, theirs._no_improvement_count = 0, [], np.inf, 0
    return ours(**options).fit(X, y), theirs.set_params(**options).fit(X, y)


def assert_same_fit(ours: Any, theirs: Any) -> None:
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize(("ours", "theirs"), [(NNClassifier, MLPClassifier), (NNRegressor, MLPRegressor)])
def test_parameters_and_fitted_attributes_have_the_names_and_defaults_of_theirs(ours: Any, theirs: Any) -> None:
    """max_fun goes with solver="lbfgs", and is refused."""
    parameters = ours().get_params()
    assert {name: parameters.get(name) for name in theirs().get_params()} == {
        **theirs().get_params(),
        "max_fun": None,
    }
    fitted = [set(vars(kind(max_iter=1).fit(X, DIGIT))) for kind in (theirs, ours)]
    assert {name for name in fitted[0] - fitted[1] if name.endswith("_")} == set()


@pytest.mark.parametrize("name", OPTIONS)
def test_classifier_has_the_weights_losses_and_epochs_of_mlpclassifier(name: str) -> None:
    ours, theirs = fit_both(NNClassifier, MLPClassifier, DIGIT, OPTIONS[name])
    assert_same_fit(ours, theirs)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-12)
    assert ours.loss_ == ours.loss_curve_[-1]
    assert ours.best_loss_ == min(ours.loss_curve_)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-12)


def test_the_options_above_that_stop_and_adapt_do_so() -> None:
    stopped, _ = fit_both(NNClassifier, MLPClassifier, DIGIT, OPTIONS["stops-early"])
    assert stopped.n_iter_ < 20
    adapted, _ = fit_both(NNClassifier, MLPClassifier, DIGIT, OPTIONS["adaptive"])
    constant, _ = fit_both(
        NNClassifier, MLPClassifier, DIGIT, {**OPTIONS["adaptive"], "learning_rate": "constant"}
    )
    assert constant.n_iter_ < adapted.n_iter_ == 20


@pytest.mark.parametrize("task", TARGETS)
def test_classifier_predicts_as_mlpclassifier(task: str) -> None:
    y = TARGETS[task]
    ours, theirs = fit_both(NNClassifier, MLPClassifier, y, {"learning_rate_init": 0.01})
    assert_same_fit(ours, theirs)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.predict(X).dtype == theirs.predict(X).dtype
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=0, atol=1e-8)
    assert ours.score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("outputs", [1, 2])
def test_regressor_has_the_weights_of_mlpregressor(outputs: int) -> None:
    y = X[:, 20] if outputs == 1 else X[:, 20:22]
    ours, theirs = fit_both(NNRegressor, MLPRegressor, y, {"tol": 0, "n_iter_no_change": 100})
    assert_same_fit(ours, theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.score(X, y), theirs.score(X, y), rtol=1e-12)


def test_regressor_of_counts_has_the_weights_of_mlpregressor() -> None:
    pytest.importorskip("sklearn", "1.7", reason="MLPRegressor has loss='poisson' since sklearn 1.7")
    counts = np.round(X[:, 20] * 4)
    options = {"loss": "poisson", "tol": 0, "n_iter_no_change": 100}
    ours, theirs = fit_both(NNRegressor, MLPRegressor, counts, options)
    assert_same_fit(ours, theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-12)
    with pytest.raises(ValueError, match="PoissonNLL is for counts of at least 0 and the targets go down to -1"):
        NNRegressor(loss="poisson").fit(X, counts - 1)


def test_sample_weights_are_those_of_mlpclassifier() -> None:
    """Full batches: theirs divides alpha by each batch's own weights, from 1.7 on."""
    pytest.importorskip("sklearn", "1.7", reason="MLPClassifier takes sample_weight since sklearn 1.7")
    weights = np.random.default_rng(0).uniform(0, 3, len(X))
    ours = NNClassifier(shuffle=False, random_state=0, batch_size=len(X), alpha=1.0)
    start = ours.set_params(max_iter=1, learning_rate_init=1e-300).fit(X, DIGIT)
    theirs = MLPClassifier(shuffle=False, batch_size=len(X), alpha=1.0, max_iter=1, warm_start=True).fit(X, DIGIT)
    theirs.coefs_ = [W.copy() for W in start.coefs_]
    theirs.intercepts_ = [b.copy() for b in start.intercepts_]
    ours.set_params(max_iter=10, learning_rate_init=1e-3).fit(X, DIGIT, weights)
    theirs.set_params(max_iter=10).fit(X, DIGIT, weights)
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_initial_weights_have_the_distribution_of_mlpclassifier() -> None:
    """Uniform by Glorot's limit, here sqrt(6 / (64 + 400)); the biases too."""
    limit = np.sqrt(6 / 464)
    drawn = NNClassifier(400, max_iter=1, learning_rate_init=1e-300, random_state=0).fit(X, DIGIT)
    for values in (drawn.coefs_[0], drawn.intercepts_[0]):
        assert 0.95 * limit < np.abs(values).max() <= limit
        np.testing.assert_allclose(values.std(), limit / np.sqrt(3), rtol=0.1)


def test_accuracy_on_digits_is_that_of_mlpclassifier() -> None:
    """As they are, each with its own start and order: within what seeds make of it."""
    inputs, digits = load_digits(return_X_y=True)
    inputs = inputs / 16

    def mean_accuracy(estimator: Any) -> float:
        fitted = [estimator(random_state=k, max_iter=60).fit(inputs[:1200], digits[:1200]) for k in range(3)]
        return float(np.mean([model.score(inputs[1200:], digits[1200:]) for model in fitted]))

    ours, theirs = mean_accuracy(NNClassifier), mean_accuracy(MLPClassifier)
    assert theirs > 0.9
    assert abs(ours - theirs) < 0.015
