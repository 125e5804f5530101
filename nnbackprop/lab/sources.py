"""The code behind the numbers of "step through": functions of this package from a fixed list, with their lines."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from nnbackprop.nn.layers import ELU, Dense, Identity, LeakyReLU, ReLU, SiLU, Softplus, Tanh, activations
from nnbackprop.nn.losses import MeanSquaredError
from nnbackprop.nn.losses.classification import SigmoidBinaryCrossEntropy, cross_entropy
from nnbackprop.optim import OPTIMIZERS

from .breaking import PLANTS

PACKAGE = Path(__file__).parents[2]

FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, str | tuple[str, ...]]]] = {
    "sum": (Dense.forward, {"sum": ("matmul", '+= params["b"]')}),
    "backward": (
        Dense.backward,
        {
            "weightGradient": 'grads = {"W"',
            "biasGradient": ("ones = ", 'grads["b"] ='),
            "activationSlope": "return xp.matmul",
        },
    ),
    "activation.identity": (Identity.forward, {}),
    "activation.relu": (ReLU.forward, {}),
    "activation.leaky-relu": (LeakyReLU.forward, {}),
    "activation.elu": (activations.elu, {}),
    "activation.gelu": (activations.gelu, {}),
    "activation.silu": (SiLU.forward, {}),
    "activation.softplus": (activations.log_one_plus_exp, {}),
    "activation.tanh": (Tanh.forward, {}),
    "activation.sigmoid": (activations.logistic, {}),
    "slope.identity": (Identity.vjp, {}),
    "slope.relu": (activations.relu_vjp, {}),
    "slope.leaky-relu": (LeakyReLU.vjp, {}),
    "slope.elu": (ELU.vjp, {}),
    "slope.gelu": (activations.gelu_vjp, {}),
    "slope.silu": (activations.silu_vjp, {}),
    "slope.softplus": (Softplus.vjp, {}),
    "slope.tanh": (activations.tanh_vjp, {}),
    "slope.sigmoid": (activations.sigmoid_vjp, {}),
    "loss.mse": (MeanSquaredError.__call__, {"loss": "xp.sum(e * e)"}),
    "loss.half-mse": (MeanSquaredError.__call__, {"loss": "xp.sum(e * e)"}),
    "loss.binary-cross-entropy": (SigmoidBinaryCrossEntropy.__call__, {"loss": "(1 / n)"}),
    "loss.softmax-cross-entropy": (cross_entropy, {"loss": "xp.where"}),
    "probability.binary-cross-entropy": (activations.sigmoid, {}),
    "probability.softmax-cross-entropy": (activations.softmax, {}),
}
"""By what the page asks for; then the lines that compute a kind of number, by texts in them."""


@cache
def sources() -> dict[str, dict[str, Any]]:
    """Every function that a number or a planted mistake names: file, line, code, and lines by kind of number."""
    found = {name: _marked(function, marks) for name, (function, marks) in FUNCTIONS.items()}
    for name, optimizer in OPTIMIZERS.items():
        letters = "mv"[-len(optimizer.state_names) :] if optimizer.state_names else ""
        states: dict[str, str | tuple[str, ...]] = {f"state{k}": f"{a} = " for k, a in enumerate(letters)}
        found[f"optimizer.{name}"] = _marked(optimizer.kernel, {"update": "return ", **states})
    for name, plant in PLANTS.items():
        found[f"mistake.{name}"] = _marked(plant.loss or plant.layer, {})
    return found


def source_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Where a function of this package is, and its text."""
    code, line = inspect.getsourcelines(function)
    path = Path(inspect.getsourcefile(function) or "").relative_to(PACKAGE)
    return {
        "file": path.as_posix(),
        "line": line,
        "function": function.__qualname__,
        "code": textwrap.dedent("".join(code)),
    }


def _marked(function: Any, marks: dict[str, str | tuple[str, ...]]) -> dict[str, Any]:
    """The source, with the places of the lines that have one of the texts, counted from 0, by kind."""
    source = source_of(function)
    lines = source["code"].splitlines()
    source["marks"] = {
        kind: [k for k, line in enumerate(lines) if any(text in line for text in _all(texts))]
        for kind, texts in marks.items()
    }
    return source


def _all(texts: str | tuple[str, ...]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else texts
