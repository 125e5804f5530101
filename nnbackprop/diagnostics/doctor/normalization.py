"""Checks of normalization: its axes, its running statistics, and its place beside dropout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import getitem
from typing import Any, cast

import numpy as np

from backends import Array
from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding
from nnbackprop.nn.layers import BatchNorm, Dropout
from nnbackprop.nn.sequential import Sequential
from nnbackprop.nn.trace import LayerTrace

from .experiments import any_inputs, batch_axes, layer_output, normalized_axes, same, small, unknown_layers
from .learning import weight_change
from .probes import ModelProbe
from .start import baseline_loss

# Dropout of rate p makes the variance of ReLU's outputs 1.5 / (1 - p) - 0.5 times as large: 2.5 at p = 0.5, which
# trains (Li, Chen, Hu and Yang, CVPR 2019, who name it variance shift, lose by more, or by many layers of it).
MAX_VARIANCE_SHIFT = 3.0
MAX_MOMENTUM = 0.5  # the share of a new batch: more is hardly an average
MAX_LAG = 0.5  # of a constant guess's loss: what evaluation may lose by running statistics


def batchnorm_axis(probe: ModelProbe) -> CheckResult:
    """A batch normalization of one's own that takes its statistics over the wrong axes."""
    applies = any(isinstance(layer, BatchNorm) for _, layer in probe.objective.network.named_layers())
    for t in unknown_layers(probe):
        axes = normalized_axes(small(probe), t, probe.key)
        if axes is None or not (0 in axes or _has_buffers(t.layer) or _is_named_batchnorm(t.layer)):
            continue
        applies = True
        if axes != (right := batch_axes(t.x.shape)):
            return _wrong_axes(t, axes, right)
    return None if applies else NOT_APPLICABLE


def _has_buffers(layer: object) -> bool:
    return bool(getattr(layer, "buffers", ()))


def _is_named_batchnorm(layer: object) -> bool:
    name = type(layer).__name__.lower().replace("_", "")
    return "batchnorm" in name or name.startswith("bn")


def _wrong_axes(t: LayerTrace, axes: tuple[int, ...], right: tuple[int, ...]) -> Finding:
    channels, evidence = len(t.x.shape) - 1, f"{t.name} normalizes over {_named(axes)} of {_shape(t.x)}"
    fix = f"Take mean and variance over {_named(right)}: x.mean(axis={right if len(right) > 1 else right[0]}, "
    fix += "keepdims=True); or BatchNorm()."
    if 0 not in axes:
        cause = "Each sample is normalized by itself, as by layer normalization."
        cause = cause if _has_buffers(t.layer) else f"Likely a batch normalization, by its name. {cause}"
    elif channels in axes:
        cause = "Channels share a mean and a variance: the axes are those of channels first, or all."
    else:
        cause = "Each place of an image has statistics of its own; likely a channel's were meant, over all places."
    level = "warning" if 0 in axes and channels not in axes else "fault"
    return Finding("batchnorm-axis", level, evidence=f"{evidence}.", cause=cause, fix=fix)  # type: ignore[arg-type]


def _named(axes: tuple[int, ...]) -> str:
    return f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}"


def _shape(x: Array) -> str:
    return f"(n, {', '.join(map(str, x.shape[1:]))})"


