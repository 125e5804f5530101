"""A run trained again from its own configuration, to see whether what it has kept comes out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from . import assembly
from . import config as configuration
from .config import Config
from .errors import RunFolderError, UsageError
from .experiment import first_trainer, open_backend
from .outcome import summarise
from .parts import Parts
from .report.progress import progress
from .training import state
from .training.checkpoints import Checkpoint, load
from .training.events import ChunkEnd, Listener, TrainEnd
from .training.run_folder import RunFolder, environment
from .training.trainer import Trainer
from .verify.repetition import Figure, Repetition, Which, changes, figures, tensors


def replay(run: str, where: Mapping[str, Any], runs: Path, display: str, console: Console) -> Repetition:
    """Train a run again, as many steps as it had come to, and compare; nothing is written.

    `where` may name another backend, device and number of threads. UsageError if the run's configuration does not
    tell all that was done; DataError if its data is another now.
    """
    folder = RunFolder.open(runs, run)
    last = load(folder.checkpoint("last"))
    steps = _steps(folder, last)
    # what ended the run, the clock perhaps, is not asked again; a chunk ends where its last one did
    free = {"patience": None, "max_time": None, "doctor": False, "save_every": str(steps)}
    kept = configuration.of_run(folder.config)
    config = configuration.changed(kept, {**free, **where}, "The run to be trained again with the given flags")
    assembly.check(config)
    backend, parts = open_backend(config), Parts.load(config)
    parts.check(last.meta.get("fingerprint"), folder.checkpoint("last"))
    _check_rates(config, folder, len(parts.train), last)
    trainer = first_trainer(config, backend, parts)
    again = Until(trainer, steps)
    trainer.listeners = (again, progress(display, console))
    trainer.fit(parts.train, parts.validation, parts.test)
    return _compare(folder, config, last, again, parts)


@dataclass
class Until(Listener):
    """Ends a training after `steps` steps, and takes there what a run folder's checkpoints would hold."""

    trainer: Trainer
    steps: int
    taken: dict[Which, Checkpoint] = field(default_factory=dict)

    def chunk_end(self, event: ChunkEnd) -> None:
        """After the last chunk, stop."""
        if event.step == self.steps:
            self.trainer.stop("finished")

    def train_end(self, event: TrainEnd) -> None:
        """Before the best weights take the place of the last."""
        self.taken = {"last": state.take_last(self.trainer, {}), "best": state.take_best(self.trainer, {})}


def _steps(folder: RunFolder, last: Checkpoint) -> int:
    """How many steps a run had come to."""
    try:
        steps = int(last.meta["progress"]["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{folder.checkpoint('last')} does not say where its run was ({error}): it holds weights alone, or "
            "another version wrote it. Train the run anew, and replay that."
        ) from error
    if steps < 1:
        raise UsageError(f"{folder.path} has made no step yet: go on with it, by nnbackprop train --resume.")
    return steps


def _check_rates(config: Config, folder: RunFolder, samples: int, last: Checkpoint) -> None:
    """UsageError if a run's learning rates were not those of its configuration from its beginning on."""
    rate = last.meta["progress"].get("rate", 1.0)
    if rate != 1.0:
        raise UsageError(
            f"{folder.path} diverged and went on at {rate:g} of its learning rate from a checkpoint that its "
            "config.toml knows nothing of: train it anew with a lower --lr, and replay that."
        )
    schedule = assembly.learning_rate(config, samples)
    try:
        rates = [(row["epoch"], int(row["step"]), float(row["lr"])) for row in folder.rows()]
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{folder.metrics} holds a row without its step or learning rate ({error}): put back what was there."
        ) from error
    for epoch, step, lr in rates:
        now = schedule(step - 1)
        if not math.isclose(lr, now, rel_tol=1e-9):
            raise UsageError(
                f"The learning rate of epoch {epoch} was {lr:g} in {folder.path}, and by its "
                f"config.toml it is {now:g}: the run was resumed with other --epochs, which its schedule "
                f"{config.schedule} depends on, and cannot be trained again in one piece."
            )


def _compare(folder: RunFolder, config: Config, last: Checkpoint, again: Until, parts: Parts) -> Repetition:
    """The run's last weights with those taken again; of one that has ended the best and the figures too."""
    trainer = again.trainer
    kept: dict[Which, Checkpoint] = {"last": last}
    shown: tuple[Figure, ...] = ()
    if (summary := folder.read_json("summary.json")) is not None:
        kept["best"] = load(folder.checkpoint("best"))
        samples = {name: len(part) for name in ("train", "validation", "test") if (part := getattr(parts, name))}
        judge = "test" if parts.test else "train"
        shown = tuple(figures(summary, summarise(config, trainer, parts), samples, judge, config.dtype))
    return Repetition(
        run=folder.path,
        backend=trainer.backend.name,
        device=trainer.backend.device,
        dtype=config.dtype,
        steps=again.steps,
        tensors=tuple(
            row
            for which, checkpoint in kept.items()
            for row in tensors(which, trainer.network.names, checkpoint.arrays, again.taken[which].arrays)
        ),
        figures=shown,
        changes=tuple(changes(folder.read_json("env.json") or {}, environment(trainer.backend))),
    )
