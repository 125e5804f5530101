"""From an estimator's parameters, in scikit-learn's words, to the parts of a trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np

from nnbackprop.data.raw import square_image_shape
from nnbackprop.errors import UsageError
from nnbackprop.nn.initializers import Uniform
from nnbackprop.nn.layers import ACTIVATIONS, Activation, Dense
from nnbackprop.nn.losses import LOSSES, Loss
from nnbackprop.nn.mlp import NORMALIZATIONS, mlp_layers
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import SGD, Adam, Momentum, Nesterov, Optimizer
from nnbackprop.optim.schedules import Schedule, parse_schedule
from nnbackprop.runs.build import listed_layers
from nnbackprop.runs.layer_list import reshape_to_images, takes_images
from nnbackprop.runs.settings import parse_settings
from nnbackprop.training.batch_schedule import steps_per_epoch

T = TypeVar("T")
Parameters = Mapping[str, Any]
"""An estimator's `get_params(deep=False)`."""

UNSUPPORTED = {
    ("solver", "lbfgs"): "is a quasi-Newton method, which is not here: use solver='adam', or 'sgd', with "
    "batch_size=len(X) for the full batch.",
}
"""Values that scikit-learn knows and this package does not, with what to use."""

PLAIN_NETWORK: dict[str, Any] = {
    "hidden_layer_sizes": (100,),
    "activation": "relu",
    "dropout": 0.0,
    "normalization": None,
}
"""Parameters of a network without `layers`, as they are where `layers` take their place: at their defaults."""


def _is_number(low: float, below: float = math.inf, low_included: bool = False) -> Callable[[Any], bool]:
    def is_right(value: Any) -> bool:
        is_real = isinstance(value, Real) and not isinstance(value, bool)
        return is_real and (low < float(value) < below or (low_included and float(value) == low))

    return is_right


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


PARAMETER_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "alpha": (_is_number(0, low_included=True), "a finite number of at least 0"),
    "tol": (_is_number(0, low_included=True), "a finite number of at least 0"),
    "power_t": (_is_number(0, low_included=True), "a finite number of at least 0"),
    "learning_rate_init": (_is_number(0), "a finite number above 0"),
    "validation_fraction": (_is_number(0, below=1), "a number above 0 and below 1"),
    "momentum": (_is_number(0, below=1, low_included=True), "a number of at least 0 and below 1"),
    "beta_1": (_is_number(0, below=1, low_included=True), "a number of at least 0 and below 1"),
    "beta_2": (_is_number(0, below=1, low_included=True), "a number of at least 0 and below 1"),
    "epsilon": (_is_number(0), "a finite number above 0"),
    "dropout": (_is_number(0, below=1, low_included=True), "a number of at least 0 and below 1"),
    "layers": (
        lambda v: v is None or (isinstance(v, list | tuple) and len(v) > 0),
        "None, or a list of entries, such as ['conv 8 3x3', 'relu', 'maxpool 2', 'flatten', 'dense']",
    ),
    "image_shape": (
        lambda v: v is None or (isinstance(v, list | tuple) and len(v) in (2, 3) and all(map(_is_count, v))),
        "None, (rows, columns) or (rows, columns, channels), whole numbers from 1",
    ),
    "schedule": (
        lambda v: v is None or isinstance(v, str) or callable(v),
        "None, a word or a function of the step",
    ),
    "max_iter": (_is_count, "a whole number of at least 1"),
    "n_iter_no_change": (lambda v: _is_count(v) or v == math.inf, "a whole number of at least 1, or np.inf"),
    "batch_size": (
        lambda v: _is_count(v) or (isinstance(v, str) and v == "auto"),
        "'auto', or a whole number from 1",
    ),
    "max_fun": (lambda v: v is None, "left out: it goes with solver='lbfgs'; max_iter limits the epochs"),
}
"""Parameters whose values are checked here; other values are checked by the objects that are made of them."""


