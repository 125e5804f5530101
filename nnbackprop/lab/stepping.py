"""One training step of a small network, line by line: each number, its equation, and the code that made it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from nnbackprop.diagnostics.gradcheck.central_differences import partial_derivatives
from nnbackprop.diagnostics.gradcheck.function import INPUT, NetworkFunction
from nnbackprop.diagnostics.gradcheck.gradcheck import TOLERANCE
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers import Dense, Sigmoid, Softmax
from nnbackprop.nn.layers.activations import sigmoid, softmax
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import one_hot
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.rng import RngKey
from nnbackprop.nn.trace import LayerTrace

from . import breaking, small_networks
from .breaking import PlantedLayer, PlantedLoss, planted
from .messages import Check, Step
from .small_networks import SmallNetwork
from .sources import source_of, sources

LABELS = re.compile(r"\s*\(derivation, ((?:D\d+(?:,\s)?)+)\)")


def options() -> dict[str, Any]:
    """What can be stepped through."""
    return {**small_networks.options(), "mistakes": breaking.mistakes(), "sources": sources()}


def step(request: Step) -> dict[str, Any]:
    """The lines of a step and what it gives; with a mistake planted where one is named."""
    right = SmallNetwork.of(request)
    small = planted(right, request.mistake)
    x, labels = _samples(right, request.samples)
    params = right.params(request.seed, request.params)
    state = right.optimizer_state(params, request.optimizer_state)
    xp, lines = small.backend.xp, []
    with np.errstate(over="ignore", under="ignore"):
        trace = small.network.trace(xp, params, x)
        lines += [_forward(layer) for layer in trace.layers]
        t = small.loss.encode_targets(xp, trace.y, labels)
        J, dy = small.loss(xp, trace.y, t)
        rows = t if t.ndim == 2 else one_hot(xp, t, trace.y.shape[1], np.float64)
        lines.append(_loss(xp, small.loss, trace.y, rows, J, dy))
        grads = list(params)
        for layer, dy_of_layer, dx, own in trace.backward(xp, dy):
            grads[layer.path[0]] = own
            lines.append(_backward(layer, dy_of_layer, dx, own))
        new_params, new_state = right.update(params, tuple(grads), state, request.t)
        lines += _update(right, params, tuple(grads), new_params)
    named = right.named(tuple(grads))
    return {
        **_echo(request, right),
        "params": right.named(params),
        "x": x,
        "targets": rows,
        "labels": [right.samples.names[i] for i in request.samples],
        "steps": lines,
        "loss_value": float(J),
        "y": trace.y,
        "gradients": named,
        "next": {
            "params": right.named(new_params),
            "optimizer_state": {name: right.named(tree) for name, tree in dict(new_state).items()} or None,
            "t": request.t + 1,
        },
        "check": None if request.check is None else _check(right, params, x, labels, named, request.check),
    }


def _echo(request: Step, small: SmallNetwork) -> dict[str, Any]:
    """The settings, with those that were left out filled in."""
    return {
        "network": small.name,
        "sizes": [small.samples.inputs.shape[1], small.architecture.hidden, small.architecture.outputs],
        "activation": small.activation,
        "output_activation": small.output_activation,
        "loss": small.loss_name,
        "optimizer": request.optimizer,
        "lr": request.lr,
        "seed": request.seed,
        "t": request.t,
        "mistake": request.mistake,
        "samples": request.samples,
    }


def _samples(small: SmallNetwork, places: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    samples = small.samples
    if max(places) >= len(samples.labels):
        raise UsageError(f"There is no sample {max(places)}: the data has {len(samples.labels)}, counted from 0.")
    rows = list(places)
    return samples.inputs[rows], samples.labels[rows]


def _forward(trace: LayerTrace) -> dict[str, Any]:
    layer = _inner(trace.layer)
    if isinstance(layer, Dense):
        described, outputs = describe(Dense.forward), {"z": trace.y}
    else:
        described, outputs = describe(_activation_function(layer), _doc(layer)), {"y": trace.y}
    return _line("forward", trace, described, {"x": trace.x, **trace.params}, outputs)


def _loss(xp: Any, loss: Any, y: Any, t: Any, J: Any, dy: Any) -> dict[str, Any]:
    inner = loss.wrapped if isinstance(loss, PlantedLoss) else loss
    described = describe(type(inner).__call__)
    if isinstance(loss, PlantedLoss):
        described = _with_mistake(described, loss.wrong)
    head = {"phase": "loss", "layer": "loss", "kind": type(inner).__name__}
    p = {"p": inner.predictions(xp, y)} if inner.gives_probabilities else {}  # of logits
    return {**head, **described, "inputs": {"y": y, "t": t}, "outputs": {"J": float(J), **p, "dy": dy}}


def _backward(trace: LayerTrace, dy: Any, dx: Any, grads: dict[str, Any]) -> dict[str, Any]:
    layer = _inner(trace.layer)
    outputs = {"dx": dx}
    if isinstance(layer, Dense):
        described, inputs = describe(Dense.backward), {"x": trace.x, "W": trace.params["W"], "dz": dy}
        outputs = {**{f"d{name}": g for name, g in grads.items()}, "dx": dx}
    else:
        described, inputs = describe(type(layer).vjp, _doc(layer), 1), {"dy": dy, "x": trace.x, "y": trace.y}
    if isinstance(trace.layer, PlantedLayer):
        described = _with_mistake(described, trace.layer.wrong)
    return _line("backward", trace, described, inputs, outputs)


def _update(small: SmallNetwork, params: Params, grads: Params, new: Params) -> list[dict[str, Any]]:
    kernel = type(small.optimizer).kernel
    lines = []
    for (name, layer, p), (*_, g), (*_, after) in zip(
        *(list(small.network.named_layers(tree)) for tree in (params, grads, new)), strict=True
    ):
        if p:
            inputs = {**p, **{f"d{key}": value for key, value in g.items()}, "lr": small.lr}
            head = {"phase": "update", "layer": name, "kind": type(layer).__name__}
            lines.append({**head, **describe(kernel), "inputs": inputs, "outputs": after})
    return lines


def _line(
    phase: str, trace: LayerTrace, described: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Any]
) -> dict[str, Any]:
    head = {"phase": phase, "layer": trace.name, "kind": type(_inner(trace.layer)).__name__}
    return {**head, **described, "inputs": inputs, "outputs": outputs}


def _doc(layer: Any) -> str:
    return type(layer).__doc__ or ""


def _inner(layer: Any) -> Any:
    return layer.wrapped if isinstance(layer, PlantedLayer) else layer


def _activation_function(layer: Any) -> Callable[..., Any]:
    """The function whose docstring states the equation: two activations have one outside of their class."""
    functions: dict[type, Callable[..., Any]] = {Sigmoid: sigmoid, Softmax: softmax}
    return functions.get(type(layer), type(layer).forward)


def _with_mistake(described: dict[str, Any], wrong: Callable[..., Any]) -> dict[str, Any]:
    """The planted code in the place of the right one; the equation that it departs from stays."""
    planted_code = describe(wrong)
    return {**described, "formula": planted_code["formula"], "source": planted_code["source"]}


@cache
def describe(function: Callable[..., Any], layer_doc: str = "", clause: int = 0) -> dict[str, Any]:
    """Equation, formula and source of a function, out of its docstring; else out of a clause of its layer's."""
    text = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    found = LABELS.search(text)
    formula = LABELS.sub("", text)
    if layer_doc and (not text or clause == 0):
        clauses = layer_doc.split("\n\n")[0].split(";")
        formula = " ".join(clauses[min(clause, len(clauses) - 1)].split())
    equation = found[1] if found else None
    return {"equation": equation, "formula": formula.rstrip("."), "source": source_of(function)}


