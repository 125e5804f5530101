"""From words to things: the network, loss, optimizer and trainer that a configuration describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from backends import Backend
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import UsageError
from nnbackprop.nn.initializers import initializer
from nnbackprop.nn.layers import ACTIVATIONS, BatchNorm, Dense, Dropout, Layer, LayerNorm
from nnbackprop.nn.losses import LOSSES, Loss
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import OPTIMIZERS, Optimizer, clip_by_global_norm, clip_by_value
from nnbackprop.optim.schedules import Schedule, schedule
from nnbackprop.training import batch_schedule
from nnbackprop.training.step import Clip, Objective
from nnbackprop.training.trainer import Trainer

from .callbacks import SaveEvery
from .config import Config, read

T = TypeVar("T")

NORMS: dict[str, type[Layer]] = {"batch": BatchNorm, "layer": LayerNorm}

MOMENTUM = {"momentum": "momentum", "nesterov": "momentum", "adam": "beta1", "adamw": "beta1"}
"""What an optimizer calls its momentum."""


def pick(table: Mapping[str, T], word: str, flag: str) -> T:
    """The entry `word` of a table; UsageError lists the words there are."""
    if word not in table:
        raise UsageError(f"--{flag} {word!r} is not known. Choose one of {', '.join(table)}.")
    return table[word]


def network(config: Config, outputs: int) -> Sequential:
    """The layers a configuration describes, ending in `outputs` outputs."""
    return Sequential(*_layers(config, outputs))


def _layers(config: Config, outputs: int) -> Iterator[Layer]:
    activation = pick(ACTIVATIONS, config.activation, "activation")
    output = pick(ACTIVATIONS, config.output, "output")
    weights = initializer(config.init)
    dense = partial(Dense, weights=weights) if config.bias else partial(Dense, weights=weights, bias=None)
    of_input, *of_hidden = dropout_rates(config)
    if of_input:
        yield Dropout(of_input)
    for units, rate in zip(config.hidden, of_hidden, strict=True):
        layer = dense(units)
        yield replace(layer, bias=None) if config.norm == "batch" else layer  # its mean takes a bias off again
        if config.norm is not None:
            yield NORMS[config.norm]()
        yield activation()
        if rate:
            yield Dropout(rate)
    yield dense(outputs)
    if config.output != "identity":
        yield output()


def dropout_rates(config: Config) -> Sequence[float]:
    """The rate of the input, then of each hidden layer."""
    rates, hidden = config.dropout, len(config.hidden)
    if len(rates) <= 1:
        return (0.0, *(rates or (0.0,)) * hidden)
    if len(rates) == hidden + 1:
        return rates
    raise UsageError(
        f"There are {len(rates)} dropout rates ({' '.join(map(str, rates))}) for {hidden} hidden layers: give "
        f"--dropout one rate for all hidden layers (0 for none), or {hidden + 1}, the first for the input."
    )


def loss(config: Config) -> Loss:
    """The loss, with label smoothing and target values where it takes any."""
    kind = pick(LOSSES, config.loss, "loss")
    options: dict[str, float] = {}
    if config.targets != (0, 1) and config.loss != "softmax-cross-entropy":
        options |= dict(zip(("off", "on"), config.targets, strict=True))
    if config.label_smoothing:
        options["label_smoothing"] = config.label_smoothing
    try:
        return kind(**options)
    except TypeError:
        raise UsageError(
            f"--label-smoothing goes with softmax-cross-entropy and binary-cross-entropy, not with {config.loss}: "
            "there, use --targets 0.1 0.9."
        ) from None


def optimizer(config: Config) -> Optimizer:
    """The optimizer; momentum and decay reach the ones that have them."""
    kind = pick(OPTIMIZERS, config.optimizer, "optimizer")
    options: dict[str, Any] = {}
    if config.momentum is not None:
        name = MOMENTUM.get(config.optimizer)
        if name is None:
            raise UsageError(
                f"--momentum goes with momentum, nesterov, adam and adamw (their beta1), not with "
                f"{config.optimizer}: use --optimizer momentum, or leave it out."
            )
        options[name] = config.momentum
    if config.optimizer == "adamw":
        options["weight_decay"] = config.weight_decay
    return kind(**options)


def check(config: Config) -> None:
    """UsageError if a word means nothing or parts do not go together: found before any data is read."""
    if config.loss not in ("mse", "half-mse") and config.output != "identity":
        raise UsageError(
            f"--loss {config.loss} takes logits and --output {config.output} comes before it, so twice: "
            "leave the output at identity, or use --loss mse."
        )
    if config.outputs == 1 and "softmax" in (config.output, config.loss.partition("-")[0]):
        raise UsageError(
            "A softmax over --outputs 1 is always 1: use binary-cross-entropy, or one output a class."
        )
    off, on = config.targets
    if not off < on or (config.loss == "binary-cross-entropy" and not (off >= 0 and on <= 1)):
        raise UsageError(
            f"--targets {off:g} {on:g} cannot be: the wrong class's comes first and is less, and "
            "binary-cross-entropy takes probabilities, 0 to 1."
        )
    if config.deterministic and config.threads not in (None, 1):
        raise UsageError(
            f"--deterministic is one thread, as products add up in another order on more, and --threads "
            f"{config.threads} was asked for: leave one of the two out."
        )
    for flag, idle in (
        (
            "targets with softmax-cross-entropy",
            config.targets != (0, 1) and config.loss == "softmax-cross-entropy",
        ),
        ("weight-decay without adamw", config.weight_decay != 0.01 and config.optimizer != "adamw"),
        ("penalize-biases without l1 or l2", config.penalize_biases and not (config.l1 or config.l2)),
    ):
        if idle:
            raise UsageError(f"--{flag} would do nothing: leave it out, or give what it goes with.")
    network(config, config.outputs or 2), loss(config), optimizer(config), penalty(config), clipping(config)
    learning_rate(config, 10**6), SaveEvery.parse(config.save_every), config.image_size


def penalty(config: Config) -> WeightPenalty | None:
    """The weight penalty, or None where both coefficients are zero."""
    if not (config.l1 or config.l2):
        return None
    return WeightPenalty(l1=config.l1, l2=config.l2, biases=config.penalize_biases)


@dataclass(frozen=True)
class Clipping:
    """Gradients limited by value, then by global norm, each where it is asked for."""

    norm: float | None
    value: float | None

    def __call__(self, xp: Any, grads: Any) -> Any:
        """Clipped gradients."""
        if self.value is not None:
            grads = clip_by_value(xp, grads, self.value)
        return grads if self.norm is None else clip_by_global_norm(xp, grads, self.norm)


def clipping(config: Config) -> Clip | None:
    """Gradient clipping, or None where no limit is set."""
    if config.clip_norm is None and config.clip_value is None:
        return None
    return Clipping(config.clip_norm, config.clip_value)


def batch_size(config: Config, samples: int) -> int:
    """Samples a step, of `samples` there are; `auto` is the power of two up to 1/500 of them, in 16 .. 1024."""
    if config.batch_size == "full":
        return samples
    if config.batch_size == "auto":
        return min(samples, 1 << min(10, max(4, (samples // 500).bit_length() - 1)))
    return min(config.batch_size, samples)


def steps_per_epoch(config: Config, samples: int) -> int:
    """Steps that see each of `samples` training samples once."""
    return batch_schedule.steps_per_epoch(samples, batch_size(config, samples))


def learning_rate(config: Config, samples: int) -> Schedule:
    """The schedule over all steps of a run on `samples` training samples."""
    steps = steps_per_epoch(config, samples)
    return schedule(config.schedule, config.lr, (config.schedule_epochs or config.epochs) * steps, steps)


def objective(config: Config, outputs: int) -> Objective:
    """What is minimised: for a trained network too, which needs no trainer."""
    return Objective(network(config, outputs), loss(config), penalty(config))


def trainer(config: Config, backend: Backend, train: Dataset, scaling: Scaling) -> Trainer:
    """A trainer for `config`, ready to fit; its callbacks are the run's."""
    return Trainer(
        network(config, config.outputs or len(train.classes)),
        loss(config),
        optimizer(config),
        learning_rate(config, len(train)),
        backend=backend,
        dtype="float32" if config.dtype == "tf32" else config.dtype,
        scaling=scaling,
        penalty=penalty(config),
        clip=clipping(config),
        batch_size=batch_size(config, len(train)),
        epochs=config.epochs,
        shuffle=config.shuffle,
        seed=config.seed,
        resident=config.resident,
    )


