"""What NNClassifier and NNRegressor have besides scikit-learn's, and their life within its tools."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import backends
import nnbackprop as nb

pytest.importorskip("sklearn", reason="sklearn is not installed: pip install scikit-learn")

import joblib
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from nnbackprop.nn.losses import LOSSES
from nnbackprop.sklearn import NNClassifier, NNRegressor
from nnbackprop.sklearn.convergence import mean_r2

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, FLOWER = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
NAMES = np.array(["setosa", "versicolor", "virginica"], dtype=object)[FLOWER]


def small(**options: Any) -> NNClassifier:
    return NNClassifier((8,), **{"max_iter": 5, "random_state": 0, "learning_rate_init": 0.02, **options})


def assert_same_weights(a: Any, b: Any) -> None:
    for ours, others in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_array_equal(ours, others)


# --- going on


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_warm_start_goes_on_as_if_never_stopped(solver: str) -> None:
    """Bit for bit: the optimizer's state and the order of samples are part of it."""
    whole = small(solver=solver, max_iter=6, batch_size=40, dropout=0.2).fit(X, NAMES)
    halves = small(solver=solver, max_iter=3, batch_size=40, dropout=0.2, warm_start=True).fit(X, NAMES)
    halves = pickle.loads(pickle.dumps(halves)).fit(X, NAMES)
    assert_same_weights(halves, whole)
    assert halves.loss_curve_ == whole.loss_curve_
    assert (halves.n_iter_, halves.t_) == (3, whole.t_) == (3, 6 * 150)


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_partial_fit_is_an_epoch_of_fit(name: str) -> None:
    try:
        backends.select(name)
    except backends.BackendError as error:
        pytest.skip(f"{name}: {error.reason}")
    whole = small(max_iter=3, backend=name).fit(X, NAMES)
    parts = small(backend=name)
    for _ in range(3):
        parts.partial_fit(X, NAMES, classes=np.unique(NAMES))
    assert_same_weights(parts, whole)
    assert (parts.n_iter_, parts.t_) == (1, whole.t_)


def test_partial_fit_of_some_classes_predicts_all() -> None:
    model = small().partial_fit(X[:100], NAMES[:100], classes=["virginica", "setosa", "versicolor"])
    for _ in range(100):
        model.partial_fit(X[50:], NAMES[50:]).partial_fit(X[:50], NAMES[:50])
    assert set(model.predict(X)) == set(NAMES)


def test_what_is_assigned_to_coefs_predicts_and_is_trained_on() -> None:
    model = small(warm_start=True, max_iter=1).fit(X, FLOWER)
    model.coefs_ = [np.zeros_like(W) for W in model.coefs_]
    model.intercepts_[1] = np.array([0.0, 1000.0, 0.0])
    np.testing.assert_array_equal(model.predict(X), 1)
    model.set_params(learning_rate_init=1e-300, warm_start=True).fit(X, FLOWER)
    np.testing.assert_array_equal(model.predict(X), 1)


def test_another_solver_goes_on_from_the_weights_with_its_own_first_step() -> None:
    """Adam's first step moves each weight by the learning rate, whatever its gradient."""
    model = small(warm_start=True, solver="sgd", alpha=0.0).fit(X, FLOWER)
    before = model.coefs_[0].copy()
    model.set_params(solver="adam", learning_rate_init=1e-3, max_iter=1, batch_size=len(X)).fit(X, FLOWER)
    assert np.abs(model.coefs_[0] - before).max() == pytest.approx(1e-3, rel=1e-3)
    model.set_params(solver="sgd").fit(X, FLOWER)


