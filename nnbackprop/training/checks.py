"""What options, data, outputs and parameters cannot be; each check raises an error that says what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from backends import Backend, Tree, leaves, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import DataError, DivergedError, InitialValueError, ShapeError, UsageError
from nnbackprop.nn.layers.base import Layer, Params
from nnbackprop.nn.losses import Loss, SoftmaxCrossEntropy
from nnbackprop.nn.mixed_precision import HALF_DTYPES
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Optimizer

from .callbacks import Callback
from .events import LayerRow, Score

if TYPE_CHECKING:
    from .progress import Progress
    from .trainer import Trainer

DTYPES = ("float32", "float64", *HALF_DTYPES)


def check_options(trainer: Trainer) -> None:
    """UsageError for an option of a trainer that cannot be right."""
    t = trainer
    if not isinstance(t.network, Sequential):
        raise UsageError(
            f"A Trainer trains a Sequential and got {t.network!r}: nb.Trainer(nb.Sequential(...), ...)."
        )
    if t.dtype not in DTYPES:
        raise UsageError(f"dtype is {t.dtype!r} and must be one of {', '.join(DTYPES)}.")
    for name, (is_right, needed) in _needed_options(t).items():
        if not is_right:
            value = getattr(t, name)
            hint = f" Write {value.__name__}(), with parentheses." if isinstance(value, type) else ""
            raise UsageError(f"{name} is {value!r} and must be {needed}.{hint}")
    if t.epochs < 1 or (t.batch_size is not None and t.batch_size < 1):
        raise UsageError(
            f"epochs and batch_size count from 1, and are {t.epochs} and {t.batch_size}; a batch_size of None is "
            "the full batch."
        )
    if not callable(t.lr) and not (isinstance(t.lr, Real) and 0 < t.lr < math.inf):
        raise UsageError(
            f"lr is {t.lr!r} and must be a finite number above 0, or a schedule: a step goes against the gradient."
        )
    if t.resident not in ("auto", "yes", "no"):
        raise UsageError(f"resident is {t.resident!r} and must be auto, yes or no.")


def _needed_options(t: Trainer) -> dict[str, tuple[bool, str]]:
    """Whether each option is of its kind, and words for that kind; losses and the like may be a user's own."""
    batch_size: Any = t.batch_size
    callbacks: Any = t.callbacks
    return {
        "loss": (_has(t.loss, "encode_targets", "predictions"), "a loss, such as nb.SoftmaxCrossEntropy()"),
        "optimizer": (isinstance(t.optimizer, Optimizer), "an optimizer, such as nb.Adam()"),
        "backend": (isinstance(t.backend, Backend), 'a backend, such as nb.select("numpy")'),
        "scaling": (isinstance(t.scaling, Scaling), 'a scaling, such as nb.fit_scaling("standard", data.train)'),
        "penalty": (
            t.penalty is None or _has(t.penalty, "add_gradients"),
            "None or a penalty, such as nb.WeightPenalty(l2=1e-4)",
        ),
        "augment": (
            t.augment is None or _has(t.augment, "for_images"),
            'None or an augmentation, such as nb.Augmentation("rotate 15", "shift 2")',
        ),
        "epochs": (_is_whole(t.epochs), "a whole number"),
        "batch_size": (batch_size is None or _is_whole(batch_size), "a whole number, or None for the full batch"),
        "seed": (_is_whole(t.seed) and t.seed >= 0, "a whole number of at least 0"),
        "callbacks": (
            isinstance(callbacks, Sequence) and all(isinstance(c, Callback) for c in callbacks),
            "a list of callbacks, such as [nb.EarlyStopping(patience=5)]",
        ),
    }


def _has(value: Any, *methods: str) -> bool:
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in methods)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_params(params: Params, given: Params) -> None:
    """ShapeError unless `given` has the structure and the shapes of `params`."""
    needed, got = (tree_map(np.shape, tree) for tree in (params, given))
    if needed != got:
        raise ShapeError(
            f"The parameters have the shapes {got} and this network's have {needed}: pass what "
            "host_params() gave, of the same network."
        )


def check_state_dict(saved: Mapping[str, Any], params: Params, optimizer: Tree) -> None:
    """UsageError or ShapeError unless `saved` is what `state_dict` gives of a trainer with such a state."""
    if not isinstance(saved, Mapping) or not {"params", "optimizer", "progress"} <= saved.keys():
        got = sorted(map(str, saved)) if isinstance(saved, Mapping) else type(saved).__name__
        raise UsageError(
            f"load_state_dict got {got} and needs params, optimizer and progress: pass what state_dict() gave; "
            "weights alone go to load_params."
        )
    check_params(params, saved["params"])
    needed, got = (tree_map(np.shape, state) for state in (optimizer, saved["optimizer"]))
    if needed != got:
        raise UsageError(
            f"load_state_dict got the state of another optimizer, arrays of shapes {got}, and this one's have "
            f"{needed}: build the trainer with the optimizer of that state; weights alone go to load_params."
        )
    from .progress import Progress  # which needs msgspec, and a step is measured without it

    try:
        Progress.from_dict(saved["progress"])
    except (TypeError, ValueError) as error:  # msgspec's is a ValueError
        raise UsageError(
            f"load_state_dict got a progress that is none ({error}): pass what state_dict() gave."
        ) from error