def dropout_remark(config: Config, recipe: str, overrides: Mapping[str, Any]) -> dict[str, str]:
    """What a run's header says where `config` has the recipe's dropout fitted to other hidden layers."""
    own = read(recipe).get("dropout", [])
    if "dropout" in overrides or list(config.dropout) == own:
        return {}
    before, fitted = (" ".join(f"{rate:g}" for rate in rates) or "none" for rates in (own, config.dropout))
    return {"dropout": f"the recipe's {before}, fitted to --hidden: {fitted}"}


def description(config: Config) -> dict[str, str]:
    """What a run's header says of its configuration."""
    penalties = "".join(f", {name} {value:g}" for name, value in (("L1", config.l1), ("L2", config.l2)) if value)
    hidden = "-".join(map(str, config.hidden)) or "no"
    dropout = f", dropout {' '.join(f'{rate:g}' for rate in config.dropout)}" if any(config.dropout) else ""
    norm = "" if config.norm is None else f", {config.norm} normalization"
    schedule = "" if config.schedule == "constant" else f", {config.schedule}"
    return {
        "recipe": config.recipe,
        "network": f"{hidden} hidden units, {config.activation}{norm}{dropout}",
        "loss": config.loss + penalties,
        "optimizer": f"{config.optimizer}, learning rate {config.lr:g}{schedule}",
    }
