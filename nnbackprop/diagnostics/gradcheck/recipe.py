"""The gradient check of a recipe: its network, loss and penalty on its data, with its dropout."""

from __future__ import annotations

import numpy as np

from backends import Backend
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.runs import build
from nnbackprop.runs.config import Config
from nnbackprop.runs.data_splits import DataSplits

from .gradcheck import Report, gradcheck

SAMPLES = 20  # a mean over so few has every term a larger one has, and its kinks are few


def gradcheck_recipe(config: Config, backend: Backend) -> Report:
    """Check every gradient of the recipe at its initial weights, float64, on `backend`."""
    build.check(config)
    train = DataSplits.load(config).train
    some = train.take(np.unique(np.linspace(0, len(train) - 1, SAMPLES).astype(int)))
    return gradcheck(
        build.network(config, config.outputs or len(train.classes)),
        build.loss(config),
        fit_scaling(config.scale, train).apply(some.inputs, "float64"),
        some.targets,
        weights=some.weights,
        backend=backend,
        penalty=build.penalty(config),
        seed=config.seed,
    )