def test_a_fit_that_diverges_leaves_the_fitted_weights() -> None:
    model = small(warm_start=True).fit(X, FLOWER)
    before = [W.copy() for W in model.coefs_]
    with pytest.raises(nb.DivergedError, match="learning_rate_init"):
        model.set_params(solver=nb.SGD(), learning_rate_init=1e300).fit(X, FLOWER)
    np.testing.assert_array_equal(model.coefs_[0], before[0])
    model.predict(X)


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("error", [nb.DivergedError("NaN", 3), KeyboardInterrupt()], ids=repr)
def test_a_fit_that_breaks_off_leaves_all_as_it_was(
    error: BaseException, warm_start: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other data too: the classes and the features by which the fitted network is used are its own."""
    model = small().fit(X, NAMES)
    before = {name: value for name, value in vars(model).items() if name != "warm_start"}
    model.set_params(warm_start=warm_start)
    inputs, y = (X, NAMES) if warm_start else (X[:100, :2], NAMES[:100] == "setosa")

    def break_off(self: nb.Trainer, *datasets: Any) -> None:
        raise error

    monkeypatch.setattr(nb.Trainer, "fit", break_off)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(type(error)):
            call(inputs, y)
        after = vars(model)
        assert after.keys() == {*before, "warm_start"}
        assert all(after[name] is value for name, value in before.items())
        inputs, y = X, NAMES
    assert set(model.predict(X)) <= set(NAMES)


def test_a_first_fit_that_fails_leaves_nothing() -> None:
    model = small(solver="lbfgs")
    before = dict(vars(model))
    for data in ((X, NAMES), (X[:, :2], NAMES[:3])):
        with pytest.raises(ValueError, match=r"lbfgs|inconsistent"):
            model.fit(*data)
        assert vars(model) == before
        model.set_params(solver="adam")
        before["solver"] = "adam"


# --- validation


@pytest.mark.parametrize("kind", [NNClassifier, NNRegressor])
def test_early_stopping_ends_with_the_weights_of_the_best_epoch(kind: Any) -> None:
    options = {"random_state": 1, "early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": np.inf}
    y = FLOWER if kind is NNClassifier else np.random.default_rng(0).normal(size=150)  # nothing to learn
    model = kind((8,), max_iter=40, learning_rate_init=0.1, **options).fit(X, y)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert best < 40
    assert_same_weights(model, kind((8,), max_iter=best, learning_rate_init=0.1, **options).fit(X, y))
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == len(model.loss_curve_) == 40
    assert model.best_loss_ is None


def test_early_stopping_learns_beside_a_target_that_does_not_vary() -> None:
    """R^2 of such a target is 0 or 1, as in r2_score, and not NaN, which no epoch could better."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(100, 3))
    y = np.stack([2 * inputs[:, 0], np.full(100, 0.1)], axis=1)  # whose mean is not 0.1 exactly
    options: dict[str, Any] = {
        "learning_rate_init": 0.01,
        "max_iter": 300,
        "early_stopping": True,
        "random_state": 0,
    }
    model = NNRegressor((20,), **options).fit(inputs, y)
    assert 0.45 < model.best_validation_score_ == max(model.validation_scores_) <= 0.5
    assert r2_score(y[:, 0], model.predict(inputs)[:, 0]) > 0.9


def test_early_stopping_where_the_validation_targets_are_all_zero() -> None:
    """R^2 is 0 throughout: no epoch is better than the first, and training stops."""
    y = np.zeros(100)
    y[7] = 5.0
    options: dict[str, Any] = {"early_stopping": True, "validation_fraction": 0.05, "n_iter_no_change": 4}
    model = NNRegressor((5,), random_state=0, **options).fit(X[:100], y)
    assert model.validation_scores_ == [0.0] * 6
    assert model.best_validation_score_ == 0


@pytest.mark.parametrize("weights", [None, np.array([1.0, 2.0, 0.5, 3.0])], ids=["unweighted", "weighted"])
def test_mean_r2_is_that_of_scikit_learn(weights: np.ndarray | None) -> None:
    targets = np.array([[1.0, 0.0, 2.0], [2.0, 0.0, 2.0], [4.0, 0.0, 2.0], [3.0, 0.0, 2.0]])
    predicted = targets + np.array([[0.5, 0.0, 0.0], [0.0, 0.0, 0.1], [-1.0, 0.0, 0.0], [0.25, 0.0, 0.0]])
    assert mean_r2(targets, predicted, weights) == r2_score(targets, predicted, sample_weight=weights)


def test_early_stopping_trains_where_classes_are_too_many_or_too_small_to_stratify() -> None:
    """As MLPClassifier does: 30 classes and 24 samples to validate; a class of one sample."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(240, 4))
    many = small(early_stopping=True).fit(inputs, np.arange(240) % 30)
    assert len(many.validation_scores_) == 5
    assert many.t_ == 5 * 216
    lonely = small(early_stopping=True).fit(inputs, np.where(np.arange(240) == 7, 2, np.arange(240) % 2))
    assert lonely.predict_proba(inputs).shape == (240, 3)


def test_without_early_stopping_there_are_no_validation_scores() -> None:
    model = small().fit(X, FLOWER)
    assert model.validation_scores_ is model.validation_loss_curve_ is model.best_validation_score_ is None


def test_fit_warns_where_max_iter_ends_it() -> None:
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="max_iter=5 epochs"):
        small().fit(X, FLOWER)


# --- what scikit-learn's have not


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_backends_agree_and_a_pickle_moves_between_them(name: str) -> None:
    try:
        backends.select(name)
    except backends.BackendError as error:
        pytest.skip(f"{name}: {error.reason}")
    there, here = small(backend=name, dropout=0.3).fit(X, NAMES), small(dropout=0.3).fit(X, NAMES)
    for a, b in zip(there.coefs_, here.coefs_, strict=True):
        assert isinstance(a, np.ndarray)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    moved = pickle.loads(pickle.dumps(there)).set_params(backend="numpy")
    np.testing.assert_allclose(moved.predict_proba(X), there.predict_proba(X), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"normalization": "batch"},
        {"normalization": "layer", "activation": "gelu"},
        {"dropout": 0.1, "activation": nb.LeakyReLU(0.1)},
        {"solver": nb.AdamW(weight_decay=0.1)},
        {"schedule": "warmup:10+cosine"},
        {"schedule": nb.OneCycle(0.1, 60)},
        {"loss": nb.SoftmaxCrossEntropy(label_smoothing=0.1)},
        {"loss": "mse", "solver": "sgd", "learning_rate_init": 0.1},
        {"loss": "binary-cross-entropy"},
        {"dtype": "float32", "class_weight": "balanced"},
    ],
    ids=str,
)
def test_each_option_learns_iris(options: dict[str, Any]) -> None:
    model = small(**{"max_iter": 60, "batch_size": 32, **options}).fit(X, NAMES)
    assert model.score(X, NAMES) > 0.9
    assert clone(model).get_params() == model.get_params()


def test_a_schedule_spans_each_fit() -> None:
    """Cosine ends at a rate of 0; a warm start begins it anew."""
    model = small(schedule="cosine", warm_start=True, max_iter=20).fit(X, FLOWER)
    first = model.loss_
    model.fit(X, FLOWER)
    assert model.loss_ < first - 0.01


def test_class_weights_are_sample_weights() -> None:
    by_class = {"setosa": 1.0, "versicolor": 2.0, "virginica": 0.5}
    weights = np.array([by_class[name] for name in NAMES])
    assert_same_weights(small(class_weight=by_class).fit(X, NAMES), small().fit(X, NAMES, weights))
    X7, names7 = X[:107], NAMES[:107]
    balanced = compute_sample_weight("balanced", names7)
    assert_same_weights(small(class_weight="balanced").fit(X7, names7), small().fit(X7, names7, balanced))
    twice = small(class_weight=by_class).fit(X, NAMES, weights)
    assert_same_weights(twice, small().fit(X, NAMES, weights**2))


def test_float32_is_kept() -> None:
    model = small().fit(X.astype(np.float32), FLOWER)
    assert {a.dtype for a in model.coefs_ + model.intercepts_} == {np.dtype(np.float32)}
    assert model.predict_proba(X).dtype == np.float32
    assert small(dtype="float64").fit(X.astype(np.float32), FLOWER).coefs_[0].dtype == np.float64


def test_a_random_state_gives_another_start_to_each_fit() -> None:
    state = np.random.RandomState(3)
    first, second = small(random_state=state).fit(X, FLOWER), small(random_state=state).fit(X, FLOWER)
    assert not np.array_equal(first.coefs_[0], second.coefs_[0])
    assert_same_weights(first, small(random_state=np.random.RandomState(3)).fit(X, FLOWER))


def test_verbose_prints_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    model = small(verbose=True, max_iter=2).fit(X, FLOWER)
    assert capsys.readouterr().out.splitlines() == [
        f"Iteration {k}, loss = {loss:.8f}" for k, loss in enumerate(model.loss_curve_, start=1)
    ]


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lbfgs"}, "solver='lbfgs' is a quasi-Newton method.*use solver='adam'"),
        ({"solver": "newton"}, "solver is 'newton' and must be one of 'adam', 'sgd', or an Optimizer of your own"),
        ({"max_fun": 15000}, "max_fun is 15000 and must be left out.*max_iter"),
        ({"loss": "hinge"}, "loss is 'hinge' and must be one of 'log_loss', 'softmax-cross-entropy'"),
        ({"activation": "softsign"}, "activation is 'softsign' and must be one of 'logistic'"),
        ({"normalization": "group"}, "normalization is 'group' and must be one of 'batch', 'layer'"),
        ({"learning_rate": "cosine"}, "learning_rate is 'cosine' and must be one of 'constant', 'invscaling'"),
        ({"learning_rate": "adaptive", "schedule": "cosine"}, "both say how the learning rate changes"),
        ({"alpha": -1}, "alpha is -1 and must be a finite number of at least 0"),
        ({"max_iter": 0}, "max_iter is 0 and must be a whole number of at least 1"),
        ({"batch_size": "full"}, "batch_size is 'full' and must be 'auto'"),
        ({"tol": None}, "tol is None and must be a finite number"),
        ({"hidden_layer_sizes": "squared_error"}, "must be the number of units of each hidden layer"),
        ({"hidden_layer_sizes": ("conv 8 3x3", 10)}, r"A list of layers is given as layers=\['conv 8 3x3'"),
        ({"hidden_layer_sizes": [[5], [3, 2]]}, "must be the number of units of each hidden layer"),
        ({"dropout": 1.0}, "dropout is 1.0 and must be a number of at least 0 and below 1"),
        ({"dropout": "0.5"}, "dropout is '0.5' and must be a number"),
        ({"dropout": None}, "dropout is None and must be a number"),
        ({"beta_1": "x"}, "beta_1 is 'x' and must be a number"),
        ({"beta_2": 1}, "beta_2 is 1 and must be a number"),
        ({"epsilon": 0}, "epsilon is 0 and must be a finite number above 0"),
        ({"momentum": None}, "momentum is None and must be a number"),
        ({"schedule": 3}, "schedule is 3 and must be None, a word or a function"),
        ({"dtype": "int8"}, "dtype is 'int8' and must be one of float32"),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?is){message}"):
        NNClassifier(**options).fit(X, FLOWER)


def test_calls_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"classes=np\.unique"):
        small().partial_fit(X, FLOWER)
    with pytest.raises(ValueError, match="early_stopping=True"):
        small(early_stopping=True).partial_fit(X, FLOWER, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="compute_class_weight"):
        small(class_weight="balanced").partial_fit(X, FLOWER, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="has the classes"):
        small().partial_fit(X, FLOWER, classes=[0, 1])
    begun = small().partial_fit(X, FLOWER, classes=[2, 1, 0]).partial_fit(X, FLOWER, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"got the classes \[0 1 2 3\] and began with \[0 1 2\]"):
        begun.partial_fit(X, FLOWER, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="warm_start=False"):
        small(warm_start=True).fit(X, FLOWER).set_params(hidden_layer_sizes=(9,)).fit(X, FLOWER)
    with pytest.raises(ValueError, match="raise it, or give more samples"):
        NNRegressor(early_stopping=True).fit(X[:10], X[:10, 0])
    with pytest.raises(backends.BackendError, match="no backend 'tensorflow'"):
        small(backend="tensorflow").fit(X, FLOWER)
    with pytest.raises(NotFittedError):
        small().predict(X)


@pytest.mark.parametrize("loss", [*LOSSES, *(make() for make in LOSSES.values())], ids=str)
def test_predict_proba_is_there_for_losses_of_probabilities_alone(loss: Any) -> None:
    """And its rows sum to 1, whether a class's output knows the others' (softmax) or not (sigmoids)."""
    model = small(loss=loss)
    assert hasattr(model, "predict_proba") == hasattr(model, "predict_log_proba") == ("cross" in str(loss).lower())
    if hasattr(model, "predict_proba"):
        for y in (FLOWER, FLOWER == 1):
            probabilities = model.fit(X, y).predict_proba(X)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(probabilities.argmax(axis=1), model.predict(X))


def test_probabilities_of_a_sigmoid_a_class_are_those_of_one_against_the_rest() -> None:
    """Each class's own over their sum, as OneVsRestClassifier has them; zeros stay where all are 0."""
    model = small(loss="binary-cross-entropy").fit(X, FLOWER)
    sigmoids = model._outputs(X)[0]
    np.testing.assert_allclose(
        model.predict_proba(X), sigmoids / sigmoids.sum(axis=1, keepdims=True), rtol=0, atol=1e-15
    )
    model.coefs_ = [np.zeros_like(W) for W in model.coefs_]
    model.intercepts_[1] = np.full(3, -np.inf)
    np.testing.assert_array_equal(model.predict_proba(X), 0)


def test_predict_proba_goes_by_the_loss_that_was_fitted() -> None:
    model = small(loss="mae").fit(X, FLOWER).set_params(loss="log_loss")
    assert not hasattr(model, "predict_proba")
    assert hasattr(model.fit(X, FLOWER), "predict_proba")
    with pytest.raises(AttributeError) as error:
        _ = small(loss=nb.Huber(delta=2.0)).predict_proba
    assert re.search(r"Huber\(delta=2.*no probabilities.*loss='log_loss'", str(error.value.__cause__))


# --- within scikit-learn's tools


def test_clone_has_the_parameters_alone() -> None:
    fitted = small(solver=nb.RMSprop(rho=0.8)).fit(X, FLOWER)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "coefs_")