def running_statistics(probe: ModelProbe) -> CheckResult:
    """Running statistics that no step updates, or that evaluation cannot do with."""
    few = small(probe)
    with_buffers = [t for t in few.trace(few.x, few.key).layers if _has_buffers(t.layer)]
    for t in with_buffers:
        xp, layer = few.backend.xp, cast(Any, t.layer)
        x = few.backend.asarray(any_inputs(t).astype(few.dtype))  # those of the network may have a mean of 0
        new = layer.new_buffers(xp, t.params, layer.forward(xp, t.params, x, few.key)[1])
        if kept := [name for name in layer.buffers if _equal(few, new[name], t.params[name])]:
            evidence = f"A training step of {t.name} leaves {' and '.join(kept)} as they were."
            return _never_updated(evidence, "new_buffers(xp, params, cache) gives the old values back.")
    for t in unknown_layers(probe):
        if names := _undeclared(few, t):
            evidence = (
                f"{t.name} evaluates by {' and '.join(names)}, and a training step gives them no new values."
            )
            declared = ", ".join(f'"{name}"' for name in names)
            fix = f"buffers = ({declared}{',' * (len(names) == 1)}) in the class, and new_buffers to update them."
            return _never_updated(evidence, "The class does not declare its running statistics.", fix)
    if not with_buffers:
        return NOT_APPLICABLE
    for t in with_buffers:
        if isinstance(t.layer, BatchNorm) and t.layer.momentum > MAX_MOMENTUM:
            return _last_batch_alone(t.name, t.layer.momentum)
    return _of_trained_weights(probe) if probe.trained is not None else None


def _never_updated(
    evidence: str, cause: str, fix: str = "(1 - momentum) * old + momentum * that of the batch."
) -> Finding:
    cause += " Evaluation then normalizes by what the layer began with."
    return Finding("running-statistics", "fault", evidence=evidence, cause=cause, fix=fix)


def _last_batch_alone(name: str, momentum: float) -> Finding:
    return Finding(
        "running-statistics",
        "warning",
        evidence=f"{name} has momentum={momentum:g}: its running statistics are {momentum:.0%} the last batch's.",
        cause="Likely Keras's momentum, the share of the old statistics: here it is that of the new batch.",
        fix=f"momentum={1 - momentum:.2g}" if momentum < 1 else "momentum=0.1",
    )


def _equal(probe: ModelProbe, a: Array, b: Array) -> bool:
    return bool(np.array_equal(probe.to_numpy(a), probe.to_numpy(b)))


def _undeclared(probe: ModelProbe, t: LayerTrace) -> list[str]:
    """Parameters without a gradient that are no buffers, and that matter in evaluation alone."""
    xp, x = probe.backend.xp, probe.to_numpy(t.x)
    y, cache = t.layer.forward(xp, t.params, t.x, probe.key)
    _, grads = t.layer.backward(xp, t.params, cache, xp.ones_like(y), True)
    names = []
    for name in sorted(t.params.keys() - grads.keys() - set(getattr(t.layer, "buffers", ()))):
        changed = replace(t, params={**t.params, name: t.params[name] * 2 + 1})
        trains, evaluates = (
            same(layer_output(probe, t, x, key), layer_output(probe, changed, x, key)) for key in (probe.key, None)
        )
        if trains and not evaluates:
            names.append(name)
    return names


def _of_trained_weights(probe: ModelProbe) -> Finding | None:
    """Statistics that are still the initial ones, or with which evaluation is far worse than with the batch's."""
    if not weight_change(probe) > 0:
        return None
    for t in probe.trace(probe.x).layers:
        names = getattr(t.layer, "buffers", ())
        initial: Any = reduce(getitem, t.path, probe.initial) if names else {}
        if names and all(_equal(probe, t.params[name], initial[name]) for name in names):
            evidence = f"After training {t.name} has the {' and '.join(names)} that it began with."
            cause = "Its running statistics are not updated: a training loop of your own leaves out new_buffers."
            fix = "params = replace_buffers(params, network.new_buffers(xp, params, caches)) after each step."
            return _never_updated(evidence, cause, fix)
    (loss, accuracy), (by_batch, same_by_batch) = (
        probe.loss_and_accuracy(probe.x),
        without_dropout(probe).loss_and_accuracy(probe.x, probe.key),
    )
    y = probe.trace(probe.x).y
    constant, _ = baseline_loss(probe.objective, probe.host_targets, y.shape[1]) or (by_batch, "")
    if not (loss > 2 * by_batch and loss - by_batch > MAX_LAG * constant):
        return None
    evidence = f"In evaluation the loss of {len(probe.dataset)} samples is {loss:.4g}"
    evidence += f", and with the batch's own statistics {by_batch:.4g}"
    if probe.dataset.classes:
        evidence += f" (accuracies {accuracy:.0%} and {same_by_batch:.0%})"
    return Finding(
        "running-statistics",
        "warning",
        evidence=f"{evidence}.",
        cause=(
            "The running statistics are not those of the network as it is: likely their momentum is too small for "
            "so few steps. It is the share of the new batch, 0.1 where Keras writes 0.9."
        ),
        fix="BatchNorm(momentum=0.1), more steps, or a smaller --lr at the end.",
    )


