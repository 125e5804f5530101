"""Mistakes of hand-derived backpropagation, planted in a small network; the gradient check is not told which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnbackprop.diagnostics.gradcheck.gradcheck import gradcheck_function
from nnbackprop.diagnostics.gradcheck.mistakes.catalogue import MISTAKES, ROWS
from nnbackprop.diagnostics.gradcheck.report import Report
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Sigmoid, Tanh
from nnbackprop.nn.layers.base import Layer, Params
from nnbackprop.nn.losses import one_hot
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.sequential import Sequential

from .messages import Break
from .small_networks import TAKES_LOGITS, SmallNetwork


@dataclass(frozen=True)
class PlantedLayer:
    """A layer whose `backward` is wrong: `wrong(planted, xp, params, cache, dy)` in the place of its own."""

    wrapped: Any
    wrong: Callable[..., tuple[Any, Any]]
    lr: float

    def build(self, *arguments: Any) -> Any:
        """As the layer's own."""
        return self.wrapped.build(*arguments)

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> tuple[Any, Any]:
        """As the layer's own; the cache has y too."""
        y, cache = self.wrapped.forward(xp, params, x, key)
        return y, (cache, y)

    def backward(self, xp: Any, params: Any, cache: Any, dy: Any, need_dx: bool) -> tuple[Any, Any]:
        """With the mistake."""
        return self.wrong(self, xp, params, cache, dy)


@dataclass(frozen=True)
class PlantedLoss:
    """A loss whose derivative is wrong: `wrong(p, t, dy)`, with the predictions p and the targets t (n, k)."""

    wrapped: Any
    wrong: Callable[[Any, Any, Any], Any]

    def __call__(self, xp: Any, y: Any, t: Any, weights: Any = None) -> tuple[Any, Any]:
        """J as it is, and the wrong dy."""
        J, dy = self.wrapped(xp, y, t, weights)
        rows = t if t.ndim == 2 else one_hot(xp, t, y.shape[1], y.dtype)
        return J, self.wrong(self.wrapped.predictions(xp, y), rows, dy)

    def encode_targets(self, xp: Any, y: Any, targets: Any) -> Any:
        """As the loss's own."""
        return self.wrapped.encode_targets(xp, y, targets)

    def predictions(self, xp: Any, y: Any) -> Any:
        """As the loss's own."""
        return self.wrapped.predictions(xp, y)


def negated(p: Any, t: Any, dy: Any) -> Any:
    """-dy, as from t - y."""
    return -dy


def times_batch(p: Any, t: Any, dy: Any) -> Any:
    """n dy: the mean over the batch is left out."""
    return dy * dy.shape[0]


def without_two(p: Any, t: Any, dy: Any) -> Any:
    """dy / 2: the 2 of the square's derivative is left out."""
    return dy / 2


def times_slope(p: Any, t: Any, dy: Any) -> Any:
    """dy p (1 - p): the slope of the sigmoid, which cross-entropy cancels, is multiplied in."""
    return dy * p * (1 - p)


def diagonal_alone(p: Any, t: Any, dy: Any) -> Any:
    """dy = -t (1 - p) / n: of softmax's Jacobian the diagonal alone."""
    return -t * (1 - p) / t.shape[0]


def without_derivative(planted: PlantedLayer, xp: Any, params: Any, cache: Any, dy: Any) -> tuple[Any, Any]:
    """dx = dy: f'(x) is left out."""
    return dy, {}


def derivative_at_output(planted: PlantedLayer, xp: Any, params: Any, cache: Any, dy: Any) -> tuple[Any, Any]:
    """dx = f'(y) dy, with the output y where the input x belongs."""
    _, y = cache
    _, cache_of_y = planted.wrapped.forward(xp, {}, y, None)
    return planted.wrapped.backward(xp, {}, cache_of_y, dy, True)


def other_derivative(planted: PlantedLayer, xp: Any, params: Any, cache: Any, dy: Any) -> tuple[Any, Any]:
    """dx by the derivative of tanh in the place of a sigmoid's, of a sigmoid in the place of another's."""
    _, y = cache
    return (Tanh() if isinstance(planted.wrapped, Sigmoid) else Sigmoid()).vjp(xp, y, dy), {}


def mean_again(planted: PlantedLayer, xp: Any, params: Any, cache: Any, dy: Any) -> tuple[Any, Any]:
    """dW = x^T dz / n, db = 1^T dz / n: divided by n once more."""
    dx, grads = planted.wrapped.backward(xp, params, cache[0], dy, True)
    return dx, {name: g / dy.shape[0] for name, g in grads.items()}


def first_sample_alone(planted: PlantedLayer, xp: Any, params: Any, cache: Any, dy: Any) -> tuple[Any, Any]:
    """db = dz of the first sample, and not the sum."""
    dx, grads = planted.wrapped.backward(xp, params, cache[0], dy, True)
    return dx, {**grads, "b": dy[0]}


def biases_forgotten(planted: PlantedLayer, xp: Any, params: Any, cache: Any, dy: Any) -> tuple[Any, Any]:
    """db = 0: it is never computed."""
    dx, grads = planted.wrapped.backward(xp, params, cache[0], dy, True)
    return dx, {**grads, "b": xp.zeros_like(grads["b"])}


