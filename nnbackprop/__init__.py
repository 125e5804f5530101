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
from typing import Any

from ._guard import check_backends

check_backends()

_MODULES = {
    "backends": ("Backend", "BackendError", "available", "select"),
    "nnbackprop.data": ("Dataset", "Scaling", "Splits", "fit_scaling", "load", "split"),
    "nnbackprop.errors": (
        "DataError",
        "DivergedError",
        "NnbackpropError",
        "RunFolderError",
        "ShapeError",
        "UsageError",
    ),
    "nnbackprop.nn.initializers": ("FanOutNormal", "Glorot", "He", "LeCun", "Normal", "Uniform", "Zeros"),
    "nnbackprop.nn.layers": (
        "ELU",
        "GELU",
        "Dense",
        "Dropout",
        "Flatten",
        "Identity",
        "LeakyReLU",
        "ReLU",
        "SiLU",
        "Sigmoid",
        "Softmax",
        "Softplus",
        "Tanh",
    ),
    "nnbackprop.nn.losses": ("MeanSquaredError", "SigmoidBinaryCrossEntropy", "SoftmaxCrossEntropy", "one_hot"),
    "nnbackprop.nn.metrics": ("ClassificationMetrics", "MultilabelMetrics", "RegressionMetrics", "accuracy"),
    "nnbackprop.nn.sequential": ("Residual", "Sequential"),
    "nnbackprop.optim": (
        "SGD",
        "Adagrad",
        "Adam",
        "AdamW",
        "Momentum",
        "Nesterov",
        "RMSprop",
        "clip_by_global_norm",
        "clip_by_value",
    ),
    "nnbackprop.nn.regularization": ("WeightPenalty",),
    "nnbackprop.nn.rng": ("RngKey",),
    "nnbackprop.optim.schedules": ("Constant", "Cosine", "Exponential", "OneCycle", "StepDecay", "Warmup"),
    "nnbackprop.runs.trained_model": ("TrainedModel",),
    "nnbackprop.training.callbacks.base": ("Callback",),
    "nnbackprop.training.trainer": ("Trainer",),
    "nnbackprop.diagnostics.gradcheck.gradcheck": ("gradcheck", "gradcheck_function"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is first used, so that `import nnbackprop` is free."""
    if name not in _HOME:
        raise AttributeError(f"module 'nnbackprop' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
