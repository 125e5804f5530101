"""Trackio, by the logger of Weights & Biases, whose interface it has."""

from __future__ import annotations

from nnbackprop.runs.train import Run

from .wandb import WandbLogger

LIBRARY = "trackio"


def for_run(run: Run) -> WandbLogger:
    """`--log trackio`: a run called as the folder."""
    return WandbLogger(run.run_dir.path.name, library=LIBRARY)
