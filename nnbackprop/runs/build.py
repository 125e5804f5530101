"""The network, loss, optimizer and trainer that a configuration describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from inspect import signature
from typing import Any, TypeVar

from backends import Backend
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling, fit_scaling
from nnbackprop.distributed.communicator import Communicator, SingleProcess
from nnbackprop.distributed.sharding import ShardedTraining
from nnbackprop.errors import UsageError
from nnbackprop.nn.augmentation import Augmentation
from nnbackprop.nn.initializers import parse_initializer
from nnbackprop.nn.layers import ACTIVATIONS, Dense, Layer
from nnbackprop.nn.losses import LOSS_PARAMETERS, LOSSES, Loss
from nnbackprop.nn.mlp import NORMALIZATIONS, mlp_layers
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import OPTIMIZERS, ExponentialMovingAverage, GradientClipping, Optimizer
from nnbackprop.optim.schedules import Piecewise, Schedule, parse_schedule
from nnbackprop.training import batch_schedule
from nnbackprop.training.callbacks import ReduceLROnPlateau
from nnbackprop.training.trainer import Trainer

from .config import Config
from .layer_list import parse_layers, reshape_to_images, takes_images

T = TypeVar("T")

MOMENTUM_NAMES = {"momentum": "momentum", "nesterov": "momentum", "adam": "beta1", "adamw": "beta1"}
"""What an optimizer calls its momentum."""


def _by_name(table: Mapping[str, T], name: str, flag: str) -> T:
    if name not in table:
        raise UsageError(f"--{flag} {name!r} is not known. Choose one of {', '.join(table)}.")
    return table[name]


def network(config: Config, n_outputs: int, image_shape: Sequence[int] | None = None) -> Sequential:
    """The layers a configuration describes, ending in `n_outputs` outputs.

    Those of images get the rows of a data set of `image_shape`, (rows, columns) or (rows, columns, 3), as images.
    """
    if not config.layers:
        return _mlp(config, n_outputs)
    layers = listed_layers(config, n_outputs)
    return Sequential(*([reshape_to_images(image_shape)] if takes_images(layers) else []), *layers)


def listed_layers(config: Config, n_outputs: int | None) -> Sequence[Layer]:
    """Those of `layers`; without a number of outputs the last layer must give its own."""
    return parse_layers(config.layers, n_outputs, parse_initializer(config.init), config.bias)


def _mlp(config: Config, n_outputs: int) -> Sequential:
    activation = _by_name(ACTIVATIONS, config.activation, "activation")
    output_activation = _by_name(ACTIVATIONS, config.output_activation, "output-activation")
    init = parse_initializer(config.init)
    hidden_bias = config.bias and config.norm != "batch"  # whose mean takes a bias off again
    dense = [*(Dense(units, init, hidden_bias) for units in config.hidden), Dense(n_outputs, init, config.bias)]
    normalization = None if config.norm is None else NORMALIZATIONS[config.norm]
    layers = mlp_layers(dense, activation(), normalization, dropout_rates(config))
    return Sequential(*layers, *([] if config.output_activation == "identity" else [output_activation()]))


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


LOSS_OF_TASK = {
    "classification": "softmax-cross-entropy",
    "regression": "mse",
    "multilabel": "binary-cross-entropy",
}


def resolve_task(config: Config, train: Dataset) -> Config:
    """The configuration with what `train` decides: target and task of a table, and the loss where it is auto."""
    if train.target_names:
        config = replace(config, target=train.target_names, task=train.task)
    if config.loss == "auto":
        config = replace(config, loss=LOSS_OF_TASK[train.task])
    if not train.classes and loss(config).takes_labels:
        raise UsageError(
            f"--loss {config.loss} is for classes and the task of {train.source} is {train.task}: give "
            f"--loss {LOSS_OF_TASK[train.task]}, or --loss auto, or train by the recipe `table`."
        )
    if not train.classes and config.target_values != (0, 1):
        raise UsageError(
            f"--target-values stand for classes and the task of {train.source} is {train.task}, whose targets are "
            "numbers: leave it out."
        )
    check_outputs(config)
    return config


def check_outputs(config: Config) -> None:
    """UsageError where the loss, what it is compared with and the outputs do not go together.

    A loss that is auto is checked by `resolve_task`.
    """
    if config.n_outputs == 1 and "softmax" in (config.output_activation, config.loss.partition("-")[0]):
        raise UsageError(
            "A softmax over --n-outputs 1 is always 1: use binary-cross-entropy, or one output a class."
        )
    if config.loss == "auto":
        return
    built = loss(config)
    if built.gives_probabilities and config.output_activation != "identity":
        raise UsageError(
            f"--loss {config.loss} takes logits, of which it makes probabilities itself, and --output-activation "
            f"{config.output_activation} comes before it: leave it at identity, or use --loss mse."
        )
    if built.takes_labels and config.target_values != (0, 1):
        raise UsageError(
            f"--target-values would do nothing with --loss {config.loss}, which takes labels: leave it out, or "
            "use --loss mse or binary-cross-entropy."
        )


def n_outputs(config: Config, train: Dataset) -> int:
    """Outputs of the network: one a class or a number, unless the configuration says how many."""
    return config.n_outputs or len(train.classes) or train.targets.shape[1]


def loss(config: Config) -> Loss:
    """The loss, with its own parameter, label smoothing and target values; UsageError for one that it has not."""
    name = config.loss.partition(":")[0]
    make = _by_name(LOSSES, name, "loss")
    options: dict[str, float] = {}
    if ":" in config.loss:
        options[LOSS_PARAMETERS.get(name, "")] = _loss_parameter(config.loss)
    if config.target_values != (0, 1) and config.loss != "softmax-cross-entropy":
        options |= dict(zip(("off_value", "on_value"), config.target_values, strict=True))
    if config.label_smoothing:
        options["label_smoothing"] = config.label_smoothing
    for flag, option in (("target-values", "off_value"), ("label-smoothing", "label_smoothing")):
        if option in options and option not in signature(make).parameters:
            takers = [taker for taker, other in LOSSES.items() if option in signature(other).parameters]
            raise UsageError(
                f"--{flag} goes with {', '.join(takers)}, and not with {config.loss}: leave it out, or choose one "
                "of those."
            )
    return make(**options)


def _loss_parameter(spec: str) -> float:
    """The number of a loss such as huber:1.5; UsageError where there is none, or the loss takes none."""
    name, _, number = spec.partition(":")
    try:
        if name in LOSS_PARAMETERS:
            return float(number)
    except ValueError:
        pass
    raise UsageError(
        f"--loss {spec} cannot be: a number follows huber, as in huber:1.5 (its delta), and pinball, as in "
        "pinball:0.9 (its quantile), and no other loss."
    )


def optimizer(config: Config) -> Optimizer:
    """The optimizer, with what is around it; momentum and decay reach the ones that have them."""
    optimizer_class = _by_name(OPTIMIZERS, config.optimizer, "optimizer")
    options: dict[str, Any] = {}
    if config.momentum is not None:
        name = MOMENTUM_NAMES.get(config.optimizer)
        if name is None:
            raise UsageError(
                f"--momentum goes with momentum, nesterov, adam and adamw (their beta1), not with "
                f"{config.optimizer}: use --optimizer momentum, or leave it out."
            )
        options[name] = config.momentum
    if config.optimizer == "adamw":
        options["weight_decay"] = config.weight_decay
    made = optimizer_class(**options)
    if config.clip_norm is not None or config.clip_value is not None:
        made = GradientClipping(made, norm=config.clip_norm, value=config.clip_value)
    return ExponentialMovingAverage(made, config.ema) if config.ema else made


def penalty(config: Config) -> WeightPenalty | None:
    """The weight penalty, or None where both coefficients are zero."""
    if not (config.l1 or config.l2):
        return None
    return WeightPenalty(l1=config.l1, l2=config.l2, biases=config.penalize_biases)


def augmentation(config: Config) -> Augmentation | None:
    """The random transformations of training images, or None where there are none."""
    return Augmentation(*config.augment, half_angle_classes=config.augment_half_angle) if config.augment else None


def batch_size(config: Config, samples: int) -> int:
    """Samples a step, of `samples` in all; `auto` is the power of two up to 1/500 of them, in 16 .. 1024."""
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
    if config.lr == "auto":
        raise UsageError(
            "lr is auto, which nnbackprop train finds as a run begins: here, give --lr a number, such as one that "
            "nnbackprop lr-find suggests."
        )
    steps = steps_per_epoch(config, samples)
    total = (config.schedule_epochs or config.epochs) * steps
    schedule, _ = split_schedule(config.schedule)
    first = parse_schedule(schedule, config.lr, total, steps)
    if not config.lr_changes:
        return first
    later = (parse_schedule(schedule, lr, total, steps) for _, lr in config.lr_changes)
    return Piecewise((first, *later), tuple(step for step, _ in config.lr_changes))


def split_schedule(text: str) -> tuple[str, ReduceLROnPlateau | None]:
    """A configuration's schedule of steps, and what reduces the learning rate by epochs, where it says so.

    Until reduce-on-plateau:5:0.1 first does, the rate is constant; after a warm-up with warmup:500+ before it.
    """
    *before, last = text.split("+")
    name, *numbers = last.split(":")
    names = [part.partition(":")[0] for part in before]
    if "reduce-on-plateau" not in (*names, name):
        return text, None
    if name != "reduce-on-plateau" or {*names} - {"warmup"}:
        raise UsageError(
            f"The schedule {text!r} cannot be: reduce-on-plateau is the last, and only a warm-up goes before it, "
            "as in warmup:500+reduce-on-plateau:5:0.1."
        )
    try:
        patience, factor = numbers
        plateau = ReduceLROnPlateau(patience=int(patience), factor=float(factor))
    except ValueError as error:
        raise UsageError(
            f"The schedule {text!r} cannot be: reduce-on-plateau:EPOCHS:FACTOR takes a whole number of epochs and "
            "a factor between 0 and 1, as in reduce-on-plateau:5:0.1."
        ) from error
    return "+".join([*before, "constant"]), plateau


def plateau_callbacks(config: Config) -> tuple[ReduceLROnPlateau, ...]:
    """What reduces the learning rate by epochs, where the schedule says so."""
    _, plateau = split_schedule(config.schedule)
    return () if plateau is None else (plateau,)


def objective(config: Config, n_outputs: int, image_shape: Sequence[int] | None = None) -> Objective:
    """Network, loss and penalty; all that a trained network needs of them."""
    return Objective(network(config, n_outputs, image_shape), loss(config), penalty(config))


def scaling(config: Config, train: Dataset) -> Scaling:
    """The scaling of inputs, and of targets that are numbers, fitted to the training part."""
    if train.task != "regression" or config.target_scale == "none":
        return fit_scaling(config.scale, train)
    # where outputs are logarithms, what they stand for stays positive
    return fit_scaling(config.scale, train, "mean" if loss(config).link == "log" else "standard")


def trainer(config: Config, backend: Backend, train: Dataset, scaling: Scaling) -> Trainer:
    """A trainer for `config`, ready to fit; its callbacks are the run's."""
    built = Trainer(
        network(config, n_outputs(config, train), train.image_shape),
        loss(config),
        optimizer(config),
        learning_rate(config, len(train)),
        backend=backend,
        dtype="float32" if config.dtype == "tf32" else config.dtype,
        scaling=scaling,
        penalty=penalty(config),
        augment=augmentation(config),
        batch_size=batch_size(config, len(train)),
        epochs=config.epochs,
        shuffle=config.shuffle,
        seed=config.seed,
        resident=config.resident,
    )
    built.set_options(config=asdict(config))
    if config.dropout_changes:
        built.set_dropout_rates(config.dropout_changes[-1][1])
    if (config.shards or 1) > 1:
        built.use_sharding(sharding(config, SingleProcess()))
    return built


def sharding(config: Config, communicator: Communicator) -> ShardedTraining:
    """How batches are cut and shared out among processes."""
    return ShardedTraining(config.shards or 1, communicator, config.sync_batchnorm)