def check_parameters(p: Parameters) -> None:
    """UsageError naming the first parameter that cannot be right."""
    for (name, word), reason in UNSUPPORTED.items():
        if isinstance(p[name], str) and p[name] == word:
            raise UsageError(f"{name}={word!r} {reason}")
    for name, (is_right, needed) in PARAMETER_CHECKS.items():
        if not is_right(p[name]):
            raise UsageError(f"{name} is {p[name]!r} and must be {needed}.")
    if p["schedule"] is not None and p["learning_rate"] != "constant":
        raise UsageError(
            f"schedule={p['schedule']!r} and learning_rate={p['learning_rate']!r} both say how the learning rate "
            "changes: leave learning_rate at 'constant', or schedule at None."
        )
    for name, default in PLAIN_NETWORK.items():
        if p["layers"] is not None and not np.array_equal(p[name], default):
            raise UsageError(
                f"layers and {name}={p[name]!r} both describe the network: layers are the whole of it, with an "
                f"entry for each activation, normalization and dropout. Leave {name} at {default!r}, or layers at "
                "None."
            )


def pick(name: str, value: Any, words: Mapping[str, T], own: str = "") -> T:
    """What the word `value` stands for; UsageError lists the words, and `own`, what may be given besides."""
    if isinstance(value, str) and value in words:
        return words[value]
    known = ", ".join(map(repr, words)) + (f", or {own} of your own" if own else "")
    raise UsageError(f"{name} is {value!r} and must be one of {known}.")


def make_loss(value: Any, word: str, default: Callable[[], Loss]) -> Loss:
    """The loss that `value` names, where `word` stands for the `default` of the task, or `value` itself."""
    if isinstance(value, Loss):
        return value
    return pick("loss", value, {word: default, **LOSSES}, "a Loss")()


def make_activation(value: Any) -> Activation:
    """The activation that `value` names, or `value` itself."""
    if isinstance(value, Activation):
        return value
    return pick("activation", value, {"logistic": ACTIVATIONS["sigmoid"], **ACTIVATIONS}, "an Activation")()


def make_network(p: Parameters, n_features: int, n_outputs: int) -> Sequential:
    """The network for rows of X: that of `layers`, if given, else dense layers of `hidden_layer_sizes`."""
    make = _plain_network if p["layers"] is None else _listed_network
    return make(p, n_features, n_outputs)


def _listed_network(p: Parameters, n_features: int, n_outputs: int) -> Sequential:
    """The entries of `layers`, as a recipe has them; before layers of images, rows of X are made images."""
    layers = listed_layers(parse_settings({"layers": p["layers"]}, "The estimator"), n_outputs)
    if not takes_images(layers):
        return Sequential(*layers)
    shape = p["image_shape"] or square_image_shape(n_features)
    if shape is None or math.prod(shape) != n_features:
        raise UsageError(
            f"layers has layers of images, image_shape is {p['image_shape']!r}, and X has {n_features} features: "
            "give image_shape=(rows, columns) or (rows, columns, channels), whose product they are. None stands "
            "for square grey images of 8 x 8 pixels or more."
        )
    return Sequential(reshape_to_images(shape), *layers)


def _plain_network(p: Parameters, n_features: int, n_outputs: int) -> Sequential:
    """Dense layers with scikit-learn's initial distribution: uniform by Glorot's limit, the biases too.

    The limit is sqrt(6 / (fan_in + fan_out)), or sqrt(2 / ...) for logistic units (Glorot and Bengio,
    Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010, eq. 16).
    """
    activation = make_activation(p["activation"])
    factor = 2.0 if activation == ACTIVATIONS["sigmoid"]() else 6.0
    sizes = [n_features, *hidden_sizes(p["hidden_layer_sizes"]), n_outputs]
    limits = [Uniform(math.sqrt(factor / (a + b))) for a, b in pairwise(sizes)]
    dense = [Dense(units, limit, bias_init=limit) for units, limit in zip(sizes[1:], limits, strict=True)]
    given, rates = p["normalization"], [0.0, *[p["dropout"]] * (len(dense) - 1)]
    normalization = None if given is None else pick("normalization", given, NORMALIZATIONS)
    return Sequential(*mlp_layers(dense, activation, normalization, rates))