def test_a_joblib_file_predicts_in_another_process(tmp_path: Path) -> None:
    model = small().partial_fit(X, NAMES, classes=np.unique(NAMES))
    joblib.dump(model, tmp_path / "model.joblib")
    np.save(tmp_path / "X.npy", X)
    code = "import sys, joblib, numpy as np; model, X, out = sys.argv[1:]; "
    code += "np.save(out, joblib.load(model).predict_proba(np.load(X)))"
    files = [str(tmp_path / name) for name in ("model.joblib", "X.npy", "out.npy")]
    subprocess.run([sys.executable, "-c", code, *files], cwd=Path(__file__).parents[2], check=True)
    np.testing.assert_allclose(np.load(files[2]), model.predict_proba(X), rtol=0, atol=1e-12)
    assert (tmp_path / "model.joblib").stat().st_size < 20_000  # no data, and nothing compiled


def test_a_fitted_estimator_does_not_hold_its_data() -> None:
    assert len(pickle.dumps(small().fit(np.repeat(X, 100, axis=0), np.repeat(FLOWER, 100)))) < 20_000
    assert not [object_ for object_ in vars(small().fit(X, FLOWER)).values() if "Trainer" in repr(object_)]


def test_grid_search_in_two_processes_chooses_the_network_that_learns() -> None:
    grid = {"learning_rate_init": [1e-6, 0.05], "dropout": [0.0, 0.1]}
    search = GridSearchCV(small(max_iter=30), grid, cv=3, n_jobs=2).fit(X, NAMES)
    assert search.best_params_["learning_rate_init"] == 0.05
    assert search.score(X, NAMES) > 0.9


