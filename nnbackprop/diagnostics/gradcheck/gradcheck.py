"""Hand-derived gradients against central differences: of a network of ours, or of a person's own code.

Random directions come first: along v the derivative is one number, the sum of gradient times v, and a wrong entry
anywhere changes it. A handful of directions a tensor proves a million parameters in seconds; only where they
disagree are single entries asked for. Everything is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends import Backend, select
from nnbackprop.diagnostics.findings import Finding
from nnbackprop.errors import DataError, ShapeError, UsageError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import Loss, check_labels
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.sequential import Sequential
from nnbackprop.training.step import Objective

from .function import INPUT, Function, OfNetwork, OwnCode, leaves
from .mistakes import name_mistakes
from .numeric import Slopes, Tensors, entry, slopes

TOLERANCE = 1e-7
"""Largest relative error of a network's gradient that passes: differences here are right to about 1e-9."""
OWN_TOLERANCE = 1e-5
"""And of a person's own code, where an epsilon in a logarithm moves J a little off what was derived."""

DIRECTIONS = 4
ENTRIES = 200
"""Single entries looked at in a tensor that failed."""


@dataclass(frozen=True)
class Entry:
    """One number of a gradient, by hand and by differences."""

    index: tuple[int, ...]
    hand: float
    numeric: float


@dataclass(frozen=True)
class TensorCheck:
    """What was found for one tensor.

    `error` is rms(hand - numeric) / rms(numeric) along the directions, which is that of the whole gradient in
    expectation; `ratio` is hand / numeric, the median over entries, or over directions where those agree; `worst`
    is the entry furthest off, of a tensor that failed; `kinks` of `asked` directions and entries were left out
    because J has a kink there. Where nothing could be measured, `error` is NaN and the tensor does not pass.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    ratio: float | None
    worst: Entry | None
    kinks: int
    asked: int
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the gradient is right."""
        return self.error <= self.tolerance

    @property
    def verdict(self) -> str:
        """ok, WRONG, or that J has a kink wherever it was asked."""
        return "ok" if self.passed else "not judged: kinks" if math.isnan(self.error) else "WRONG"


