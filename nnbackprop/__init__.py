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

from ._guard import check_backends

check_backends()

_NAMES_BY_MODULE = {
    "backends": "Backend BackendError available select",
    "nnbackprop.data": "Dataset Scaling Splits fit_scaling load split",
    "nnbackprop.diagnostics.gradcheck.gradcheck": "gradcheck gradcheck_function",
    "nnbackprop.diagnostics.nan_tracing": "trace_nan",
    "nnbackprop.errors": "DataError DivergedError NnbackpropError RunFolderError ShapeError UsageError",
    "nnbackprop.export.onnx": "export_onnx",
    "nnbackprop.export.safetensors": "export_safetensors",
    "nnbackprop.loggers.csv": "CSVLogger",
    "nnbackprop.loggers.tensorboard": "TensorBoardLogger",
    "nnbackprop.loggers.wandb": "WandbLogger",
    "nnbackprop.nn.augmentation": "Augmentation",
    "nnbackprop.nn.initializers": "FanOutNormal Glorot He LeCun Normal Uniform Zeros",
    "nnbackprop.nn.layers": "ELU GELU AveragePool2D BatchNorm Conv2D Dense Dropout Flatten GlobalAveragePool2D "
    "Identity LayerNorm LeakyReLU MaxPool2D Maxout PReLU ReLU Reshape SiLU Sigmoid Softmax Softplus "
    "SpatialDropout2D Tanh",
    "nnbackprop.nn.layers.base": "Activation Layer",
    "nnbackprop.nn.losses": "Huber Loss MeanAbsoluteError MeanSquaredError Pinball PoissonNLL "
    "SigmoidBinaryCrossEntropy SoftmaxCrossEntropy one_hot",
    "nnbackprop.nn.metrics": "ClassificationMetrics MultilabelMetrics RegressionMetrics accuracy",
    "nnbackprop.nn.regularization": "WeightPenalty",
    "nnbackprop.nn.rng": "RngKey",
    "nnbackprop.nn.sequential": "Residual Sequential",
    "nnbackprop.optim": "SGD Adagrad Adam AdamW ExponentialMovingAverage GradientClipping Momentum Nesterov "
    "Optimizer RMSprop clip_by_global_norm clip_by_value",
    "nnbackprop.optim.schedules": "Constant CosineDecay ExponentialDecay OneCycle StepDecay Warmup",
    "nnbackprop.report.history": "plot",
    "nnbackprop.report.progress": "progress",
    "nnbackprop.runs.model_files": "open save",
    "nnbackprop.runs.saved_model": "SavedModel",
    "nnbackprop.runs.trained_model": "TrainedModel",
    "nnbackprop.training.callbacks": "Callback EarlyStopping ReduceLROnPlateau TimeLimit",
    "nnbackprop.training.history": "History",
    "nnbackprop.training.lr_finder": "lr_find",
    "nnbackprop.training.trainer": "Trainer",
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}
__all__ = sorted(_MODULES)

