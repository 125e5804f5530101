"""A trainer's whole state as a checkpoint, and back: what is in here is what an exact resume needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct, structs

from backends import tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import RunFolderError
from nnbackprop.training.progress import Progress
from nnbackprop.training.trainer import Trainer

from .checkpoint import Checkpoint, fill, flatten
from .config import current

T = TypeVar("T")
Count = Annotated[int, Meta(ge=0)]


class About(Struct, frozen=True):
    """What a checkpoint says of its run: of the data enough to use the weights without it, and its settings."""

    version: str
    fingerprint: str
    features: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    classes: Annotated[tuple[str, ...], Meta(min_length=1)]
    highest: float  # input value of the training data
    image_shape: tuple[Count, Count] | None
    settings: dict[str, Any]


class BestSoFar(Struct, frozen=True):
    """Which epoch's weights were the best when a checkpoint was taken, 0 for none."""

    epoch: Count
    loss: float
    waited: Count


def take_last(trainer: Trainer, meta: dict[str, Any]) -> Checkpoint:
    """Everything as it stands after the last step, and `meta` beside it."""
    on_device = {name: trainer.state[name] for name in ("params", "optimizer")}
    host = tree_map(trainer.backend.to_numpy, on_device)
    arrays = {**flatten(host["params"], "params"), **flatten(host["optimizer"], "optimizer")}
    if trainer.best.params is not None:
        arrays |= flatten(trainer.best.params, "best")
    best = BestSoFar(trainer.best.epoch, trainer.best.loss, trainer.best.waited)
    where = {"progress": asdict(trainer.progress), "best": structs.asdict(best)}
    return Checkpoint(arrays | _scaling(trainer.scaling), {**meta, **where})


def take_best(trainer: Trainer, meta: dict[str, Any]) -> Checkpoint:
    """The best weights so far, or the last where there is no validation part to judge by."""
    params = trainer.best.params or tree_map(trainer.backend.to_numpy, trainer.params)
    where = {"epoch": trainer.best.epoch or trainer.progress.epoch - 1}
    return Checkpoint(flatten(params, "params") | _scaling(trainer.scaling), {**meta, "best": where})


def restore(trainer: Trainer, train: Dataset, last: Checkpoint) -> None:
    """Put a trainer where `last` was taken, the best weights so far with it."""
    where = progress_of(last)
    best = _typed(last.meta.get("best"), BestSoFar)
    if where.samples > len(train.targets):
        raise RunFolderError(
            f"The checkpoint is {where.samples} samples into an epoch, and there are {len(train.targets)}: it was "
            "written for other data. Resume from checkpoints/last.safetensors of the run's own folder."
        )
    fill(trainer.network.outline((train.features,), trainer.dtype), last.arrays, "params")  # before it is drawn
    trainer.build(train)
    for name in ("params", "optimizer"):
        host = fill(trainer.state[name], last.arrays, name)
        trainer.state[name] = tree_map(trainer.backend.asarray, host)
    trainer.progress = where
    kept = fill(trainer.params, last.arrays, "best") if best.epoch else None
    trainer.best = replace(trainer.best, **structs.asdict(best), params=kept)
    trainer.forget_what_came_after()


def about(checkpoint: Checkpoint) -> About:
    """What a checkpoint says of the data; RunFolderError if that is missing or makes no sense."""
    return _typed(checkpoint.meta, About)


def progress_of(checkpoint: Checkpoint) -> Progress:
    """Where a checkpoint's run was; RunFolderError if that is missing or makes no sense."""
    return _typed(checkpoint.meta.get("progress"), Progress)


def check_settings(checkpoint: Checkpoint, settings: Mapping[str, Any], path: Path, source: Path) -> None:
    """RunFolderError unless the checkpoint at `path` was trained with `settings`, which `source` holds."""
    then = current(about(checkpoint).settings)
    for name, value in settings.items():
        if name not in then or then[name] != value:
            raise RunFolderError(
                f"{source} has {name} = {value!r}, and {path} was trained with {then.get(name)!r}: the two do not "
                "belong together. Put back the file that was changed, or train anew."
            )


def scaling_of(checkpoint: Checkpoint) -> Scaling:
    """The preprocessing a checkpoint's weights were trained with; RunFolderError if there is none."""
    scale, shift = (checkpoint.arrays.get(f"scaling/{name}") for name in ("scale", "shift"))
    shapes = ((), (about(checkpoint).features,))
    if scale is None or shift is None or scale.shape not in shapes or shift.shape not in shapes:
        raise RunFolderError(
            "The checkpoint has no scaling of its inputs, or one of another number of features: it holds weights "
            "alone, or was written by another version. Use one of a run folder."
        )
    return Scaling(scale, shift)


def _scaling(scaling: Scaling) -> dict[str, np.ndarray]:
    return {"scaling/scale": scaling.scale, "scaling/shift": scaling.shift}


def _typed(found: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise RunFolderError(
            f"The checkpoint does not say where its run was ({error}): it holds weights alone, or was written by "
            "another version. Resume from checkpoints/last.safetensors of a run folder."
        ) from error
