"""What a run has come to: its figures, its pictures, and what a checkpoint says beside its arrays."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any

from msgspec import structs
from rich.console import Console
from rich.text import Text

from nnbackprop.diagnostics.nan_tracing import NotFinite
from nnbackprop.training.callbacks.base import Score
from nnbackprop.training.trainer import Trainer

from .config import Config
from .data_splits import DataSplits
from .run_dir import RunDir
from .trainer_state import About


def about(config: Config, parts: DataSplits) -> dict[str, Any]:
    """What a checkpoint says beside its arrays."""
    train = parts.train
    said = About(
        version=version("nnbackprop"),
        fingerprint=parts.fingerprint,
        features=train.features,
        classes=train.classes,
        highest=float(train.inputs.max()),
        image_shape=train.image_shape,
        settings=config.settled,
    )
    return structs.asdict(said)


def summarise(config: Config, trainer: Trainer, parts: DataSplits) -> dict[str, Any]:
    """The figures of a finished run; losses and accuracies in evaluation mode, with the weights it ends with."""
    p = trainer.progress
    samples = (p.epoch - 1) * len(parts.train.targets) + p.samples
    scores: dict[str, float | None] = {}
    for name in ("train", "validation", "test"):
        part = getattr(parts, name)
        score: Score | None = trainer.evaluate(part) if part else None
        if score and not math.isfinite(score.loss):
            words = f"After the last step the loss of the {name} part is {score.loss}"
            raise trainer.diverged(NotFinite(p.step, "watched", words, kept=False))
        scores[f"{name}_loss"] = score.loss if score else None
        scores[f"{name}_accuracy"] = score.accuracy if score else None
    return {
        "recipe": config.recipe,
        "backend": trainer.backend.name,
        "device": trainer.backend.device,
        "dtype": config.dtype,
        "seed": config.seed,
        "parameters": sum(row.parameters for row in trainer.layers),
        "epochs": p.epoch - 1,
        "steps": p.step,
        "best_epoch": trainer.best.epoch or None,
        "reason": trainer.stopped,
        **scores,
        "seconds": p.seconds,
        "samples_per_second": samples / p.seconds if p.seconds else None,
    }


def draw(folder: RunDir, trainer: Trainer, parts: DataSplits, console: Console) -> None:
    """The run's plots, judged on the test part or, where there is none, on the training part."""
    from nnbackprop.report.plots import draw_all

    judged = parts.test or parts.train
    probabilities = trainer.predict_proba(judged.inputs)
    predicted = trainer.predict(judged.inputs)
    weights = next((p["W"] for p in trainer.params if "W" in p), None)
    matrix = None if weights is None else trainer.backend.to_numpy(weights)
    for failed in draw_all(folder.plots, folder.rows(), matrix, judged, predicted, probabilities):
        console.print(Text(failed, style="yellow"), soft_wrap=True)