def test_a_pipeline_of_columns_of_a_data_frame() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=300) * 100, "colour": rng.choice(["red", "green", "blue"], 300)})
    y = np.where((frame["size"] > 0) ^ (frame["colour"] == "red"), "yes", "no")
    columns = ColumnTransformer([("size", StandardScaler(), ["size"]), ("colour", OneHotEncoder(), ["colour"])])
    model = make_pipeline(columns, NNClassifier((16,), random_state=0, learning_rate_init=0.02, max_iter=100))
    assert model.fit(frame, y).score(frame, y) > 0.95
    columns.set_params(colour__sparse_output=False).set_output(transform="pandas")
    names = model.fit(frame, y)[-1].feature_names_in_
    assert names.tolist() == ["size__size", "colour__colour_blue", "colour__colour_green", "colour__colour_red"]
    with pytest.raises(ValueError, match="feature names should match"):
        model[-1].predict(columns.transform(frame).rename(columns={"size__size": "weight"}))


def program(page: str) -> Any:
    """The first program of a page that imports the estimators."""
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    code = next(
        code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "nnbackprop.sklearn" in code
    )
    return compile(code, page, "exec")


def test_the_readmes_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    digits, labels = load_digits(return_X_y=True)
    parts = train_test_split(digits / 16, labels, random_state=0)
    exec(program("README.md"), dict(zip(("X_train", "X_test", "y_train", "y_test"), parts, strict=True)))
    assert float(capsys.readouterr().out) > 0.8  # 0.93 to 0.96, as its weights are drawn at random


