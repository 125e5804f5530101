"""Estimators of a list of layers: convolutions, pooling, normalization and residuals behind fit and predict."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest

import nnbackprop as nb

pytest.importorskip("sklearn", reason="sklearn is not installed: pip install scikit-learn")

import joblib
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from nnbackprop.sklearn import NNClassifier, NNRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PIXELS, DIGIT = load_digits(return_X_y=True)
PIXELS, DIGIT = PIXELS[:300], DIGIT[:300]  # rows of 8 x 8 pixels, 0 to 16
X = PIXELS / 16
CNN = [
    "conv 4 3x3",
    "batchnorm",
    "relu",
    "residual(conv 4 3x3 padding=same, relu)",
    "maxpool 2",
    "flatten",
    "dense",
]


def small(kind: Any = NNClassifier, layers: list[Any] | None = CNN, **options: Any) -> Any:
    return kind(layers=layers, **{"max_iter": 3, "random_state": 0, "learning_rate_init": 0.02, **options})


def assert_same_weights(a: Any, b: Any) -> None:
    for ours, others in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_array_equal(ours, others)


# --- the network


@pytest.mark.parametrize(
    ("image_shape", "features"), [(None, 64), ([6, 8], 48), ((4, 5, 3), 60)], ids=["8x8", "6x8", "4x5x3"]
)
def test_the_weights_are_those_of_a_trainer_of_the_same_layers_and_seed(image_shape: Any, features: int) -> None:
    inputs = np.ascontiguousarray(X[:, :features])
    model = small(image_shape=image_shape, solver=nb.Adam(), batch_size=50, alpha=0.1).fit(inputs, DIGIT)
    rows, columns, channels = (*(image_shape or (8, 8)), 1)[:3]
    network = nb.Sequential(
        nb.Reshape((rows, columns, channels)),
        nb.Conv2D(4, (3, 3), bias=False),
        nb.BatchNorm(),
        nb.ReLU(),
        nb.Residual(nb.Conv2D(4, (3, 3), padding="same"), nb.ReLU()),
        nb.MaxPool2D(2),
        nb.Flatten(),
        nb.Dense(10),
    )
    trainer = nb.Trainer(
        network,
        nb.SoftmaxCrossEntropy(),
        nb.Adam(),
        lr=0.02,
        dtype="float64",
        penalty=nb.WeightPenalty(l2=0.1 / 50),
        batch_size=50,
        epochs=3,
        seed=int(np.random.RandomState(0).randint(2**31 - 1)),
    )
    history = trainer.fit(nb.Dataset(inputs, DIGIT))
    params = trainer.host_params()
    layers = [params[1], params[4][0], params[7]]
    for W, b, layer in zip(model.coefs_, model.intercepts_, layers, strict=True):
        np.testing.assert_array_equal(W, layer["W"])
        np.testing.assert_array_equal(b, layer.get("b"))
    assert model.coefs_[0].shape == (9 * channels, 4)
    assert model.intercepts_[0] is None
    assert model.loss_curve_ == [row.train.loss for row in history]
    np.testing.assert_array_equal(model.predict(inputs), trainer.predict(inputs).astype(int))


def test_layers_of_no_images_take_any_features() -> None:
    flowers, y = load_iris(return_X_y=True)
    model = small(layers=["dense 8", "layernorm", "gelu", "maxout 6 pieces=3", "dense"], max_iter=60)
    model = make_pipeline(StandardScaler(), model).fit(flowers, y)
    assert model.score(flowers, y) > 0.9
    assert [W.shape for W in model[-1].coefs_] == [(4, 8), (8, 18), (6, 3)]
    assert (model[-1].n_layers_, model[-1].n_outputs_) == (4, 3)


def test_a_residual_may_be_a_list_as_in_a_recipe() -> None:
    listed = [["residual", "conv 4 3x3 padding=same", "relu"] if "residual" in entry else entry for entry in CNN]
    assert_same_weights(small(layers=listed).fit(X, DIGIT), small().fit(X, DIGIT))


def test_a_regressor_learns_two_numbers_of_an_image() -> None:
    """The ink of the upper and the lower half, which a kernel of ones and its stride add up."""
    y = np.stack([X[:, :32].sum(axis=1), X[:, 32:].sum(axis=1)], axis=1) / 10
    model = small(NNRegressor, ["conv 2 4x4 stride=4", "flatten", "dense"], max_iter=60, batch_size=30).fit(X, y)
    assert model.score(X, y) > 0.95
    assert model.predict(X).shape == (300, 2)
    assert model.n_outputs_ == 2


def test_several_labels_at_once_and_two_classes() -> None:
    labels = np.stack([DIGIT > 4, DIGIT % 2 == 0], axis=1).astype(int)
    several = small(max_iter=40).fit(X, labels)
    assert several.score(X, labels) > 0.9
    assert several.out_activation_ == "logistic"
    two = small(max_iter=40).fit(X, labels[:, 0])
    assert two.n_outputs_ == 1
    assert two.score(X, labels[:, 0]) > 0.9


# --- going on


def test_a_warm_start_and_a_pickle_go_on_as_if_never_stopped() -> None:
    """Running statistics, dropout and the optimizer's state are part of it."""
    layers = [*CNN[:-1], "dropout 0.2", "dense"]
    whole = small(layers=layers, max_iter=4, batch_size=60).fit(X, DIGIT)
    halves = small(layers=layers, max_iter=2, batch_size=60, warm_start=True).fit(X, DIGIT)
    halves = pickle.loads(pickle.dumps(halves)).fit(X, DIGIT)
    assert_same_weights(halves, whole)
    np.testing.assert_array_equal(halves.predict_proba(X), whole.predict_proba(X))
    parts = small(layers=layers, batch_size=60)
    for _ in range(4):
        parts.partial_fit(X, DIGIT, classes=range(10))
    assert_same_weights(parts, whole)
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))


