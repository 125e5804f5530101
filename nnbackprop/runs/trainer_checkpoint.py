"""What a checkpoint of a trainer holds: made of its `state_dict`, and put back into it for an exact resume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from nnbackprop.data.dataset import Dataset
from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import RunFolderError
from nnbackprop.training.callbacks import EarlyStopping
from nnbackprop.training.progress import Progress
from nnbackprop.training.trainer import Trainer

from .checkpoint import Checkpoint, flatten, unflatten
from .config import Config
from .settings import with_current_names

T = TypeVar("T")
Count = Annotated[int, Meta(ge=0)]


NAMES_IN_FILES = {
    "n_features": "features",
    "max_input": "highest",
    "n_outputs": "outputs",
    "background": "ground",
    "mnist_like": "digits",
}
"""Fields of `CheckpointInfo` that have another name in files, which keep the names of earlier versions."""


class CheckpointInfo(Struct, frozen=True, rename=NAMES_IN_FILES):
    """What a checkpoint says of its run: of the data enough to use the weights without it, and its settings."""

    version: str
    fingerprint: str  # of the samples
    n_features: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    classes: tuple[str, ...]  # none where the targets are numbers
    max_input: float  # of the training data
    image_shape: Annotated[tuple[Count, ...], Meta(min_length=2, max_length=3)] | None
    settings: dict[str, Any]
    input_dtype: str = ""  # of the data; older checkpoints do not say
    n_outputs: Count = 0  # of the network; 0 is one a class
    preprocessing: Preprocessing | None = None  # of a table
    background: tuple[float, ...] = ()  # of images, a value for each channel
    mnist_like: bool = False  # whether the images are digits of MNIST's kind


class BestSoFar(Struct, frozen=True, rename={"wait": "waited"}):
    """Which epoch's weights were the best when a checkpoint was taken, 0 for none.

    Earlier versions wrote the loss of none as Infinity, which is no JSON.
    """

    epoch: Count
    loss: float | None
    wait: Count


def make_last_checkpoint(trainer: Trainer, early_stopping: EarlyStopping, meta: Mapping[str, Any]) -> Checkpoint:
    """Everything as it stands after the last step, the best weights so far, and `meta` beside it."""
    state = trainer.state_dict()
    arrays = {**flatten(state["params"], "params"), **flatten(state["optimizer"], "optimizer")}
    if early_stopping.best_params is not None:
        arrays |= flatten(early_stopping.best_params, "best")
    best_loss = early_stopping.best_loss if early_stopping.best_epoch else None
    best = msgspec.to_builtins(BestSoFar(early_stopping.best_epoch, best_loss, early_stopping.wait))
    meta = {**meta, "progress": state["progress"], "best": best}
    return Checkpoint(arrays | scaling_arrays(trainer.scaling), meta)


def make_best_checkpoint(trainer: Trainer, early_stopping: EarlyStopping, meta: Mapping[str, Any]) -> Checkpoint:
    """The best weights so far, or the last where nothing was validated."""
    params = trainer.host_params() if early_stopping.best_params is None else early_stopping.best_params
    meta = {**meta, "best": {"epoch": early_stopping.best_epoch or trainer.progress.epoch - 1}}
    return Checkpoint(flatten(params, "params") | scaling_arrays(trainer.scaling), meta)


def restore(trainer: Trainer, early_stopping: EarlyStopping, train: Dataset, checkpoint: Checkpoint) -> None:
    """Put a trainer where `checkpoint` was taken by `make_last_checkpoint`, the best weights so far with it."""
    progress = progress_of(checkpoint)
    best = _typed(checkpoint.meta.get("best"), BestSoFar)
    if progress.samples_seen > len(train):
        raise RunFolderError(
            f"The checkpoint is {progress.samples_seen} samples into an epoch, and there are {len(train)}: it was "
            "written for other data. Resume from checkpoints/last.safetensors of the run's own folder."
        )
    template = trainer.network.empty_params(train.sample_shape, trainer.params_dtype)
    params = unflatten(template, checkpoint.arrays, "params")  # before initial weights are drawn
    best_params = unflatten(template, checkpoint.arrays, "best") if best.epoch else None
    if trainer.state is None:
        trainer.initialize(train)
    optimizer = unflatten(trainer.state["optimizer"], checkpoint.arrays, "optimizer")
    trainer.load_state_dict({"params": params, "optimizer": optimizer, "progress": progress.to_dict()})
    early_stopping.restore(best.epoch, math.inf if best.loss is None else best.loss, best.wait, best_params)


def with_eval_params(checkpoint: Checkpoint) -> Checkpoint:
    """One of `make_last_checkpoint` with the parameters to evaluate by: their average, where it has one."""
    average = "optimizer/average/"  # of an `ExponentialMovingAverage`
    arrays = checkpoint.arrays
    params = {f"params/{n.removeprefix(average)}": array for n, array in arrays.items() if n.startswith(average)}
    return replace(checkpoint, arrays=arrays | params)


def info_of(checkpoint: Checkpoint) -> CheckpointInfo:
    """What a checkpoint says of its run; RunFolderError if that is missing or makes no sense."""
    return _typed(checkpoint.meta, CheckpointInfo)


def progress_of(checkpoint: Checkpoint) -> Progress:
    """Where a checkpoint's run was; RunFolderError if that is missing or makes no sense."""
    try:
        return Progress.from_dict(checkpoint.meta.get("progress") or {"step": None})
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise _not_a_run(error) from error


