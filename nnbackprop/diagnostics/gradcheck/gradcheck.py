"""Gradient check: analytic gradients against central differences, of a network or of a user's own functions.

Random directions come first: along v the derivative is one number, the sum of gradient times v, and a wrong entry
anywhere changes it. A few directions a tensor check a million parameters in seconds; single entries are compared
only where the directions disagree. Everything is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backends import Backend, select, tree_map, with_float64
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import DataError, ShapeError, UsageError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import Loss, check_labels
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential

from .central_differences import (
    RELATIVE_ROUNDING_ERROR,
    Derivatives,
    Tensors,
    derivatives,
    partial_derivatives,
    relative_error,
)
from .function import INPUT, KEEP_FLOAT64, Function, NetworkFunction, UserFunction, named_arrays
from .mistakes.naming import name_mistakes
from .report import Entry, Report, TensorCheck

if TYPE_CHECKING:
    from nnbackprop.runs.config import Config

TOLERANCE = 1e-7
"""Largest relative error that passes, of a network's gradient: the differences are good to about 1e-9."""

USER_TOLERANCE = 1e-5
"""The same for a user's own functions, where an epsilon in a logarithm moves J a little off what was derived."""

MAX_DIRECTIONS = 4
MAX_ENTRIES_COMPARED = 200
"""Single entries compared in a tensor that failed."""

MAX_ENTRIES_AT_KINKS = 50
"""The same where every direction met a kink: each takes a dozen losses, and nothing there is suspected."""

SAMPLES = 20
"""Of a recipe's training data: a mean over few has every term that a larger one has, and fewer kinks."""


def gradcheck(
    network: Sequential,
    loss: Loss,
    x: np.ndarray,
    targets: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    params: Params | None = None,
    backend: Backend | None = None,
    penalty: WeightPenalty | None = None,
    seed: int = 0,
) -> Report:
    """Check every parameter tensor and the input of network, loss and penalty in training mode, in float64.

    x (n, ...) are inputs as the network takes them, targets integer labels (n,), floats (n, k), or what else a
    `Dataset` takes, weights (n,) those of the samples. Dropout uses the masks of `seed`'s first step. `params` are
    host arrays; without them the initial parameters of `seed` are used. Tensors that are all zero, as biases are
    at first, are moved to small random numbers: a mistake such as a penalty on biases would not show at zero.
    Where the backend's device has no float64, its library checks them on the CPU.

    >>> network = nb.Sequential(nb.Conv2D(4), nb.GELU(), nb.Flatten(), nb.Dense(3))
    >>> images, labels = np.random.default_rng(0).normal(size=(10, 6, 6, 1)), np.arange(10) % 3
    >>> report = nb.gradcheck(network, nb.SoftmaxCrossEntropy(), images, labels)
    >>> report.passed  # print(report) has a line for each parameter
    True

    Raises:
        ShapeError, DataError: inputs or targets that do not fit the network.
    """
    backend = with_float64(backend or select("numpy"))
    x = np.asarray(x, np.float64)
    targets = _checked_targets(network, x, np.asarray(targets))
    params = network.init(x.shape[1:], seed, "float64") if params is None else params
    function = NetworkFunction(
        backend,
        Objective(network, loss, penalty),
        tree_map(lambda a: backend.asarray(np.asarray(a, np.float64)), params),
        backend.asarray(targets.astype(np.float64 if targets.dtype.kind == "f" else np.int32)),
        None if weights is None else backend.asarray(np.asarray(weights, np.float64)),
        RngKey(seed, backend.asarray(np.zeros((), np.int32))),
    )
    tensors = {name: np.asarray(a, np.float64) for name, a in function.trained(params).items()}
    with np.errstate(over="ignore", under="ignore"):
        return _check(function, {**tensors, INPUT: x}, seed, TOLERANCE)


