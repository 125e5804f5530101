"""Replay: a run trained again from its own configuration and compared with what its folder keeps.

With the same backend, versions and machine every bit is the same. Otherwise sums are added up in another order. In
float64 that stays as small as rounding is; in float32 it grows from the first unit whose sign it decides, and only
the accuracy can be judged. docs/reproducibility.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from backends import Backend
from nnbackprop._json import json_values
from nnbackprop._system_info import cores, set_num_threads
from nnbackprop.errors import RunFolderError, UsageError
from nnbackprop.runs import build
from nnbackprop.runs.checkpoint import Checkpoint, load
from nnbackprop.runs.config import Config
from nnbackprop.runs.config_checks import check_config
from nnbackprop.runs.config_files import load_run_config
from nnbackprop.runs.header import describe_config
from nnbackprop.runs.run_data import RunData
from nnbackprop.runs.run_dir import RunDir, environment
from nnbackprop.runs.settings import with_changes
from nnbackprop.runs.summary import summarise
from nnbackprop.runs.train import initialized_trainer, open_backend
from nnbackprop.runs.trainer_checkpoint import (
    check_settings,
    make_best_checkpoint,
    make_last_checkpoint,
    progress_of,
)
from nnbackprop.training.callbacks import Callback, EarlyStopping
from nnbackprop.training.events import ChunkEnd, TrainEnd
from nnbackprop.training.progress import Progress
from nnbackprop.training.trainer import Trainer

from .replay_differences import (
    Change,
    CheckpointName,
    MetricDifference,
    WeightDifference,
    compare_environments,
    compare_metrics,
    compare_weights,
    thread_changes,
)

TOLERANCE = 1e-12
"""Of the relative difference of float64 weights trained in another environment."""


@dataclass(frozen=True)
class Replay:
    """A run's last weights and, where it has ended, its best weights and metrics, against those trained again."""

    run: Path
    backend: str
    device: str
    dtype: str
    steps: int
    tensors: tuple[WeightDifference, ...]
    metrics: tuple[MetricDifference, ...]
    changes: tuple[Change, ...]

    @property
    def exact(self) -> bool:
        """Whether every bit is the same."""
        return all(t.equal for t in self.tensors) and all(m.kept == m.again for m in self.metrics)

    @property
    def tolerance(self) -> float | None:
        """Largest relative difference of weights in another environment; None in float32, which is not judged."""
        return TOLERANCE if self.dtype == "float64" else None

    @property
    def passed(self) -> bool:
        """Whether the run is exact or, in another environment, within tolerance."""
        near = self.tolerance is None or all(t.relative <= self.tolerance for t in self.tensors)
        return self.exact or (bool(self.changes) and near and all(m.agrees for m in self.metrics))

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; a number that is not finite is null."""
        verdict = {"exact": self.exact, "tolerance": self.tolerance, "passed": self.passed}
        return dict(json_values({**asdict(self), **verdict}))


def replay(
    run: str,
    overrides: Mapping[str, Any],
    runs_dir: Path,
    display: Callable[[Mapping[str, str]], Callback] = lambda header: Callback(),
) -> Replay:
    """Train a run again for the steps it has made, and compare; nothing is written.

    `overrides` may name another backend, device and number of threads; `display` makes the callback that shows
    progress, from the lines of a run's header. UsageError if the run's configuration does not tell all that was
    done; DataError if its data has changed.
    """
    run_dir = RunDir.open(runs_dir, run)
    path = run_dir.checkpoint_path("last")
    last, summary, env = load(path), run_dir.read_json("summary.json"), run_dir.read_json("env.json") or {}
    steps = progress_of(last).step
    _check_steps(run_dir, steps, summary)
    config = _replay_config(run_dir, overrides)
    check_settings(last, config, path, run_dir.config_path)
    splits = RunData.load(config)
    splits.check(last.meta.get("fingerprint"), path)
    _check_learning_rates(config, run_dir, len(splits.train), progress_of(last))
    backend = _open_backend(config, env)
    trainer = initialized_trainer(replace(config, dropout_changes=()), backend, splits)
    stop = StopAtStep(steps)
    _train_again(trainer, config, splits, stop, display(describe_config(config)))
    _check_lr_factor(run_dir, progress_of(last), trainer.progress.lr_factor)
    kept: dict[CheckpointName, Checkpoint] = {"last": last}
    metrics: Iterable[MetricDifference] = ()
    if summary is not None:
        kept["best"] = load(run_dir.checkpoint_path("best"))
        again = summarise(config, trainer, stop.early_stopping, splits)
        samples = {name: len(part) for name, part in splits.parts.items() if part}
        metrics = compare_metrics(summary, again, samples, config.dtype)
    changes = compare_environments(env, environment(backend))
    return Replay(
        run=run_dir.path,
        backend=backend.name,
        device=backend.device,
        dtype=config.dtype,
        steps=steps,
        tensors=tuple(compare_weights(trainer, kept, stop.checkpoints)),
        metrics=tuple(metrics),
        changes=(*changes, *thread_changes(run_dir.read_metrics(), summary)),
    )


def _open_backend(config: Config, env: Mapping[str, Any]) -> Backend:
    """The backend of `config`, on as many threads as the run had, where the machine has them."""
    backend = open_backend(config)
    if not (config.threads or config.deterministic) and env.get("threads") in range(1, cores() + 1):
        set_num_threads(env["threads"])
    return backend


def _train_again(trainer: Trainer, config: Config, data: RunData, stop: StopAtStep, shown: Callback) -> None:
    """Train to the step at which `stop` ends it, with the dropout rates that each step had."""
    trainer.set_options(epochs=-(-stop.steps // build.steps_per_epoch(config, len(data.train))))
    deciding = (stop.early_stopping, *build.plateau_callbacks(config))
    for step, rates in config.dropout_changes:
        if trainer.progress.step < step < stop.steps:
            trainer.set_options(callbacks=(*deciding, StopAtStep(step, "interrupted"), shown))
            trainer.fit(data.train, data.validation, data.test)
        if step < stop.steps:
            trainer.set_dropout_rates(rates)
    trainer.set_options(callbacks=(*deciding, stop, shown))
    trainer.fit(data.train, data.validation, data.test)


def _replay_config(run_dir: RunDir, overrides: Mapping[str, Any]) -> Config:
    """The run's configuration without what ended it, such as the clock, which does not apply again."""
    unlimited = {"patience": None, "max_time": None, "doctor": False, "save_every": None}
    source = "The run to be trained again with the given flags"
    config = with_changes(load_run_config(run_dir.config_path), {**unlimited, **overrides}, source)
    check_config(config)
    return config