def _check(
    small: SmallNetwork, params: Params, x: np.ndarray, labels: np.ndarray, analytic: dict[str, Any], check: Check
) -> dict[str, Any]:
    """The derivative by one parameter, by the central difference of the gradient check."""
    tensors = {**small.named(params), INPUT: x}
    if check.tensor not in analytic or len(check.index) != analytic[check.tensor].ndim:
        raise UsageError(f"There is no parameter {check.tensor[:50]!r} with {len(check.index)} indices.")
    shape = analytic[check.tensor].shape
    if any(i >= n for i, n in zip(check.index, shape, strict=True)):
        raise UsageError(f"{check.tensor} is of shape {shape}, and {list(check.index)} lies beyond it.")
    backend = small.backend
    key = RngKey(0, backend.asarray(np.zeros((), np.int32)))
    function = NetworkFunction(backend, Objective(small.network, small.loss), params, labels, None, key)
    place = int(np.ravel_multi_index(check.index, shape))
    found = partial_derivatives(function.value, tensors, check.tensor, [place], TOLERANCE)
    a, d = float(analytic[check.tensor][check.index]), float(found.values[0])
    scale = max(abs(a), abs(d))
    return {
        "tensor": check.tensor,
        "index": check.index,
        "analytic": a,
        "numerical": d,
        "relative_error": abs(a - d) / scale if scale else 0.0,
        "passed": bool(abs(a - d) <= max(TOLERANCE * scale, found.noise)),
    }