def raise_if_diverged(scores: Mapping[str, Score], progress: Progress) -> None:
    """DivergedError where the loss of an evaluation at the end of an epoch is NaN or infinite."""
    for score in scores.values():
        if not math.isfinite(score.loss):
            raise DivergedError.evaluating(progress.step, f"after epoch {progress.epoch}", score.loss)


def check_datasets(parts: Mapping[str, Any]) -> None:
    """UsageError unless the train part, and the others where they are given, are data sets."""
    for name, part in parts.items():
        if not isinstance(part, Dataset) and not (part is None and name != "train"):
            raise UsageError(
                f"fit got {type(part).__name__} as its {name} data and needs a Dataset: nb.Dataset(inputs, "
                "targets, classes), or a part of nb.load(...), as in fit(data.train, test=data.test)."
            )


def check_batches(trainer: Trainer, train: Dataset) -> None:
    """UsageError where a layer cannot take statistics of a batch: it has weights in shards, or a single sample.

    Of an image it can: each pixel is a value of its channel. The trainer must have been initialized.
    """
    network, sharding, n_samples = trainer.network, trainer.sharding, len(train)
    if sharding is not None and sharding.sync_batchnorm and network.has_buffers and train.weights is not None:
        raise UsageError(
            "sync_batchnorm takes the mean over the samples of a batch, and these have weights, of which a "
            "shard may have none: leave out the weights, or sync_batchnorm, or use LayerNorm."
        )
    batch_size = min(trainer.batch_size or n_samples, n_samples)
    if n_samples % batch_size != 1 and batch_size != 1:
        return
    for place in network.summary(trainer.sample_shape):
        if getattr(place.layer, "buffers", ()) and math.prod(place.in_shape[:-1]) == 1:
            raise UsageError(
                f"{n_samples} training samples in batches of {batch_size} leave a batch of 1, of which "
                f"{place.name} cannot take statistics: choose another batch size, or layer normalization."
            )


def check_outputs(layers: Sequence[LayerRow], train: Dataset, loss: Loss) -> None:
    """ShapeError unless the network's outputs fit the targets: one a class, or a single one for two classes."""
    last, n_classes = layers[-1], len(train.classes)
    if train.targets.ndim == 2:
        if last.out_shape != train.targets.shape[1:]:
            raise ShapeError(
                f"The last layer, {last.name}, gives outputs of shape {last.out_shape} and the data has "
                f"{train.targets.shape[1]} targets a sample: it must give ({train.targets.shape[1]},)."
            )
        if loss.takes_labels:
            raise UsageError(
                f"{type(loss).__name__} takes class labels (n,) and the data has targets of shape "
                f"{train.targets.shape}: use MeanSquaredError for numbers, SigmoidBinaryCrossEntropy for several "
                "labels at once."
            )
        if loss.link == "log" and (least := float(train.targets.min())) < 0:
            raise DataError(
                f"{train.source}: {type(loss).__name__} is for counts of at least 0 and the targets go down to "
                f"{least:g}: take MeanSquaredError, MeanAbsoluteError or Huber for such numbers."
            )
        return
    if n_classes < 2:
        raise DataError(
            f"All samples are of one class ({train.classes[0]}): there is nothing to tell apart. Add another."
        )
    if last.out_shape == (1,) and n_classes == 2 and isinstance(loss, SoftmaxCrossEntropy):
        raise ShapeError(
            f"The last layer, {last.name}, gives one output, of which a softmax is always 1: give one output a "
            "class, Dense(2), or take SigmoidBinaryCrossEntropy."
        )
    if last.out_shape != (n_classes,) and not (last.out_shape == (1,) and n_classes == 2):
        raise ShapeError(
            f"The last layer, {last.name}, gives outputs of shape {last.out_shape} and the data has {n_classes} "
            f"classes ({', '.join(train.classes[:12])}): it must give ({n_classes},), one output a class"
            + (", or (1,) for two classes." if n_classes == 2 else ".")
            + (" Whole numbers are class labels: for a regression give targets.astype(float)." * (n_classes > 20))
        )


def check_finite(network: Sequential, params: Params, dtype: str) -> None:
    """InitialValueError, naming the layer, unless all numbers of host arrays `params` are finite."""
    for name, _, wrong, size in _non_finite(network, params):
        raise InitialValueError(
            f"The parameters of layer {name} have {wrong} of {size} numbers that are NaN or infinite in {dtype}: "
            "load those of a training that did not diverge."
        )


def check_initial(network: Sequential, params: Params, dtype: str) -> None:
    """InitialValueError, naming the layer, if one begins with a number that is NaN or infinite."""
    for name, layer, wrong, size in _non_finite(network, params):
        raise InitialValueError(
            f"A parameter of layer {name} begins with {wrong} of {size} numbers that are NaN or infinite in "
            f"{dtype}, as {layer} drew them: begin with smaller ones, such as nb.He() (init='he-normal')."
        )


def _non_finite(network: Sequential, params: Params) -> Iterator[tuple[str, Layer, int, int]]:
    """Each parameter that holds NaN or infinity: its layer's name, the layer, how many, of how many numbers."""
    for name, layer, branch in network.named_layers(params):
        for values in leaves(branch):
            if wrong := int(np.count_nonzero(~np.isfinite(values))):
                yield name, layer, wrong, values.size