def hidden_sizes(value: Any) -> list[int]:
    """The units of each hidden layer, of a number or an array of them; UsageError for anything else."""
    try:
        sizes = np.atleast_1d(np.asarray(value)).tolist()
    except ValueError:  # lists of unequal lengths
        sizes = [None]
    if not all(map(_is_count, sizes)):
        raise UsageError(
            f"hidden_layer_sizes is {value!r} and must be the number of units of each hidden layer, whole numbers "
            "from 1, such as (100, 50). A loss is given by its name: loss='squared_error'. A list of layers "
            "is given as layers=['conv 8 3x3', ...]."
        )
    return sizes


@dataclass(frozen=True)
class EpsilonHatAdam(Adam):
    """w <- w - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), the Adam of scikit-learn and Keras.

    This eps is the "epsilon hat" of the paper's section 2. It is added to sqrt(v), and that of `Adam` to sqrt(v^),
    so it acts as an eps of `Adam` of eps / sqrt(1 - b2^t).
    """

    def step_scalars(self, t: int, lr: float) -> dict[str, float]:
        """Return Adam's scalars and eps / sqrt(1 - beta2^t)."""
        scalars = super().step_scalars(t, lr)
        return {**scalars, "eps": self.eps * scalars["correction"]}

    def kernel_args(self, scalars: dict[str, Any]) -> tuple[Any, ...]:
        """Return Adam's, with the step's eps."""
        return *super().kernel_args(scalars)[:-1], scalars["eps"]


def make_optimizer(p: Parameters) -> Optimizer:
    """The optimizer that `solver` names, with the parameters that belong to it, or the optimizer itself."""
    if isinstance(p["solver"], Optimizer):
        return p["solver"]
    momentum = Nesterov if p["nesterovs_momentum"] else Momentum
    solvers: dict[str, Callable[[], Optimizer]] = {
        "adam": lambda: EpsilonHatAdam(p["beta_1"], p["beta_2"], p["epsilon"]),
        "sgd": lambda: momentum(p["momentum"]) if p["momentum"] else SGD(),
    }
    return pick("solver", p["solver"], solvers, "an Optimizer")()


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """lr / (n_samples + 1)^power_t, with the samples seen before the epoch under way."""

    lr: float
    power_t: float
    n_samples: int
    steps_per_epoch: int

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        return self.lr / (step // self.steps_per_epoch * self.n_samples + 1) ** self.power_t


@dataclass(frozen=True)
class StartAt(Schedule):
    """`schedule` from `first_step` on, as if that were its step 0."""

    schedule: Callable[[int], float]
    first_step: int

    def __call__(self, step: int) -> float:
        """The learning rate of a step."""
        return self.schedule(step - self.first_step)


def make_lr(p: Parameters, n_samples: int, batch_size: int, first_step: int) -> float | Callable[[int], float]:
    """The learning rate of a run on `n_samples` samples, which begins at `first_step`.

    "adaptive" is done by `Convergence`; as in scikit-learn, only "sgd" has rates that change by `learning_rate`.
    """
    lr, epoch = p["learning_rate_init"], steps_per_epoch(n_samples, batch_size)
    if callable(p["schedule"]):
        return StartAt(p["schedule"], first_step)
    if p["schedule"] is not None:
        return StartAt(parse_schedule(p["schedule"], lr, p["max_iter"] * epoch, epoch), first_step)
    words = {word: word for word in ("constant", "invscaling", "adaptive")}
    if pick("learning_rate", p["learning_rate"], words) == "invscaling" and p["solver"] == "sgd":
        return InverseScaling(lr, p["power_t"], n_samples, epoch)
    return lr
