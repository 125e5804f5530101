"""The learning-rate range test of a configuration, and the learning rate that `--lr auto` takes from it."""

from __future__ import annotations

from dataclasses import replace

from backends import Backend
from nnbackprop.errors import UsageError
from nnbackprop.training.lr_finder import LRFinderResult, lr_find

from . import build
from .config import Config
from .run_data import RunData
from .transfer import transfer


def find_lr(config: Config, backend: Backend, data: RunData, steps: int | None = None) -> LRFinderResult:
    """A range test on the training part, from initial weights; its learning rates replace the schedule."""
    config = build.resolve_task(config, data.train)
    trainer = build.trainer(replace(config, lr=1.0), backend, data.train, build.scaling(config, data.train))
    trainer.initialize(data.train)
    transfer(trainer, config, data.train)
    return lr_find(trainer, data.train, steps)


def resolve_lr(config: Config, backend: Backend, data: RunData) -> Config:
    """`config` with a number in the place of `--lr auto`: a tenth of the rate of the least loss, to two digits.

    UsageError where no learning rate makes the loss fall.
    """
    if config.lr != "auto":
        return config
    found = find_lr(config, backend, data).minimum_over_ten
    if found is None:
        raise UsageError(
            "--lr auto found no learning rate at which the loss falls: nnbackprop doctor looks for the reason in "
            "data and network. To train all the same, give --lr a number."
        )
    return replace(config, lr=float(f"{found:.2g}"))
