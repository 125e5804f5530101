"""What the estimators share: parameters in scikit-learn's words, training by a `Trainer`, what is fitted."""

from __future__ import annotations

import math
import warnings
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from backends import select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import DataError, DivergedError, UsageError
from nnbackprop.nn.layers.base import Layer, LayerParams, Params, map_layers
from nnbackprop.nn.metrics import metrics_for
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.training.evaluator import Evaluator
from nnbackprop.training.progress import Progress
from nnbackprop.training.trainer import Trainer

from .convergence import Convergence
from .fitted import OUT_ACTIVATIONS, Fitted, Task
from .options import check_parameters, make_lr, make_network, make_optimizer

SPARSE_FORMATS = ("csr", "csc")
FLOAT_DTYPES = (np.float64, np.float32)
AUTO_BATCH_SIZE = 200
"""Samples a step, where there are as many, for a batch_size of "auto"."""


@dataclass(eq=False, repr=False)
class NNEstimator(BaseEstimator):
    """Base of the estimators. `coefs_` and `intercepts_` are the weights: what is assigned to them is used."""

    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"
    _: KW_ONLY
    solver: Any = "adam"
    alpha: float = 0.0001
    batch_size: Any = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    loss: Any = None
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: None = None
    dropout: float = 0.0
    normalization: str | None = None
    layers: Any = None
    image_shape: Any = None
    schedule: Any = None
    backend: str = "numpy"
    device: str | None = None
    dtype: str | None = None

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train until converged, or for `max_iter` epochs, and return the estimator.

        X (n, features) is an array, a data frame, or a sparse matrix, which is made dense. sample_weight is (n,).
        With `warm_start` training goes on from the last fit, the optimizer's state included.

        Raises:
            UsageError, DataError: ValueErrors that name the parameter, or what is wrong with the data.
            DivergedError: the loss or a parameter became NaN or infinite.
            BackendError: the backend or device cannot be used.
        """
        converged = self._fit(X, y, sample_weight)
        self.__dict__.pop("_last_trainer", None)  # which holds the data
        if not converged and self.n_iter_ == self.max_iter:
            warnings.warn(
                f"Training ended after max_iter={self.max_iter} epochs and had not converged by tol={self.tol}: "
                "raise max_iter or learning_rate_init.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _fit(self, X: Any, y: Any, weights: Any, partial: bool = False, classes: Any = None) -> bool:
        """Train for `max_iter` epochs, or for one if `partial`; returns whether training converged.

        The estimator stays as it was where that fails or is interrupted.
        """
        before = dict(self.__dict__)
        try:
            return self._fit_to_data(X, y, weights, partial, classes)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            self.__dict__.pop("_last_trainer", None)  # which has trained, and holds the data
            raise

    def _fit_to_data(self, X: Any, y: Any, weights: Any, partial: bool, classes: Any) -> bool:
        p = self.get_params(deep=False)
        check_parameters(p)
        if partial and self.early_stopping:
            raise UsageError(
                "partial_fit trains for one epoch and early_stopping=True waits over many: leave it out, or "
                "use fit."
            )
        before = getattr(self, "_fitted", None) if partial or self.warm_start else None
        X, y = self._check_data(X, y, reset=before is None)
        task = self._task(y, classes, new=before is None)
        weights = self._weights(X, y, weights)
        train = Dataset(X, task.targets, task.class_names, weights=weights, source="the training data")
        network = make_network(p, X.shape[1], task.n_outputs)
        if before is None:
            seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
            fitted = Fitted(network, task.loss, self._choose_dtype(X), seed, make_optimizer(p))
        else:
            before.check_same(network, task.loss)
            fitted = before if partial else replace(before, first_step=before.state["progress"]["step"])
            fitted = fitted.with_optimizer(make_optimizer(p))
        self.n_outputs_ = task.n_outputs
        validation = None
        if self.early_stopping:
            train, validation = self._split(train, fitted.seed)
        return self._train(fitted, train, validation, 1 if partial else self.max_iter)

    def _check_data(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=SPARSE_FORMATS,
            dtype=FLOAT_DTYPES,
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            reset=reset,
        )
        X, y = _dense(X), _dense(y)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _task(self, y: np.ndarray, classes: Any, new: bool) -> Task:
        raise NotImplementedError

    def _weights(self, X: np.ndarray, y: np.ndarray, weights: Any) -> np.ndarray | None:
        return None if weights is None else _check_sample_weight(weights, X, dtype=np.float64)

    def _choose_dtype(self, X: np.ndarray) -> str:
        """As asked for; else that of X, where the device has float64."""
        if self.dtype is not None:
            return self.dtype
        double = X.dtype == np.float64 and select(self.backend, self.device).has_float64
        return "float64" if double else "float32"

    def _split(self, train: Dataset, seed: int) -> tuple[Dataset, Dataset]:
        """The training data without its validation part, and that; the same parts in each fit of a warm start.

        Stratified by class, where both parts have room for each class and each has two samples or more.
        """
        n = len(train)
        n_part = math.ceil(self.validation_fraction * n)
        counts = np.unique(train.targets, return_counts=True)[1] if train.classes else np.zeros(1)
        rest, part = train_test_split(
            np.arange(n),
            test_size=self.validation_fraction,
            random_state=seed,
            stratify=train.targets if counts.min() >= 2 and len(counts) <= min(n_part, n - n_part) else None,
        )
        if len(part) < 2:
            raise DataError(
                f"validation_fraction={self.validation_fraction} of {len(train)} samples is {len(part)}, and at "
                "least 2 are needed to validate: raise it, or give more samples."
            )
        return train.take(rest), train.take(part)

    def _train(self, fitted: Fitted, train: Dataset, validation: Dataset | None, epochs: int) -> bool:
        trainer = self._trainer(fitted, train)
        convergence = self._convergence(validation, new=fitted.state is None)
        trainer.set_options(callbacks=(convergence,), epochs=trainer.progress.epoch - 1 + epochs)
        try:
            rows = trainer.fit(train, validation)
        except DivergedError as error:
            raise DivergedError(
                f"Training diverged by step {error.step}: the loss or a parameter became NaN or infinite. The "
                "usual cause is features of very different sizes, or a large learning rate: scale X, as by "
                "StandardScaler, or try a tenth of learning_rate_init.",
                error.step,
            ) from error
        self.n_iter_ = len(rows)
        self.t_: int = len(rows) * len(train) + (0 if fitted.state is None else self.t_)
        self._set_fitted(fitted, trainer, convergence)
        return convergence.converged

    def _trainer(self, fitted: Fitted, train: Dataset) -> Trainer:
        """A trainer that stands where `fitted` does; if it may, the last one, with what it has compiled."""
        p, samples = self.get_params(deep=False), len(train)
        batch = min(samples, AUTO_BATCH_SIZE if self.batch_size == "auto" else self.batch_size)
        weight = batch * (1.0 if train.weights is None else float(train.weights.mean()))
        options: dict[str, Any] = {
            "network": fitted.network,
            "loss": fitted.loss,
            "optimizer": fitted.optimizer,
            "lr": make_lr(p, samples, batch, fitted.first_step),
            "dtype": fitted.dtype,
            "penalty": WeightPenalty(l2=self.alpha / weight) if self.alpha else None,
            "batch_size": batch,
            "shuffle": self.shuffle,
            "seed": fitted.seed,
        }
        key = self.backend, self.device, options
        last_key, trainer = getattr(self, "_last_trainer", (None, None))
        new_optimizer = fitted.state is None or fitted.state["optimizer"] is None
        if trainer is None or new_optimizer or last_key != key:
            trainer = Trainer(**options, backend=select(self.backend, self.device))
            trainer.initialize(train)
        if fitted.state is not None and new_optimizer:
            trainer.load_params(self._params())
        elif fitted.state is not None:
            trainer.load_state_dict({**fitted.state, "params": self._params()})
        self._last_trainer = key, trainer
        return trainer

    def _convergence(self, validation: Dataset | None, new: bool) -> Convergence:
        adaptive = self.learning_rate == "adaptive" and self.solver == "sgd"
        convergence = Convergence(self.tol, self.n_iter_no_change, validation, adaptive, self.verbose)
        if not new:
            convergence.wait = self._no_improvement_count
            convergence.loss_curve = list(self.loss_curve_)
            convergence.validation_scores = list(self.validation_scores_ or ())
            convergence.validation_loss_curve = list(self.validation_loss_curve_ or ())
            convergence.best_loss = math.inf if self.best_loss_ is None else self.best_loss_
            convergence.best_score = max(convergence.validation_scores, default=-math.inf)
        return convergence

    def _set_fitted(self, fitted: Fitted, trainer: Trainer, convergence: Convergence) -> None:
        """What was fitted, under scikit-learn's names."""
        progress = trainer.progress
        counts = Progress(epoch=progress.epoch, step=progress.step, lr_factor=progress.lr_factor)
        self._fitted = replace(fitted, state={**trainer.state_dict(), "progress": counts.to_dict()})
        params = self._fitted.state["params"]
        weighted = [p for _, _, p in fitted.network.named_layers(params) if "W" in p]
        self.coefs_, self.intercepts_ = [p["W"] for p in weighted], [p.get("b") for p in weighted]
        self.n_layers_ = len(weighted) + 1
        self.out_activation_ = OUT_ACTIVATIONS.get(type(fitted.loss), "identity")
        self.loss_curve_, self.loss_ = convergence.loss_curve, convergence.loss_curve[-1]
        self._no_improvement_count = convergence.wait
        validated = self.early_stopping
        self.best_loss_ = None if validated else convergence.best_loss
        self.validation_scores_ = convergence.validation_scores if validated else None
        self.validation_loss_curve_ = convergence.validation_loss_curve if validated else None
        self.best_validation_score_ = convergence.best_score if validated else None

    def _params(self) -> Params:
        """The network's parameters, host arrays, with the weights of `coefs_` and `intercepts_`."""
        weights = iter(zip(self.coefs_, self.intercepts_, strict=True))

        def with_weights(layer: Layer, p: LayerParams) -> LayerParams:
            if "W" not in p:
                return p
            W, b = next(weights)
            return {name: np.asarray(value, p[name].dtype) for name, value in (("W", W), ("b", b)) if name in p}

        return map_layers(with_weights, self._fitted.network, self._fitted.state["params"])

    def _outputs(self, X: Any) -> tuple[np.ndarray, Evaluator]:
        """What the loss makes of the network's outputs, (n, k), by an evaluator on the estimator's backend."""
        check_is_fitted(self)
        X = _dense(validate_data(self, X, accept_sparse=SPARSE_FORMATS, dtype=FLOAT_DTYPES, reset=False))
        f, backend = self._fitted, select(self.backend, self.device)
        objective = Objective(f.network, f.loss)
        dtype = "float64" if f.dtype == "float64" else "float32"
        evaluator = Evaluator(backend, objective, metrics_for(f.loss), Scaling.identity(), dtype)
        return evaluator.predict_proba_or_values(
            tree_map(backend.asarray, self._params()), X, X.shape[1:]
        ), evaluator

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and what is fitted; compiled steps are left out."""
        return {name: value for name, value in super().__getstate__().items() if name != "_last_trainer"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _dense(array: Any) -> np.ndarray:
    return array.toarray() if hasattr(array, "toarray") else array