def updated_weights(planted: PlantedLayer, xp: Any, params: Any, cache: Any, dy: Any) -> tuple[Any, Any]:
    """dx = dz (W - lr dW)^T, with the weights after their update."""
    _, grads = planted.wrapped.backward(xp, params, cache[0], dy, True)
    after = {**params, "W": params["W"] - planted.lr * grads["W"]}
    return planted.wrapped.backward(xp, after, cache[0], dy, True)[0], grads


@dataclass(frozen=True)
class Plant:
    """Where a mistake goes: in dy of the loss, or in backward of the layers at these places; with which losses."""

    loss: Callable[[Any, Any, Any], Any] | None = None
    layer: Callable[..., tuple[Any, Any]] | None = None
    places: tuple[int, ...] = ()
    losses: tuple[str, ...] | None = None  # None: all


PLANTS = {
    "sign-flipped": Plant(loss=negated),
    "missing-batch-mean": Plant(loss=times_batch),
    "mean-twice": Plant(layer=mean_again, places=(0, 2)),
    "mse-factor": Plant(loss=without_two, losses=("mse",)),
    "activation-derivative-missing": Plant(layer=without_derivative, places=(1,)),
    "activation-derivative-at-a": Plant(layer=derivative_at_output, places=(1,)),
    "wrong-activation-derivative": Plant(layer=other_derivative, places=(1,)),
    "output-derivative-missing": Plant(layer=without_derivative, places=(3,), losses=("mse", "half-mse")),
    "output-derivative-extra": Plant(loss=times_slope, losses=TAKES_LOGITS),
    "softmax-diagonal": Plant(loss=diagonal_alone, losses=("softmax-cross-entropy",)),
    "bias-not-summed": Plant(layer=first_sample_alone, places=(0,)),
    "gradient-zero": Plant(layer=biases_forgotten, places=(0, 2)),
    "updated-too-early": Plant(layer=updated_weights, places=(2,)),
}
"""By their names in the catalogue; places count the layers dense1, activation, dense2, output activation."""


def mistakes() -> list[dict[str, Any]]:
    """The mistakes that can be planted, as the catalogue describes them, and the losses they go with."""
    return [
        {
            "id": id,
            "losses": plant.losses,
            **{k: MISTAKES[id][k].format(**ROWS) for k in ("symptom", "cause", "fix")},
        }
        for id, plant in PLANTS.items()
    ]


def planted(small: SmallNetwork, mistake: str | None) -> SmallNetwork:
    """The same network with a mistake in it; UsageError where there is no place for it."""
    if mistake is None:
        return small
    if mistake not in PLANTS:
        raise UsageError(f"There is no mistake {mistake[:50]!r} to plant. Known are {', '.join(PLANTS)}.")
    plant, layers = PLANTS[mistake], list(small.network.layers)
    if plant.losses is not None and small.loss_name not in plant.losses:
        raise UsageError(
            f"{mistake} is made with the loss {' or '.join(plant.losses)}, not with {small.loss_name}."
        )
    if plant.loss is not None:
        loss: Any = PlantedLoss(small.loss, plant.loss)
        return replace(small, loss=loss)
    assert plant.layer is not None
    for place in plant.places:
        if place >= len(layers):
            raise UsageError(
                f"{mistake} is of an output activation, and this network has none: choose the loss mse."
            )
        wrong: Layer = PlantedLayer(layers[place], plant.layer, small.lr)
        layers[place] = wrong
    return replace(small, network=Sequential(*layers))


def break_(request: Break) -> dict[str, Any]:
    """What the gradient check makes of a network with a mistake, which it is not told."""
    small = SmallNetwork.of(request)
    report = check_gradient(planted(small, request.mistake), small.params(request.seed, request.params))
    return {"report": _report(report)}


def check_gradient(small: SmallNetwork, params: Params) -> Report:
    """The gradient check of functions that it knows nothing about."""
    objective, xp = Objective(small.network, small.loss), small.backend.xp
    x, targets = small.samples.inputs, small.samples.labels

    def loss_fn(named: dict[str, np.ndarray]) -> float:
        return float(objective.value(xp, small.with_values(params, named), x, targets)[0])

    def grad_fn(named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        result = objective.value_and_grad(xp, small.with_values(params, named), x, targets, None)
        return small.named(result.grads)

    return gradcheck_function(loss_fn, grad_fn, small.named(params))


def _report(report: Report) -> dict[str, Any]:
    tensors = [
        {
            "name": t.name,
            "shape": t.shape,
            "relative_error": t.error,
            "verdict": t.verdict,
            "ratio": t.ratio,
            "worst": t.worst,
        }
        for t in report.tensors
    ]
    found = [
        {"id": m.id, "name": m.name, "evidence": m.evidence, "cause": m.cause, "fix": m.fix, "certain": m.certain}
        for m in report.mistakes
    ]
    return {"passed": report.passed, "verdict": report.verdict, "tensors": tensors, "mistakes": found}