class StopAtStep(Callback):
    """Ends a training after `steps` steps and keeps what a run folder's checkpoints would hold then.

    With the reason "interrupted" the trainer keeps the weights of the last step.
    """

    def __init__(self, steps: int, reason: str = "finished") -> None:
        self.early_stopping, self.steps, self.reason = EarlyStopping(), steps, reason
        self.chunk_ends_every = steps  # a chunk ends where the run's last one did
        self.checkpoints: dict[CheckpointName, Checkpoint] = {}

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """After the last chunk, stop."""
        if event.step == self.steps:
            trainer.stop(self.reason)

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """Before the best weights take the place of the last."""
        last, best = (
            make_last_checkpoint(trainer, self.early_stopping, {}),
            make_best_checkpoint(trainer, self.early_stopping, {}),
        )
        self.checkpoints = {"last": last, "best": best}


def _check_steps(run_dir: RunDir, steps: int, summary: Mapping[str, Any] | None) -> None:
    if steps < 1:
        raise UsageError(
            f"{run_dir.path} has saved no step that could be compared: go on with it, by nnbackprop train "
            "--resume, or, where it diverged, train it anew with a lower --lr."
        )
    if summary is not None and summary.get("steps") != steps:
        raise RunFolderError(
            f"{run_dir.checkpoint_path('last')} is of step {steps} and summary.json beside it of step "
            f"{summary.get('steps')}: put back what was there."
        )


def _check_learning_rates(config: Config, run_dir: RunDir, samples: int, progress: Progress) -> None:
    """UsageError unless every step of a run had the learning rate of its configuration."""
    if not build.plateau_callbacks(config):
        _check_lr_factor(run_dir, progress, 1.0)
    now = build.learning_rate(config, samples)
    for (begin, epochs), (end, _) in pairwise([*progress.planned_epochs, (progress.step, 0)]):
        then = build.learning_rate(replace(config, epochs=epochs), samples)
        for step in range(begin, end) if then != now else ():
            if then(step) != now(step):
                raise UsageError(
                    f"The learning rate of step {step + 1} was {then(step):g} in {run_dir.path}, with --epochs "
                    f"{epochs}, and by its config.toml, with {config.epochs}, it is {now(step):g}: the run was "
                    f"resumed with other --epochs, which its schedule {config.schedule} depends on, and cannot be "
                    "trained again in one piece. Train it anew, and replay that."
                )


def _check_lr_factor(run_dir: RunDir, progress: Progress, configured: float) -> None:
    if progress.lr_factor != configured:
        raise UsageError(
            f"{run_dir.path} went on at {progress.lr_factor:g} of its learning rate, after a divergence or by a "
            "callback, which its config.toml does not say: train it anew with a lower --lr, and replay that."
        )