def test_the_program_of_the_documentation_runs() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    rng = np.random.default_rng(0)
    numbers = {"age": rng.integers(18, 90, 60), "income": rng.lognormal(size=60)}
    names: dict[str, Any] = {"frame": pd.DataFrame({**numbers, "town": rng.choice(["Ulm", "Jena"], 60)})}
    names["labels"] = np.where(numbers["age"] > 50, "old", "young")
    exec(program("docs/sklearn.md"), names)
    assert set(names["search"].best_params_) == {"nnclassifier__dropout"}


def test_a_calibrated_classifier_has_probabilities_near_the_shares() -> None:
    model = CalibratedClassifierCV(small(max_iter=30), cv=3).fit(X, NAMES)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(probabilities.mean(axis=0), 1 / 3, atol=0.05)
    assert model.score(X, NAMES) > 0.9


def test_sample_weights_are_routed_to_fit_and_score() -> None:
    """Samples of one class weigh nothing: neither what is learnt nor what is scored knows them."""
    weights = np.where(FLOWER == 2, 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = small(max_iter=60).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        kept = {"return_estimator": True, "return_indices": True}
        folds = cross_validate(model, X, FLOWER, params={"sample_weight": weights}, **kept)
    for score, fitted, rows in zip(folds["test_score"], folds["estimator"], folds["indices"]["test"], strict=True):
        assert score == accuracy_score(FLOWER[rows], fitted.predict(X[rows]), sample_weight=weights[rows]) > 0.9
        assert 2 not in fitted.predict(X)


def test_several_numbers_and_several_labels() -> None:
    y = np.stack([X[:, 0] - X[:, 1], X[:, 2] ** 2], axis=1)
    regressor = NNRegressor((32,), max_iter=300, learning_rate_init=0.02, random_state=0).fit(X, y)
    assert regressor.predict(X).shape == (150, 2)
    assert regressor.score(X, y) > 0.95
    labels = (y > 0.5).astype(int)
    classifier = small(max_iter=100, batch_size=16, early_stopping=True).fit(X, labels)
    assert set(np.unique(classifier.predict(X))) == {0, 1}
    assert classifier.score(X, labels) > 0.8
    np.testing.assert_array_equal(classifier.predict(X), classifier.predict_proba(X) >= 0.5)


def test_without_scikit_learn_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import nnbackprop, nnbackprop.sklearn"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == (
        "ImportError: scikit-learn is not installed, and nnbackprop.sklearn needs version 1.6 or newer: "
        'pip install "nnbackprop[sklearn]".'
    )