def check_settings(checkpoint: Checkpoint, config: Config, path: Path, source: Path) -> None:
    """RunFolderError unless the checkpoint at `path` was trained by `config`, which `source` holds."""
    settings = with_current_names(info_of(checkpoint).settings)
    saved = Config().fixed_settings | settings  # a setting added since has its default
    present = config.fixed_settings
    if "progress" in checkpoint.meta:  # the best weights do not say of which step they are
        step = progress_of(checkpoint).step
        present |= config.changes(step)
        for name in ("lr_changes", "dropout_changes"):
            saved[name] = [list(change) for change in settings.get(name, ()) if change[0] < step]
    for name, value in present.items():
        if saved[name] != value:
            raise RunFolderError(
                f"{source} has {name} = {value!r}, and {path} was trained with {saved[name]!r}: the two do not "
                "belong together. Put back the file that was changed, or train anew."
            )


def scaling_of(checkpoint: Checkpoint) -> Scaling:
    """The scaling that a checkpoint's weights were trained with; RunFolderError if there is none."""
    info = info_of(checkpoint)
    try:
        return read_scaling(checkpoint.arrays, (info.n_features,), info.n_outputs)
    except ValueError as error:
        raise RunFolderError(
            f"The checkpoint cannot be used, as {error}: it holds weights alone, or was written by another "
            "version. Use one of a run folder."
        ) from error


def read_scaling(arrays: Mapping[str, np.ndarray], shape: tuple[int, ...], n_outputs: int) -> Scaling:
    """What `scaling_arrays` gave, for samples of `shape`; ValueError for arrays that do not fit."""
    scale, shift = arrays.get("scaling/scale"), arrays.get("scaling/shift")
    if scale is None or shift is None or scale.shape not in ((), shape) or shift.shape not in ((), shape):
        raise ValueError("it has no scaling of its inputs, or one of another number of features")
    target_scale, target_shift = arrays.get("target_scaling/scale"), arrays.get("target_scaling/shift")
    if target_scale is None or target_shift is None:
        return Scaling(scale, shift)
    if not (target_scale.shape == target_shift.shape == (n_outputs,) and np.all(target_scale != 0)):
        raise ValueError("its scaling of targets is of another number of outputs")
    return Scaling(scale, shift, Scaling(target_scale, target_shift))


def scaling_arrays(scaling: Scaling) -> dict[str, np.ndarray]:
    """The arrays of a scaling by their names in a checkpoint."""
    arrays = {"scaling/scale": scaling.scale, "scaling/shift": scaling.shift}
    if (target := scaling.target_scaling) is None:
        return arrays
    return arrays | {"target_scaling/scale": target.scale, "target_scaling/shift": target.shift}


def _typed(meta: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(meta, kind)
    except msgspec.ValidationError as error:
        raise _not_a_run(error) from error


def _not_a_run(error: Exception) -> RunFolderError:
    return RunFolderError(
        f"The checkpoint does not say where its run was ({error}): it holds weights alone, or was written by "
        "another version. Resume from checkpoints/last.safetensors of a run folder."
    )
