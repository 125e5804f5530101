"""Backpropagation derived by hand, written once against the Array API, run on the library your machine has.

>>> import nnbackprop as nb
>>> data = nb.load("mnist")
>>> network = nb.Sequential(nb.Dense(100), nb.ReLU(), nb.Dense(10))
>>> trainer = nb.Trainer(network, nb.SoftmaxCrossEntropy(), nb.Adam(), lr=0.001, epochs=3,
...                      scaling=nb.fit_scaling("standard", data.train))
>>> history = trainer.fit(data.train)
>>> trainer.evaluate(data.test).accuracy  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._guard import check_backends

check_backends()

# fmt: off
__all__ = [  # noqa: RUF022
    "Adagrad", "Adam", "AdamW", "Backend", "BackendError", "BatchNorm", "Callback", "ClassificationMetrics",
    "Constant", "Cosine", "DataError", "Dataset", "Dense", "DivergedError", "Dropout", "ELU", "EarlyStopping",
    "Exponential", "FanOutNormal", "Flatten", "GELU", "Glorot", "He", "Identity", "LayerNorm", "LeCun",
    "LeakyReLU", "MeanSquaredError", "Momentum", "MultilabelMetrics", "Nesterov", "NnbackpropError", "Normal",
    "OneCycle", "RMSprop", "ReLU", "RegressionMetrics", "Residual", "RngKey", "RunFolderError", "SGD",
    "Scaling", "Sequential", "ShapeError", "SiLU", "Sigmoid", "SigmoidBinaryCrossEntropy", "Softmax",
    "SoftmaxCrossEntropy", "Softplus", "Splits", "StepDecay", "Tanh", "TimeLimit", "TrainedModel", "Trainer",
    "Uniform", "UsageError", "Warmup", "WeightPenalty", "Zeros", "accuracy", "available", "clip_by_global_norm",
    "clip_by_value", "fit_scaling", "gradcheck", "gradcheck_function", "load", "one_hot", "select", "split",
    "trace_nan",
]
# fmt: on

_NAMES_BY_MODULE = {
    "backends": "Backend BackendError available select",
    "nnbackprop.data": "Dataset Scaling Splits fit_scaling load split",
    "nnbackprop.diagnostics.gradcheck.gradcheck": "gradcheck gradcheck_function",
    "nnbackprop.diagnostics.nan_tracing": "trace_nan",
    "nnbackprop.errors": "DataError DivergedError NnbackpropError RunFolderError ShapeError UsageError",
    "nnbackprop.nn.initializers": "FanOutNormal Glorot He LeCun Normal Uniform Zeros",
    "nnbackprop.nn.layers": "ELU GELU BatchNorm Dense Dropout Flatten Identity LayerNorm LeakyReLU ReLU SiLU "
    "Sigmoid Softmax Softplus Tanh",
    "nnbackprop.nn.losses": "MeanSquaredError SigmoidBinaryCrossEntropy SoftmaxCrossEntropy one_hot",
    "nnbackprop.nn.metrics": "ClassificationMetrics MultilabelMetrics RegressionMetrics accuracy",
    "nnbackprop.nn.regularization": "WeightPenalty",
    "nnbackprop.nn.rng": "RngKey",
    "nnbackprop.nn.sequential": "Residual Sequential",
    "nnbackprop.optim": "SGD Adagrad Adam AdamW Momentum Nesterov RMSprop clip_by_global_norm clip_by_value",
    "nnbackprop.optim.schedules": "Constant Cosine Exponential OneCycle StepDecay Warmup",
    "nnbackprop.runs.trained_model": "TrainedModel",
    "nnbackprop.training.callbacks": "Callback EarlyStopping TimeLimit",
    "nnbackprop.training.trainer": "Trainer",
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}


if TYPE_CHECKING:
    from backends import Backend, BackendError, available, select
    from nnbackprop.data import Dataset, Scaling, Splits, fit_scaling, load, split
    from nnbackprop.diagnostics.gradcheck.gradcheck import gradcheck, gradcheck_function
    from nnbackprop.diagnostics.nan_tracing import trace_nan
    from nnbackprop.errors import DataError, DivergedError, NnbackpropError, RunFolderError, ShapeError, UsageError
    from nnbackprop.nn.initializers import FanOutNormal, Glorot, He, LeCun, Normal, Uniform, Zeros
    from nnbackprop.nn.layers import (
        ELU,
        GELU,
        BatchNorm,
        Dense,
        Dropout,
        Flatten,
        Identity,
        LayerNorm,
        LeakyReLU,
        ReLU,
        Sigmoid,
        SiLU,
        Softmax,
        Softplus,
        Tanh,
    )
    from nnbackprop.nn.losses import MeanSquaredError, SigmoidBinaryCrossEntropy, SoftmaxCrossEntropy, one_hot
    from nnbackprop.nn.metrics import ClassificationMetrics, MultilabelMetrics, RegressionMetrics, accuracy
    from nnbackprop.nn.regularization import WeightPenalty
    from nnbackprop.nn.rng import RngKey
    from nnbackprop.nn.sequential import Residual, Sequential
    from nnbackprop.optim import (
        SGD,
        Adagrad,
        Adam,
        AdamW,
        Momentum,
        Nesterov,
        RMSprop,
        clip_by_global_norm,
        clip_by_value,
    )
    from nnbackprop.optim.schedules import Constant, Cosine, Exponential, OneCycle, StepDecay, Warmup
    from nnbackprop.runs.trained_model import TrainedModel
    from nnbackprop.training.callbacks import Callback, EarlyStopping, TimeLimit
    from nnbackprop.training.trainer import Trainer
else:

    def __getattr__(name: str) -> Any:
        """Import a name's module when the name is first used, so that `import nnbackprop` is free."""
        if name not in _MODULES:
            raise AttributeError(f"module 'nnbackprop' has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