TYPE_CHECKING = False  # as type checkers know it: typing takes time to import, in which Ctrl-C shows a traceback
if TYPE_CHECKING:  # "import A as A" makes A public to a type checker
    # fmt: off
    # isort: off
    from backends import Backend as Backend, BackendError as BackendError, available as available, select as select
    from nnbackprop.data import (
        Dataset as Dataset, Scaling as Scaling, Splits as Splits, fit_scaling as fit_scaling, load as load,
        split as split,
    )
    from nnbackprop.diagnostics.gradcheck.gradcheck import (
        gradcheck as gradcheck, gradcheck_function as gradcheck_function,
    )
    from nnbackprop.diagnostics.nan_tracing import trace_nan as trace_nan
    from nnbackprop.errors import (
        DataError as DataError, DivergedError as DivergedError, NnbackpropError as NnbackpropError,
        RunFolderError as RunFolderError, ShapeError as ShapeError, UsageError as UsageError,
    )
    from nnbackprop.export.onnx import export_onnx as export_onnx
    from nnbackprop.export.safetensors import export_safetensors as export_safetensors
    from nnbackprop.loggers.csv import CSVLogger as CSVLogger
    from nnbackprop.loggers.tensorboard import TensorBoardLogger as TensorBoardLogger
    from nnbackprop.loggers.wandb import WandbLogger as WandbLogger
    from nnbackprop.nn.augmentation import Augmentation as Augmentation
    from nnbackprop.nn.initializers import (
        FanOutNormal as FanOutNormal, Glorot as Glorot, He as He, LeCun as LeCun, Normal as Normal,
        Uniform as Uniform, Zeros as Zeros,
    )
    from nnbackprop.nn.layers import (
        ELU as ELU, GELU as GELU, AveragePool2D as AveragePool2D, BatchNorm as BatchNorm, Conv2D as Conv2D,
        Dense as Dense, Dropout as Dropout, Flatten as Flatten, GlobalAveragePool2D as GlobalAveragePool2D,
        Identity as Identity, LayerNorm as LayerNorm, LeakyReLU as LeakyReLU, MaxPool2D as MaxPool2D,
        Maxout as Maxout, PReLU as PReLU, ReLU as ReLU, Reshape as Reshape, SiLU as SiLU, Sigmoid as Sigmoid,
        Softmax as Softmax, Softplus as Softplus, SpatialDropout2D as SpatialDropout2D, Tanh as Tanh,
    )
    from nnbackprop.nn.layers.base import Activation as Activation, Layer as Layer
    from nnbackprop.nn.losses import (
        Huber as Huber, Loss as Loss, MeanAbsoluteError as MeanAbsoluteError, MeanSquaredError as MeanSquaredError,
        Pinball as Pinball, PoissonNLL as PoissonNLL, SigmoidBinaryCrossEntropy as SigmoidBinaryCrossEntropy,
        SoftmaxCrossEntropy as SoftmaxCrossEntropy, one_hot as one_hot,
    )
    from nnbackprop.nn.metrics import (
        ClassificationMetrics as ClassificationMetrics, MultilabelMetrics as MultilabelMetrics,
        RegressionMetrics as RegressionMetrics, accuracy as accuracy,
    )
    from nnbackprop.nn.regularization import WeightPenalty as WeightPenalty
    from nnbackprop.nn.rng import RngKey as RngKey
    from nnbackprop.nn.sequential import Residual as Residual, Sequential as Sequential
    from nnbackprop.optim import (
        SGD as SGD, Adagrad as Adagrad, Adam as Adam, AdamW as AdamW,
        ExponentialMovingAverage as ExponentialMovingAverage, GradientClipping as GradientClipping,
        Momentum as Momentum, Nesterov as Nesterov, Optimizer as Optimizer, RMSprop as RMSprop,
        clip_by_global_norm as clip_by_global_norm, clip_by_value as clip_by_value,
    )
    from nnbackprop.optim.schedules import (
        Constant as Constant, CosineDecay as CosineDecay, ExponentialDecay as ExponentialDecay,
        OneCycle as OneCycle, StepDecay as StepDecay, Warmup as Warmup,
    )
    from nnbackprop.report.history import plot as plot
    from nnbackprop.report.progress import progress as progress
    from nnbackprop.runs.model_files import open as open, save as save
    from nnbackprop.runs.saved_model import SavedModel as SavedModel
    from nnbackprop.runs.trained_model import TrainedModel as TrainedModel
    from nnbackprop.training.callbacks import (
        Callback as Callback, EarlyStopping as EarlyStopping, ReduceLROnPlateau as ReduceLROnPlateau,
        TimeLimit as TimeLimit,
    )
    from nnbackprop.training.history import History as History
    from nnbackprop.training.lr_finder import lr_find as lr_find
    from nnbackprop.training.trainer import Trainer as Trainer
    # fmt: on
    # isort: on
else:

    def __getattr__(name: str) -> object:
        """Import a name's module when the name is first used, so that `import nnbackprop` is free."""
        if name not in _MODULES:
            raise AttributeError(f"module 'nnbackprop' has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
