"""A recipe's gradients proven: its network, loss and penalty on its data, dropout drawn as in training."""

from __future__ import annotations

import numpy as np

from backends import Backend

from . import assembly
from .config import Config
from .data.scaling import fit_scaling
from .parts import Parts
from .verify.gradients import Report, gradcheck

SAMPLES = 20  # a mean over so few has every term a larger one has, and its kinks are few


def prove(config: Config, backend: Backend) -> Report:
    """Check every gradient of the recipe at its first weights, float64, on `backend`."""
    assembly.check(config)
    train = Parts.load(config).train
    some = train.take(np.unique(np.linspace(0, len(train) - 1, SAMPLES).astype(int)))
    return gradcheck(
        assembly.network(config, config.outputs or len(train.classes)),
        assembly.loss(config),
        fit_scaling(config.scale, train).apply(some.inputs, "float64"),
        some.labels,
        backend=backend,
        penalty=assembly.penalty(config),
        targets=config.targets,
        seed=config.seed,
    )
