"""`NNClassifier` and `NNRegressor`: what they learn, and how outputs become predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from nnbackprop.errors import DataError, UsageError
from nnbackprop.nn.losses import LOSSES, MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy

from .base import NNEstimator
from .fitted import Task
from .options import make_loss

MULTILABEL = "multilabel-indicator"
"""What scikit-learn calls targets (n, k) of 0 or 1, several labels at once."""


def _gives_probabilities(estimator: NNClassifier) -> bool:
    fitted = getattr(estimator, "_fitted", None)
    loss = estimator.loss if fitted is None else fitted.loss
    if not getattr(LOSSES.get(str(loss), loss), "gives_probabilities", str(loss) == "log_loss"):
        raise AttributeError(
            f"loss={loss!r} gives outputs that need not sum to 1, and no probabilities: use predict, or fit with "
            "loss='log_loss'."
        )
    return True


@dataclass(eq=False, repr=False)
class NNClassifier(ClassifierMixin, NNEstimator):
    """A network that tells classes apart: a drop-in for scikit-learn's MLPClassifier.

    y is (n,), of two or more classes, or (n, k) of 0 and 1, several labels at once. The parameters of
    MLPClassifier mean what they mean there. Besides:

    activation          any word of `ACTIVATIONS` too, such as "gelu", or an `Activation`
    solver              "adam", "sgd", or an `Optimizer`, such as nb.AdamW(weight_decay=0.01)
    loss                "log_loss", any word of `LOSSES`, or a `Loss`, such as
                        nb.SoftmaxCrossEntropy(label_smoothing=0.1)
    class_weight        None, "balanced" or a dict, as in other classifiers of scikit-learn; times sample_weight
    dropout             the share of each hidden layer's units that is dropped in training
    normalization       None, "batch" or "layer": before each hidden activation
    layers              the whole network, a list of entries as in recipes and `--layers`, such as ["conv 8 3x3",
                        "relu", "maxpool 2", "flatten", "dense"], in place of hidden_layer_sizes, activation,
                        dropout and normalization; a last "dense" has as many units as y needs
    image_shape         (rows, columns) or (rows, columns, channels) of the images that the rows of X are, where
                        layers has layers of images; None: square and grey, from 8 x 8 pixels
    schedule            a word, such as "cosine", "one-cycle" or "warmup:500+cosine", over max_iter epochs from
                        learning_rate_init; or a function of the step, such as nb.CosineDecay(0.01, 1000)
    backend, device     where arrays live: "numpy", "torch", "jax", "cupy", "mlx", or "auto"; see `nb.select`
    dtype               "float32", "float64", "float16" or "bfloat16"; None is that of X

    With `layers`, coefs_ has the W of each layer that has one ("conv", "dense", "maxout"), in the network's order,
    those in a residual too, and intercepts_ its b, or None where it has none, as before "batchnorm". Weights begin
    as He's, and biases at 0, as in a `Trainer` of the same layers.

    solver="lbfgs" and max_fun are refused. After fit, besides what MLPClassifier has: validation_loss_curve_.

    The L2 penalty is alpha divided by the samples of a batch, or by their weights: where batches differ, by the
    samples of a full one, or by their mean weight.

    >>> from nnbackprop.sklearn import NNClassifier
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> network = NNClassifier((16,), learning_rate_init=0.05, max_iter=400, random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X[::2], y[::2])
    >>> model.score(X[1::2], y[1::2]) > 0.9
    True
    """

    loss: Any = field(default="log_loss", kw_only=True)
    class_weight: Any = field(default=None, kw_only=True)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch and return the estimator; `classes`, all there will be, are for the first call."""
        if classes is None and not hasattr(self, "_fitted") and type_of_target(y) != MULTILABEL:
            raise UsageError(
                "The first partial_fit got no classes and cannot know them from a part of the data: give all "
                "there will be, classes=np.unique(all_y)."
            )
        if isinstance(self.class_weight, str):
            raise UsageError(
                f"class_weight={self.class_weight!r} needs all samples, and partial_fit gets some of them: give a "
                "dict of compute_class_weight('balanced', classes=classes, y=y) from all of y."
            )
        self._fit(X, y, sample_weight, partial=True, classes=classes)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of each sample, (n,); of several labels at once 0 or 1 each, (n, k)."""
        outputs, evaluator = self._outputs(X)
        if self._multilabel:
            loss = evaluator.objective.loss
            threshold = 0.5 if loss.gives_probabilities else loss.threshold
            return (outputs >= threshold).astype(self.classes_.dtype)
        return self.classes_[evaluator.predicted_targets(outputs)]

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, k) of `classes_`, or of each label for itself where there are several at once.

        Of a sigmoid a class they are divided by their sum, as in scikit-learn's OneVsRestClassifier.
        """
        outputs, evaluator = self._outputs(X)
        if self._multilabel:
            return outputs
        if outputs.shape[1] == 1:
            return np.hstack([1 - outputs, outputs])
        if isinstance(evaluator.objective.loss, SigmoidBinaryCrossEntropy):
            total = outputs.sum(axis=1, keepdims=True)
            return np.divide(outputs, total, out=np.zeros_like(outputs), where=total > 0)
        return outputs

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log of `predict_proba`."""
        with np.errstate(divide="ignore"):  # a probability may be 0
            return np.log(self.predict_proba(X))

    def _task(self, y: np.ndarray, classes: Any, new: bool) -> Task:
        check_classification_targets(y)
        several = type_of_target(y) == MULTILABEL
        labels = unique_labels(y)  # of several at once, the columns' numbers
        if new:
            self._multilabel = several
            self.classes_ = labels if classes is None else unique_labels(classes)
        if several != self._multilabel or len(np.setdiff1d(labels, self.classes_)):
            raise DataError(
                f"y has the classes {labels} and must have some of {self.classes_}, which the first fit had: give "
                "all there will be to the first partial_fit, as classes=..., or fit anew."
            )
        if classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise DataError(
                f"partial_fit got the classes {unique_labels(classes)} and began with {self.classes_}: leave them "
                "out, or fit anew."
            )
        k = len(self.classes_)
        loss = make_loss(
            self.loss, "log_loss", SigmoidBinaryCrossEntropy if several or k < 3 else SoftmaxCrossEntropy
        )
        if several:
            return Task(y.astype(np.float64), (), k, loss)
        targets = np.searchsorted(self.classes_, y).astype(np.int32)
        return Task(targets, tuple(map(str, self.classes_)), 1 if k == 2 and not loss.takes_labels else k, loss)

    def _weights(self, X: np.ndarray, y: np.ndarray, weights: Any) -> np.ndarray | None:
        weights = super()._weights(X, y, weights)
        if self.class_weight is None:
            return weights
        by_class = compute_sample_weight(self.class_weight, y)
        return by_class if weights is None else weights * by_class

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(eq=False, repr=False)
class NNRegressor(RegressorMixin, NNEstimator):
    """A network that predicts numbers: a drop-in for scikit-learn's MLPRegressor.

    y is (n,), or (n, k) for several numbers a sample. The parameters are those of `NNClassifier`, without
    class_weight; loss is "squared_error", "poisson" for counts, any word of `LOSSES` for numbers, or a
    `Loss`, given by keyword. "squared_error" is half the sum over the k numbers; scikit-learn follows its
    gradient too, and reports the k-th part as `loss_`.

    >>> from nnbackprop.sklearn import NNRegressor
    >>> x = np.linspace(-1, 1, 100)[:, None]
    >>> model = NNRegressor((16,), learning_rate_init=0.05, max_iter=400, random_state=0).fit(x, x[:, 0] ** 2)
    >>> model.score(x, x[:, 0] ** 2) > 0.8  # R^2
    True
    """

    loss: Any = field(default="squared_error", kw_only=True)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch, and return the estimator."""
        self._fit(X, y, sample_weight, partial=True)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The numbers of each sample: (n,), or (n, k) where it was fitted to several."""
        outputs, _ = self._outputs(X)
        return outputs if outputs.shape[1] > 1 else outputs[:, 0]

    def _task(self, y: np.ndarray, classes: Any, new: bool) -> Task:
        targets = y.reshape(len(y), -1).astype(np.float64, copy=False)
        loss = make_loss(self.loss, "squared_error", partial(MeanSquaredError, "half-sum"))
        return Task(targets, (), targets.shape[1], loss)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