def _checked_targets(network: Sequential, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Labels (n,) or floats (n, k); DataError or ShapeError where inputs, targets and network do not fit."""
    if len(targets) != len(x) or not np.isfinite(x).all():
        raise DataError(
            f"gradcheck got inputs of shape {x.shape} and targets of shape {targets.shape}, and needs finite "
            "inputs (n, ...) and a label, or a row of targets, for each of the n samples."
        )
    out_shape = network.summary(x.shape[1:])[-1].out_shape
    if len(out_shape) != 1:
        raise ShapeError(
            f"The network gives {out_shape} a sample and the losses take vectors (k,): end in a Dense layer."
        )
    if targets.ndim != 1 or targets.dtype.kind not in "iu":  # those stay: samples may lack some of the classes
        targets = Dataset(x, targets, source="gradcheck").targets
    if targets.dtype.kind != "f":
        check_labels(targets, max(2, out_shape[0]))
    return targets


def gradcheck_recipe(config: Config, backend: Backend) -> Report:
    """Check every gradient of the recipe at its initial weights, float64, on `backend`."""
    from nnbackprop.runs import build  # which needs msgspec; the gradients of a network do not
    from nnbackprop.runs.config_checks import check_config
    from nnbackprop.runs.run_data import RunData

    check_config(config)
    train = RunData.load(config).train
    config = build.resolve_task(config, train)
    scaling = build.scaling(config, train)
    samples = train.take(np.unique(np.linspace(0, len(train) - 1, SAMPLES).astype(int)))
    return gradcheck(
        build.network(config, build.n_outputs(config, train), train.image_shape),
        build.loss(config),
        scaling.apply(samples.inputs, "float64"),
        samples.targets if train.classes else scaling.scale_targets(samples.targets, "float64"),
        weights=samples.weights,
        backend=backend,
        penalty=build.penalty(config),
        seed=config.seed,
    )


def gradcheck_function(loss_fn: Callable[[Any], Any], grad_fn: Callable[[Any], Any], params: Any) -> Report:
    """Check your own backpropagation: does grad_fn(params) return the derivatives of loss_fn(params)?

    params is a dict or list of NumPy arrays (nested as you like), which both functions take; loss_fn returns J,
    one number, and grad_fn an array for each parameter, in the same structure. Data, labels and dropout masks
    are inside your functions, the same in both. When a gradient is wrong the report names the mistake.

    >>> X, T = np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]), np.array([[1.0], [0.0], [2.0]])
    >>> def loss(p):
    ...     return ((X @ p["W"] + p["b"] - T) ** 2).sum() / 2
    >>> def backward(p):
    ...     dz = X @ p["W"] + p["b"] - T
    ...     return {"W": X.T @ dz, "b": dz.sum(axis=0)}
    >>> report = nb.gradcheck_function(loss, backward, {"W": np.ones((2, 1)), "b": np.zeros(1)})
    >>> report.passed  # print(report) has a line for each parameter
    True

    Raises:
        UsageError: a loss that is no float64 number, gradients that are missing.
    """
    tensors = named_arrays(params, "params")
    if not tensors:
        raise UsageError("gradcheck_function got no parameters: give the arrays that both functions take.")
    return _check(UserFunction(loss_fn, grad_fn, params), tensors, 0, USER_TOLERANCE)


def _check(function: Function, point: Tensors, seed: int, tolerance: float) -> Report:
    rng = np.random.Generator(np.random.Philox(seed))
    point = {
        name: a if a.any() or name == INPUT else 0.1 * rng.standard_normal(a.shape) for name, a in point.items()
    }
    loss = function.value(point)
    if not np.isfinite(loss):
        raise UsageError(
            f"The loss is {loss} at the parameters given, and only a finite one has derivatives: check at smaller "
            "weights, or guard the logarithm."
        )
    if isinstance(function, UserFunction):
        _refuse_float32(function, point, loss)
    analytic = function.gradients(point)
    checks = tuple(_check_tensor(function, point, name, analytic[name], rng, tolerance) for name in point)
    return Report(loss, checks, name_mistakes(function, point, analytic, all(check.passed for check in checks)))


def _refuse_float32(function: Function, point: Tensors, loss: float) -> None:
    """UsageError where J moves in steps: each value is a float32, or J stands still where its slope is not 0."""
    rng = np.random.Generator(np.random.Philox(1))
    directions = [{name: rng.standard_normal(a.shape) for name, a in point.items()} for _ in range(8)]

    def value_along(v: Tensors, size: float) -> float:
        return function.value({name: a * (1 + size * v[name]) for name, a in point.items()})

    def move(v: Tensors) -> float:
        """By how much J should move at 1e-10, where a float32 does not, by its slope at 1e-4, where it does."""
        return abs(value_along(v, 1e-4) - value_along(v, -1e-4)) / 2 * (1e-10 / 1e-4)

    J = np.array([value_along(v, 1e-2) for v in directions])
    sloped = [v for v in directions if move(v) > RELATIVE_ROUNDING_ERROR * abs(loss)]
    still = bool(sloped) and all(value_along(v, 1e-10) == loss for v in sloped)
    if (np.array_equal(J, J.astype(np.float32)) or still) and len(set(J)) == len(J):  # a count repeats itself
        raise UsageError(
            f"loss_fn computes in float32 somewhere: the loss moves in steps, as from {loss} to {J[0]}, and one "
            f"computed in float64 is needed. {KEEP_FLOAT64}"
        )


def _check_tensor(
    function: Function, point: Tensors, name: str, analytic: np.ndarray, rng: np.random.Generator, tolerance: float
) -> TensorCheck:
    """Directions first; entries where those disagree, or where every one of them met a kink."""
    shape = point[name].shape
    if analytic.size != point[name].size or not np.isfinite(analytic).all():
        return TensorCheck(name, shape, tolerance, error=math.inf)
    analytic = analytic.reshape(shape)
    directions = [rng.choice([-1.0, 1.0], shape) for _ in range(min(MAX_DIRECTIONS, 2 * analytic.size))]
    along = np.array([float(np.sum(analytic * v)) for v in directions])
    numerical = derivatives(function.value, point, name, directions, tolerance)
    error, ratio = _compare(along, numerical, tolerance)
    check = TensorCheck(name, shape, tolerance, error, ratio, kinks=numerical.kinks)
    if check.passed:
        return check
    most = MAX_ENTRIES_AT_KINKS if math.isnan(error) else MAX_ENTRIES_COMPARED
    flat = np.sort(rng.permutation(analytic.size)[:most])
    entries = analytic.reshape(-1)[flat]
    numerical = partial_derivatives(function.value, point, name, flat.tolist(), tolerance)
    entry_error, ratio = _compare(entries, numerical, tolerance)
    check = replace(check, error=entry_error, ratio=ratio, kinks=check.kinks + numerical.kinks)
    if math.isnan(entry_error):
        return check
    i = int(np.nanargmax(np.abs(entries - numerical.values)))
    index = tuple(int(k) for k in np.unravel_index(int(flat[i]), shape))
    worst = Entry(index, float(entries[i]), float(numerical.values[i]))
    # one wrong entry of a million may not be among those compared, yet the directions saw it
    return replace(check, error=float(np.nanmax([entry_error, error])), worst=worst)


def _compare(analytic: np.ndarray, numerical: Derivatives, tolerance: float) -> tuple[float, float | None]:
    """The error, relative to the larger rms, and the ratio; kinks are left out, and rounding does not count."""
    smooth = ~np.isnan(numerical.values)
    if not smooth.any():
        return math.nan, None
    a, d = analytic[smooth], numerical.values[smooth]
    difference, *sizes = (float(np.sqrt(np.mean(v**2))) for v in (a - d, a, d))
    large = np.abs(d) > 1e-6 * np.abs(d).max()
    ratio = float(np.median(a[large] / d[large])) if large.any() else None
    return relative_error(difference, max(sizes), numerical.noise, tolerance), ratio