def test_early_stopping_ends_with_weights_and_running_statistics_of_the_best_epoch() -> None:
    options = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": np.inf, "batch_size": 30}
    model = small(max_iter=30, learning_rate_init=0.05, **options).fit(X, DIGIT)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert best < 30
    there = small(max_iter=best, learning_rate_init=0.05, **options).fit(X, DIGIT)
    assert_same_weights(model, there)
    np.testing.assert_array_equal(model.predict_proba(X), there.predict_proba(X))


def test_sample_weights_reach_the_loss() -> None:
    """Samples of one class weigh nothing: it is never predicted."""
    layers = ["conv 8 3x3", "relu", "maxpool 2", "flatten", "dense"]
    model = small(layers=layers, max_iter=20).fit(X, DIGIT, np.where(DIGIT == 3, 0.0, 1.0))
    predicted = model.predict(X)
    assert 3 not in predicted
    assert (predicted == DIGIT)[DIGIT != 3].mean() > 0.9


def test_what_is_assigned_to_coefs_predicts_and_is_trained_on() -> None:
    model = small(warm_start=True, max_iter=1).fit(X, DIGIT)
    model.coefs_ = [np.zeros_like(W) for W in model.coefs_]
    model.intercepts_[2] = np.where(np.arange(10) == 7, 1000.0, 0.0)
    np.testing.assert_array_equal(model.predict(X), 7)
    model.set_params(learning_rate_init=1e-300).fit(X, DIGIT)
    np.testing.assert_array_equal(model.predict(X), 7)
    assert [b is None for b in model.intercepts_] == [True, False, False]


# --- within scikit-learn's tools


def test_a_grid_search_of_layers_in_a_pipeline_chooses_those_that_learn() -> None:
    """Of lists of one length and of another; the mean ink of a digit says little of which it is."""
    poor, learns = ["globalaveragepool", "dense"], ["conv 8 3x3", "relu", "maxpool 2", "flatten", "dense"]
    grid = {"nnclassifier__layers": [poor, learns, [poor[0], "relu", "relu", "relu", "dense"]]}
    pipeline = make_pipeline(MinMaxScaler(), small(max_iter=20))
    search = GridSearchCV(pipeline, grid, cv=2).fit(PIXELS, DIGIT)
    assert search.best_params_ == {"nnclassifier__layers": learns}
    assert search.score(PIXELS, DIGIT) > 0.9


def test_clone_has_the_parameters_alone() -> None:
    fitted = small(image_shape=(8, 8)).fit(X, DIGIT)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert (copy.layers, copy.image_shape) == (CNN, (8, 8))
    with pytest.raises(NotFittedError):
        copy.predict(X)
    assert_same_weights(copy.fit(X, DIGIT), fitted)


def test_a_joblib_file_predicts_the_same() -> None:
    model, file = small().fit(X, DIGIT), io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    np.testing.assert_array_equal(joblib.load(file).predict_proba(X), model.predict_proba(X))


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_layer_sizes": (50,)}, r"layers and hidden_layer_sizes=\(50,\) both.* at \(100,\), or layers"),
        ({"hidden_layer_sizes": np.array([100, 100])}, "layers and hidden_layer_sizes=array"),
        ({"activation": nb.Tanh()}, r"layers and activation=Tanh\(\) both describe the.* at 'relu'"),
        ({"normalization": "batch"}, "layers and normalization='batch' both.* an entry for each activation"),
        ({"dropout": 0.2}, "layers and dropout=0.2 both.*Leave dropout at 0.0"),
        ({"layers": "conv 8 3x3"}, "layers is 'conv 8 3x3' and must be None, or a list of entries"),
        ({"layers": []}, r"layers is \[\] and must be None, or a list of entries"),
        ({"layers": ["conv 8", 3]}, r"The estimator has layers = \['conv 8', 3\]: expected `str`, got `int`"),
        ({"layers": ["cnv 8", "dense"]}, "Entry 1 of layers, 'cnv 8': 'cnv' is not a layer. Did you mean conv"),
        ({"layers": ["dense 3"]}, "it gives 3 outputs and 10 are needed.*Write 'dense'"),
        ({"layers": ["conv 8", "dense"]}, r"Layer 3, dense1, after conv2d1: .* put Flatten\(\) before it"),
        ({"layers": ["conv 10"]}, r"The last layer, conv2d1, gives outputs of shape \(6, 6, 10\)"),
        ({"image_shape": 8}, r"image_shape is 8 and must be None, \(rows, columns\) or"),
        ({"image_shape": (8, 8.0)}, r"image_shape is \(8, 8.0\) and must be .* whole numbers from 1"),
        ({"image_shape": (4, 4)}, r"image_shape is \(4, 4\), and X has 64 features: give image_shape="),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?is){message}"):
        NNClassifier(**{"layers": CNN, **options}).fit(X, DIGIT)


@pytest.mark.parametrize("features", [60, 49], ids=["no-square", "below-8x8"])
def test_rows_that_may_be_no_images_need_image_shape(features: int) -> None:
    with pytest.raises(ValueError, match=f"image_shape is None, and X has {features} features: give image_shape="):
        small().fit(X[:, :features], DIGIT)


def test_training_does_not_go_on_with_other_layers() -> None:
    model = small(warm_start=True).fit(X, DIGIT)
    with pytest.raises(ValueError, match="warm_start=False"):
        model.set_params(layers=["conv 5 3x3", "flatten", "dense"]).fit(X, DIGIT)