def without_dropout(probe: ModelProbe) -> ModelProbe:
    """The probe without its outermost dropout layers."""
    network = probe.objective.network
    kept = [i for i, layer in enumerate(network.layers) if not isinstance(layer, Dropout)]
    params = tuple(probe.params[i] for i in kept)
    objective = replace(probe.objective, network=Sequential(*(network.layers[i] for i in kept)))
    return replace(probe, objective=objective, trained=params)


def normalization_dropout_order(probe: ModelProbe) -> CheckResult:
    """Dropout that changes the variance batch normalization learns to divide by, or comes right after it."""
    layers = list(probe.objective.network.named_layers())
    is_norm = [isinstance(layer, BatchNorm) for _, layer in layers]
    dropped = [isinstance(layer, Dropout) for _, layer in layers]
    if not any(is_norm) or not any(dropped):
        return NOT_APPLICABLE
    if finding := _variance_shift(probe):
        return finding
    for i in range(1, len(layers)):
        if dropped[i] and is_norm[i - 1]:
            name, before = layers[i][0], layers[i - 1][0]
            return Finding(
                "normalization-dropout-order",
                "note",
                evidence=f"{name} follows {before} without an activation in between.",
                cause=(
                    f"After a normalization 0 is the mean, so that {name} sets units to their mean instead of "
                    "switching them off. Before ReLU that is the same as after it; before a sigmoid, or another "
                    "normalization, it is not."
                ),
                fix='The usual order: "batchnorm", "relu", "dropout 0.3".',
            )
    return None


def _variance_shift(probe: ModelProbe) -> Finding | None:
    worst, (name, shift) = MAX_VARIANCE_SHIFT, ("", 0.0)
    for layer, ratio in _variance_ratios(probe):
        if ratio > worst:
            worst, (name, shift) = ratio, (layer, ratio)
    if not name:
        return None
    return Finding(
        "normalization-dropout-order",
        "warning",
        evidence=f"With dropout on, the inputs of {name} have {shift:.3g} times the variance that they have "
        "without it (the median of its channels).",
        cause=(
            "Dropout comes before batch normalization: the running variance is that of training, and evaluation, "
            "without dropout, divides by too much (Li, Chen, Hu and Yang, Understanding the disharmony between "
            "dropout and batch normalization by variance shift, CVPR 2019)."
        ),
        fix="Put dropout after the last batch normalization, or lower its rate; layer normalization has no such "
        "statistics.",
    )


def _variance_ratios(probe: ModelProbe) -> Iterator[tuple[str, float]]:
    """For each batch normalization the variance of its inputs in training over that without dropout."""
    plain = without_dropout(probe)
    traces = (p.trace(p.x, p.key).layers for p in (probe, plain))
    inputs = ([t for t in layers if isinstance(t.layer, BatchNorm)] for layers in traces)
    for t, without in zip(*inputs, strict=True):
        drawn, still = (probe.to_numpy(x).reshape(-1, x.shape[-1]).var(axis=0) for x in (t.x, without.x))
        if (alive := still > 1e-6 * still.max()).any():
            yield t.name, float(np.median(drawn[alive] / still[alive]))