@dataclass(frozen=True)
class Report:
    """A checked gradient: J, a row a tensor, and the likely mistake where there is one."""

    loss: float
    tensors: tuple[TensorCheck, ...]
    mistakes: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether every tensor's gradient is right and nothing else was found."""
        return not self.mistakes and all(tensor.passed for tensor in self.tensors)

    @property
    def numbers(self) -> int:
        """How many derivatives were checked."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    def __str__(self) -> str:
        """A line a tensor, then each mistake in a paragraph."""
        width = max(len(tensor.name) for tensor in self.tensors)
        rows = [
            f"{t.name:<{width}}  relative error {t.error:.1e}  {t.verdict}"
            + (f"  hand / numeric {t.ratio:.6g}" if t.ratio is not None and not t.passed else "")
            for t in self.tensors
        ]
        return "\n".join([*rows, *(f"\n{mistake}" for mistake in self.mistakes)])


def gradcheck(
    network: Sequential,
    loss: Loss,
    x: np.ndarray,
    t: np.ndarray,
    *,
    params: Params | None = None,
    backend: Backend | None = None,
    penalty: WeightPenalty | None = None,
    targets: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> Report:
    """Check the whole function that is trained: every parameter tensor and the input, in float64.

    x (n, ...) are inputs as the network takes them, t (n,) integer labels, `targets` the values of the wrong and
    the right class for losses on outputs; a table of targets (n, k) may stand for t there. Dropout draws the
    masks of `seed`'s first step and keeps them. `params` are host arrays; without them the first parameters of
    `seed` are taken. Tensors that are all zero, as biases are at first, are moved to small random numbers: a
    mistake such as a penalty on biases would hide there.

    Raises:
        ShapeError, DataError: inputs or labels that do not fit the network.
    """
    backend = backend or select("numpy")
    x = np.asarray(x, np.float64)
    objective = _objective(network, loss, penalty, targets, np.asarray(t), x)
    if params is None:
        params = network.init(x.shape[1:], seed, "float64")
    draw = RngKey(seed, backend.asarray(np.zeros((), np.int32)))
    held = np.asarray(t, np.float64) if np.ndim(t) == 2 else np.asarray(t, np.int32)
    function = OfNetwork(backend, objective, backend.asarray(held), draw)
    tensors = {name: np.asarray(a, np.float64) for name, a in function.named(params).items()}
    with np.errstate(over="ignore", under="ignore"):
        return _check(function, {**tensors, INPUT: x}, seed, TOLERANCE)


def gradcheck_function(loss_fn: Callable[[Any], Any], grad_fn: Callable[[Any], Any], params: Any) -> Report:
    """Check your own backpropagation: does grad_fn(params) hold the derivatives of loss_fn(params)?

    params is a dict or list of NumPy arrays (nested as you like), which both functions take; loss_fn returns J,
    one number, and grad_fn an array for each parameter, kept alike. Data, labels and dropout masks are whatever
    your functions use: the same in both. When something is wrong the report names the likely mistake.

    >>> report = gradcheck_function(lambda p: loss(X, T, p), lambda p: backward(X, T, p), {"W1": W1, "b1": b1})
    >>> print(report)

    Raises:
        UsageError: a loss that is no float64 number, gradients that are missing.
    """
    tensors = leaves(params, "params")
    if not tensors:
        raise UsageError("gradcheck_function got no parameters: give the arrays that both functions take.")
    return _check(OwnCode(loss_fn, grad_fn, params), tensors, 0, OWN_TOLERANCE)


def _objective(
    network: Sequential,
    loss: Loss,
    penalty: WeightPenalty | None,
    targets: tuple[float, float],
    t: np.ndarray,
    x: np.ndarray,
) -> Objective:
    if len(t) != len(x) or not np.isfinite(x).all():
        raise DataError(
            f"gradcheck got inputs of shape {x.shape} and labels of shape {t.shape}, and needs finite inputs "
            "(n, ...) and a label, or a row of targets, for each of the n samples."
        )
    if t.ndim == 2 and not loss.labels:
        return _Given(network, loss, penalty, *targets)
    outputs = network.plan(x.shape[1:])[-1].out_shape
    if len(outputs) != 1:
        raise ShapeError(
            f"The network gives {outputs} a sample and the losses take vectors (k,): end in a Dense layer."
        )
    check_labels(t, max(2, outputs[0]))
    return Objective(network, loss, penalty, *targets)


@dataclass(frozen=True)
class _Given(Objective):
    """An objective whose targets (n, k) are given as they are."""

    def targets(self, xp: Any, y: Any, labels: Any) -> Any:
        return labels


def _check(function: Function, point: Tensors, seed: int, tolerance: float) -> Report:
    rng = np.random.Generator(np.random.Philox(seed))
    point = {
        name: a if a.any() or name == INPUT else 0.1 * rng.standard_normal(a.shape) for name, a in point.items()
    }
    loss = function.value(point)
    if not np.isfinite(loss):
        raise UsageError(
            f"The loss is {loss} at the parameters given, and a slope can only be taken of a finite one: check "
            "at smaller weights, or guard the logarithm."
        )
    hand = function.gradients(point)
    checks = tuple(_tensor(function, point, name, hand[name], rng, tolerance) for name in point)
    return Report(loss, checks, name_mistakes(function, point, hand, {c.name: c.passed for c in checks}))


def _tensor(
    function: Function,
    point: Tensors,
    name: str,
    hand: np.ndarray,
    rng: np.random.Generator,
    tolerance: float,
) -> TensorCheck:
    """Directions first; entries where those disagree, or where every one of them met a kink."""
    shape = point[name].shape
    if hand.size != point[name].size or not np.isfinite(hand).all():
        return TensorCheck(name, shape, float("inf"), None, None, 0, 0, tolerance)
    hand = hand.reshape(shape)
    directions = [rng.choice([-1.0, 1.0], shape) for _ in range(min(DIRECTIONS, 2 * hand.size))]
    along = np.array([float(np.sum(hand * v)) for v in directions])
    found = slopes(function.value, point, name, directions, tolerance)
    error, kinks = relative_error(along, found, tolerance), int(np.isnan(found.values).sum())
    check = TensorCheck(name, shape, error, ratio(along, found.values), None, kinks, len(directions), tolerance)
    return check if check.passed else _entries(function, point, check, hand, rng)


def _entries(
    function: Function, point: Tensors, check: TensorCheck, hand: np.ndarray, rng: np.random.Generator
) -> TensorCheck:
    """The same check by single entries, all of them or as many as ENTRIES at random."""
    flat = np.sort(rng.permutation(hand.size)[:ENTRIES])
    directions = [entry(hand.shape, i) for i in flat.tolist()]
    numeric = slopes(function.value, point, check.name, directions, check.tolerance)
    by_hand, kinks = hand.reshape(-1)[flat], int(np.isnan(numeric.values).sum())
    if kinks == len(flat):
        return TensorCheck(check.name, check.shape, float("nan"), None, None, kinks, len(flat), check.tolerance)
    at = int(np.nanargmax(np.abs(by_hand - numeric.values)))
    index = tuple(int(i) for i in np.unravel_index(int(flat[at]), hand.shape))
    worst = Entry(index, float(by_hand[at]), float(numeric.values[at]))
    by_entries = relative_error(by_hand, numeric, check.tolerance)
    # one wrong entry of a million may not be among those looked at, yet the directions saw it
    error = by_entries if np.isnan(check.error) else max(by_entries, check.error)
    return TensorCheck(
        check.name,
        check.shape,
        error,
        ratio(by_hand, numeric.values),
        worst,
        check.kinks + kinks,
        check.asked + len(flat),
        check.tolerance,
    )


def relative_error(hand: np.ndarray, found: Slopes, tolerance: float) -> float:
    """rms(hand - numeric) over the larger rms, kinks left out; differences that rounding explains do not count."""
    numeric, known = found.values, ~np.isnan(found.values)
    if not known.any():
        return float("nan")
    apart, *sizes = (float(np.sqrt(np.mean(a[known] ** 2))) for a in (hand - numeric, hand, numeric))
    scale = max(*sizes, found.noise / tolerance)
    return apart / scale if scale else 0.0


def ratio(hand: np.ndarray, numeric: np.ndarray) -> float | None:
    """The median of hand / numeric where the latter is no mere rounding; None where there is nothing to divide."""
    known = np.abs(numeric) > 1e-6 * np.nanmax(np.abs(numeric), initial=0.0)
    return float(np.median(hand[known] / numeric[known])) if known.any() else None
