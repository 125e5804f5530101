"""The mathematics on the GPU: the same weights as NumPy's, the same masks to the bit, gradients by differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from backends import Backend, select
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.diagnostics.gradcheck.gradcheck import TOLERANCE, gradcheck
from nnbackprop.nn.layers import ACTIVATIONS, Dense, Dropout, Sigmoid
from nnbackprop.nn.losses import LOSSES, Loss, SoftmaxCrossEntropy
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential

from .results import Figure
from .setting import Asked, size_for
from .training import SCALE, Training, apart, w1

PARITY = 1e-12
MASKS = (((120, 784), 0.4), ((120, 512), 0.2), ((7, 13), 0.5))
STEPS = (0, 1, 99, 2**31 - 1)
SAMPLES = 20
Case = tuple[Sequential, Loss, WeightPenalty | None]


def parity(asked: Asked) -> Iterator[Figure]:
    """W1 in float64, dropout and all, here and on NumPy from the same weights."""
    ours, judge = asked.open(), select("numpy")
    different = sum(np.count_nonzero(a != b) for a, b in zip(masks(ours), masks(judge), strict=True))
    yield Figure(f"numbers that differ in {len(MASKS) * len(STEPS)} dropout masks", int(different), limit=0)
    size, data = size_for(ours), asked.read().train
    weights = []
    for backend in (ours, judge):
        training = Training(backend, w1(size), data, "float64")
        training.run(training.xs(0, size.parity_steps))
        weights.append(training.weights())
    pairs = [(a[name], b[name]) for a, b in zip(*weights, strict=True) for name in b]
    worst = max(apart(a, b) for a, b in pairs)
    what = f"weights apart from NumPy's after {size.parity_steps} steps, relative, the worst tensor"
    yield Figure(what, worst, limit=PARITY, dtype="float64")


def masks(backend: Backend) -> list[np.ndarray]:
    """Dropout's, on the host."""
    xp = backend.xp
    return [
        backend.to_numpy(
            RngKey(0, backend.asarray(np.array(step, np.int32))).at(0).dropout_mask(xp, shape, rate, xp.float32)
        )
        for shape, rate in MASKS
        for step in STEPS
    ]


def gradients(asked: Asked) -> Iterator[Figure]:
    """Every activation, loss and penalty, and the network of the recipe, against central differences."""
    backend, data = asked.open(), asked.read().train
    some = data.take(np.arange(SAMPLES))
    x = fit_scaling(SCALE, data).apply(some.inputs, "float64")
    for what, cases in suite(backend).items():
        worst = max(error(case, x, some.targets, backend) for case in cases)
        yield Figure(f"gradients, relative error: {what}", worst, limit=TOLERANCE, dtype="float64")


def suite(backend: Backend) -> dict[str, Sequence[Case]]:
    """What is checked, by what it is called."""
    cross, recipe = SoftmaxCrossEntropy(), w1(size_for(backend))
    return {
        f"{recipe.title} with dropout": [(recipe.network, cross, None)],
        f"{len(ACTIVATIONS)} activations": [
            (Sequential(Dense(12), activation(), Dropout(0.2), Dense(10)), cross, None)
            for activation in ACTIVATIONS.values()
        ],
        f"{len(LOSSES)} losses": [
            (Sequential(Dense(12), Sigmoid(), Dense(10)), loss(), None) for loss in LOSSES.values()
        ],
        "penalties": [
            (Sequential(Dense(12), Sigmoid(), Dense(10)), cross, WeightPenalty(l1=1e-3, l2=1e-2, biases=True))
        ],
    }


def error(case: Case, x: np.ndarray, t: np.ndarray, backend: Backend) -> float:
    """The worst tensor's; NaN where one could not be judged."""
    network, loss, penalty = case
    report = gradcheck(network, loss, x, t, backend=backend, penalty=penalty)
    return float(np.max([tensor.error for tensor in report.tensors]))
