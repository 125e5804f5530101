"""A run trained again from its own configuration, to see whether what it has kept comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console

from nnbackprop.errors import RunFolderError, UsageError
from nnbackprop.report.progress import progress
from nnbackprop.runs import build
from nnbackprop.runs import config as configuration
from nnbackprop.runs import trainer_state as state
from nnbackprop.runs.checkpoint import Checkpoint, load
from nnbackprop.runs.config import Config
from nnbackprop.runs.data_splits import DataSplits
from nnbackprop.runs.run_dir import RunDir, environment
from nnbackprop.runs.summary import summarise
from nnbackprop.runs.train import first_trainer, open_backend
from nnbackprop.training.callbacks.base import Callback, ChunkEnd, TrainEnd
from nnbackprop.training.trainer import Trainer

from .repetition import Figure, Repetition, Which, changes, figures, tensors


def replay(run: str, where: Mapping[str, Any], runs: Path, display: str, console: Console) -> Repetition:
    """Train a run again, as many steps as it had come to, and compare; nothing is written.

    `where` may name another backend, device and number of threads. UsageError if the run's configuration does not
    tell all that was done; DataError if its data is another now.
    """
    folder = RunDir.open(runs, run)
    last = load(folder.checkpoint("last"))
    steps = _steps(folder, last)
    # what ended the run, the clock perhaps, is not asked again
    free = {"patience": None, "max_time": None, "doctor": False, "save_every": None}
    kept = configuration.of_run(folder.config)
    config = configuration.changed(kept, {**free, **where}, "The run to be trained again with the given flags")
    build.check(config)
    state.check_settings(last, config.settled, folder.checkpoint("last"), folder.config)
    backend, parts = open_backend(config), DataSplits.load(config)
    parts.check(last.meta.get("fingerprint"), folder.checkpoint("last"))
    _check_rates(config, folder, len(parts.train), last)
    trainer = first_trainer(config, backend, parts)
    trainer.save_every = steps  # a chunk ends where the run's last one did
    trainer.epochs = -(-steps // build.steps_per_epoch(config, len(parts.train)))
    again = Until(trainer, steps)
    trainer.callbacks = (again, progress(display, console))
    trainer.fit(parts.train, parts.validation, parts.test)
    return _compare(folder, config, last, again, parts)


@dataclass
class Until(Callback):
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


def _steps(folder: RunDir, last: Checkpoint) -> int:
    """How many steps a run had come to."""
    steps = state.progress_of(last).step
    if steps < 1:
        raise UsageError(f"{folder.path} has made no step yet: go on with it, by nnbackprop train --resume.")
    summary = folder.read_json("summary.json")
    if summary is not None and summary.get("steps") != steps:
        raise RunFolderError(
            f"{folder.checkpoint('last')} is of step {steps} and summary.json beside it of step "
            f"{summary.get('steps')}: put back what was there."
        )
    return steps


def _check_rates(config: Config, folder: RunDir, samples: int, last: Checkpoint) -> None:
    """UsageError unless every step of a run had the learning rate of its configuration."""
    where = state.progress_of(last)
    if where.rate != 1.0:
        raise UsageError(
            f"{folder.path} diverged and went on at {where.rate:g} of its learning rate from a checkpoint that "
            "its config.toml knows nothing of: train it anew with a lower --lr, and replay that."
        )
    now = build.learning_rate(config, samples)
    unsaid = where.aims[0][0] if where.aims else where.step
    if unsaid and now != build.learning_rate(replace(config, epochs=config.epochs + 1), samples):
        raise UsageError(
            f"{folder.checkpoint('last')} does not say which --epochs its first {unsaid} steps were made with, "
            f"and its schedule {config.schedule} depends on them: another version wrote it. Train the run anew, "
            "and replay that."
        )
    for (begin, epochs), (end, _) in pairwise([*where.aims, (where.step, 0)]):
        _check_stretch(replace(config, epochs=epochs), config, folder, samples, range(begin, end))


def _check_stretch(then: Config, now: Config, folder: RunDir, samples: int, steps: range) -> None:
    """UsageError at the first of `steps` whose learning rate `now` is not that of `then`."""
    was, is_now = (build.learning_rate(config, samples) for config in (then, now))
    if was == is_now:
        return
    for step in steps:
        if was(step) != is_now(step):
            raise UsageError(
                f"The learning rate of step {step + 1} was {was(step):g} in {folder.path}, with --epochs "
                f"{then.epochs}, and by its config.toml, with {now.epochs}, it is {is_now(step):g}: the run was "
                f"resumed with other --epochs, which its schedule {now.schedule} depends on, and cannot be "
                "trained again in one piece. Train it anew, and replay that."
            )


def _compare(folder: RunDir, config: Config, last: Checkpoint, again: Until, parts: DataSplits) -> Repetition:
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
