"""The figures of a finished run, and what a checkpoint says of its run beside its arrays."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any

import msgspec

from nnbackprop.data.background import background_of, some_images
from nnbackprop.data.digit import is_mnist_like
from nnbackprop.errors import DivergedError
from nnbackprop.training.callbacks import EarlyStopping
from nnbackprop.training.trainer import Trainer

from . import build
from .config import Config
from .run_data import RunData
from .trainer_checkpoint import CheckpointInfo


def checkpoint_info(config: Config, data: RunData) -> dict[str, Any]:
    """What a checkpoint says beside its arrays."""
    train = data.train
    info = CheckpointInfo(
        version=version("nnbackprop"),
        fingerprint=data.fingerprint,
        n_features=train.n_features,
        classes=train.classes,
        max_input=float(train.inputs.max()),
        image_shape=train.image_shape,
        settings={**config.fixed_settings, **config.changes(math.inf)},
        input_dtype=str(train.inputs.dtype),
        n_outputs=build.n_outputs(config, train),
        preprocessing=train.preprocessing,
        background=background_of(some_images(train)) if train.image_shape else (),
        mnist_like=is_mnist_like(train),
    )
    return msgspec.to_builtins(info)


def summarise(config: Config, trainer: Trainer, early_stopping: EarlyStopping, data: RunData) -> dict[str, Any]:
    """The figures of a finished run; losses and metrics in evaluation mode, with the weights it ends with.

    DivergedError if a loss is NaN or infinite.
    """
    p = trainer.progress
    samples = (p.epoch - 1) * len(data.train) + p.samples_seen
    figures: dict[str, float | None] = {}
    known: tuple[str, ...] = ()
    for name, part in data.parts.items():
        score = trainer.evaluate_distributed(part) if part else None
        if score and not math.isfinite(score.loss):
            raise DivergedError.evaluating(p.step, f"on the {name} part after the last step", score.loss)
        measured = {"loss": score.loss, **score.metrics} if score else dict.fromkeys(known)
        known = tuple(measured)  # of the training part, which is there and comes first
        figures |= {f"{name}_{metric}": measured[metric] for metric in known}
    return {
        "recipe": config.recipe,
        "backend": trainer.backend.name,
        "device": trainer.backend.device,
        "dtype": config.dtype,
        "seed": config.seed,
        "parameters": sum(row.parameters for row in trainer.layer_table),
        "epochs": p.epoch - 1,
        "steps": p.step,
        "best_epoch": early_stopping.best_epoch or None,
        "reason": trainer.stop_reason,
        **figures,
        "seconds": p.seconds,
        "samples_per_second": samples / p.seconds if p.seconds else None,
    }
