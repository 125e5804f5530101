"""Replay: a run trained again from its own configuration and compared with what its folder keeps.

With the same backend, versions and machine every bit is the same. Otherwise sums are added up in another order. In
float64 that stays as small as rounding is; in float32 it grows from the first unit whose sign it decides, and only
the accuracy can be judged. docs/reproducibility.md has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from nnbackprop._system_info import cores, set_num_threads
from nnbackprop.diagnostics.difference import difference, json_values
from nnbackprop.errors import RunFolderError, UsageError
from nnbackprop.runs import build
from nnbackprop.runs.checkpoint import Checkpoint, flatten, load
from nnbackprop.runs.config import Config
from nnbackprop.runs.config_checks import check_config
from nnbackprop.runs.config_files import load_run_config
from nnbackprop.runs.header import describe_config
from nnbackprop.runs.run_data import RunData
from nnbackprop.runs.run_dir import RunDir, environment
from nnbackprop.runs.settings import with_changes
from nnbackprop.runs.summary import summarise
from nnbackprop.runs.train import initialized_trainer, open_backend
from nnbackprop.runs.trainer_checkpoint import best_checkpoint, check_settings, last_checkpoint, progress_of
from nnbackprop.training.callbacks import Callback, EarlyStopping
from nnbackprop.training.events import ChunkEnd, TrainEnd
from nnbackprop.training.progress import Progress
from nnbackprop.training.trainer import Trainer

TOLERANCE = 1e-12
"""Of the relative difference of float64 weights trained in another environment."""

STANDARD_ERRORS = 3
"""By which the accuracies of two float32 runs of one recipe may differ."""

CheckpointName = Literal["last", "best"]


@dataclass(frozen=True)
class WeightDifference:
    """A parameter of a checkpoint: whether every bit is equal, and ||a - b|| / ||b||, b the one kept."""

    which: CheckpointName
    name: str
    equal: bool
    relative: float


@dataclass(frozen=True)
class MetricDifference:
    """A number of summary.json as kept and as it came out; one with `allowed` None is reported and not judged."""

    name: str
    kept: float | None
    again: float | None
    allowed: float | None

    @property
    def agrees(self) -> bool:
        """Whether the two are within what is allowed."""
        if self.allowed is None or self.kept == self.again:
            return True
        return self.kept is not None and self.again is not None and abs(self.kept - self.again) <= self.allowed


@dataclass(frozen=True)
class Change:
    """An entry of env.json that differs now."""

    name: str
    kept: Any
    now: Any


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
    backend = open_backend(config)
    if not (config.threads or config.deterministic) and env.get("threads") in range(1, cores() + 1):
        set_num_threads(env["threads"])
    trainer = initialized_trainer(replace(config, dropout_changes=()), backend, splits)
    trainer.epochs = -(-steps // build.steps_per_epoch(config, len(splits.train)))
    stop, shown = StopAtStep(steps), display(describe_config(config))
    deciding = (stop.early_stopping, *build.plateau_callbacks(config))
    for step, rates in config.dropout_changes:
        if trainer.progress.step < step < steps:
            trainer.callbacks = (*deciding, StopAtStep(step, "interrupted"), shown)
            trainer.fit(splits.train, splits.validation, splits.test)
        if step < steps:
            trainer.use_dropout(rates)
    trainer.callbacks = (*deciding, stop, shown)
    trainer.fit(splits.train, splits.validation, splits.test)
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
        tensors=tuple(_compare_weights(trainer, kept, stop.checkpoints)),
        metrics=tuple(metrics),
        changes=(*changes, *_thread_changes(run_dir.read_metrics(), summary)),
    )


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
        self.every_n_steps = steps  # a chunk ends where the run's last one did
        self.checkpoints: dict[CheckpointName, Checkpoint] = {}

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """After the last chunk, stop."""
        if event.step == self.steps:
            trainer.stop(self.reason)

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """Before the best weights take the place of the last."""
        last, best = (
            last_checkpoint(trainer, self.early_stopping, {}),
            best_checkpoint(trainer, self.early_stopping, {}),
        )
        self.checkpoints = {"last": last, "best": best}


def _check_steps(run_dir: RunDir, steps: int, summary: Mapping[str, Any] | None) -> None:
    if steps < 1:
        raise UsageError(f"{run_dir.path} has made no step yet: go on with it, by nnbackprop train --resume.")
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
            f"{run_dir.path} diverged and went on at {progress.lr_factor:g} of its learning rate from a "
            "checkpoint, which its config.toml does not say: train it anew with a lower --lr, and replay that."
        )


def _compare_weights(
    trainer: Trainer, kept: Mapping[CheckpointName, Checkpoint], again: Mapping[CheckpointName, Checkpoint]
) -> Iterator[WeightDifference]:
    """Every parameter of the checkpoints `kept`; RunFolderError if one lacks a parameter of the network."""
    params = trainer.params
    names = [f"{layer}.{name}" for layer, _, p in trainer.network.named_layers(params) for name in p]
    for which, checkpoint in kept.items():
        for path, name in zip(flatten(params, "params"), names, strict=True):
            a, b = again[which].arrays[path], checkpoint.arrays.get(path)
            if b is None or (b.shape, b.dtype) != (a.shape, a.dtype):
                raise RunFolderError(
                    f"The {which} checkpoint has no {path} of shape {a.shape} and {a.dtype}, which the network of "
                    "its config.toml has: one of the two is another run's. Put back its own."
                )
            yield WeightDifference(which, name, a.tobytes() == b.tobytes(), difference(a, b).relative)


def compare_metrics(
    kept: Mapping[str, Any], again: Mapping[str, Any], samples: Mapping[str, int], dtype: str
) -> Iterator[MetricDifference]:
    """Losses and metrics of the parts, each of so many `samples`, and the best epoch.

    In float64 accuracies have to be equal. Else that of the test part, or without one of the training part, has
    to be within `STANDARD_ERRORS` of the difference of the accuracies p of two runs on n samples, each of
    (2 p (1 - p) / n)^(1/2).
    """
    judged = "test" if "test" in samples else "train"
    for part, n in samples.items():
        for name in (name for name in again if name.startswith(f"{part}_")):
            a, b, allowed = _number(kept.get(name)), again[name], None
            accuracy = name.endswith("accuracy")
            if accuracy and dtype == "float64":
                allowed = 0.0
            elif accuracy and part == judged:
                p = b if a is None else (a + b) / 2
                allowed = STANDARD_ERRORS * math.sqrt(2 * max(0.0, p * (1 - p)) / n)
            yield MetricDifference(name, a, b, allowed)
    if "validation" in samples:
        yield MetricDifference("best_epoch", _number(kept.get("best_epoch")), again["best_epoch"], None)


def compare_environments(kept: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Entries in which two env.json differ, but for `why` a backend was chosen."""
    before, after = _flat(kept), _flat(now)
    for name in sorted(before.keys() | after.keys()):
        if name != "why" and before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))


def _thread_changes(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any] | None) -> Iterator[Change]:
    """A change where a run did not keep the threads of products that it began with."""
    threads = sorted({row["threads"] for row in rows if "threads" in row})
    if len(threads) > 1 or (summary and summary.get("thread_changes")):
        yield Change("threads during the run", " and ".join(map(str, threads)), None)


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """{"blas": {"kernel": k}} as {"blas kernel": k}."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        inner = _flat(value) if isinstance(value, Mapping) else {"": value}
        flat |= {f"{name} {key}".strip(): v for key, v in inner.items()}
    return flat


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) else None
