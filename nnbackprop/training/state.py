"""A trainer's whole state as a checkpoint, and back: what is in here is what an exact resume needs."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from backends import tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import RunFolderError

from .checkpoints import Checkpoint, fill, flatten
from .progress import Progress
from .trainer import Trainer


def take_last(trainer: Trainer, meta: dict[str, Any]) -> Checkpoint:
    """Everything as it stands after the last step, and `meta` beside it."""
    on_device = {name: trainer.state[name] for name in ("params", "optimizer")}
    host = tree_map(trainer.backend.to_numpy, on_device)
    arrays = {**flatten(host["params"], "params"), **flatten(host["optimizer"], "optimizer")}
    if trainer.best.params is not None:
        arrays |= flatten(trainer.best.params, "best")
    best = {name: getattr(trainer.best, name) for name in ("epoch", "loss", "waited")}
    where = {"progress": asdict(trainer.progress), "best": best}
    return Checkpoint(arrays | _scaling(trainer.scaling), {**meta, **where})


def take_best(trainer: Trainer, meta: dict[str, Any]) -> Checkpoint:
    """The best weights so far, or the last where there is no validation part to judge by."""
    params = trainer.best.params or tree_map(trainer.backend.to_numpy, trainer.params)
    where = {"epoch": trainer.best.epoch or trainer.progress.epoch - 1}
    return Checkpoint(flatten(params, "params") | _scaling(trainer.scaling), {**meta, "best": where})


def restore(trainer: Trainer, train: Dataset, last: Checkpoint) -> None:
    """Put a trainer where `last` was taken, the best weights so far with it."""
    trainer.build(train)
    for name in ("params", "optimizer"):
        host = fill(trainer.state[name], last.arrays, name)
        trainer.state[name] = tree_map(trainer.backend.asarray, host)
    try:
        trainer.progress = Progress(**last.meta["progress"])
        found = last.meta["best"]
        where = {name: found[name] for name in ("epoch", "loss", "waited")}
        trainer.best = replace(trainer.best, **where, params=None)
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"The checkpoint does not say where its run was ({error}): it holds weights alone, or was written by "
            "another version. Resume from checkpoints/last.safetensors of a run folder."
        ) from error
    if trainer.best.epoch:
        trainer.best.params = fill(trainer.params, last.arrays, "best")
    trainer.forget_what_came_after()


def scaling_of(checkpoint: Checkpoint) -> Scaling:
    """The preprocessing a checkpoint's weights were trained with."""
    arrays = checkpoint.arrays
    return Scaling(arrays["scaling/scale"], arrays["scaling/shift"])


def _scaling(scaling: Scaling) -> dict[str, np.ndarray]:
    return {"scaling/scale": scaling.scale, "scaling/shift": scaling.shift}
