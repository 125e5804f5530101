"""A run that goes on where its newest sound checkpoint was taken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from backends import Backend
from nnbackprop._system_info import CpuTimes
from nnbackprop.distributed.communicator import Communicator, SingleProcess
from nnbackprop.errors import UsageError
from nnbackprop.training.callbacks import EarlyStopping
from nnbackprop.training.trainer import Trainer

from . import build
from .checkpoint_manager import CheckpointManager
from .config import CHANGEABLE_ON_RESUME, Config
from .config_checks import check_config
from .config_files import load_run_config
from .process_setup import check_same_options, check_shards, prepare_process, start_together
from .run_data import RunData, absolute
from .run_dir import RunDir
from .settings import with_changes
from .train import OnMessage, Run, initialized_trainer, open_backend
from .trainer_checkpoint import check_settings, progress_of, restore, scaling_of


@contextlib.contextmanager
def resume(
    run: str,
    overrides: Mapping[str, Any],
    runs_dir: Path,
    on_message: OnMessage = print,
    communicator: Communicator | None = None,
) -> Iterator[Run]:
    """A run that exists, where its newest sound checkpoint was taken.

    `overrides` may change how long and where it goes on, not what is trained. Its other processes, where
    `communicator` has any, call `worker.join_run`.
    """
    communicator = communicator or SingleProcess()
    check_same_options(communicator, {"resume": run, **overrides})
    run_dir = RunDir.open(runs_dir, run)
    with (
        run_dir.lock(),
        contextlib.closing(_resumed(run_dir, overrides, on_message, communicator)) as resumed,
    ):
        yield resumed


def change_lr(run: Run, lr: float) -> None:
    """Let a run that stands between two steps go on with another learning rate, as `--resume --lr` does."""
    run.config = _with_lr(run.config, lr, run.trainer)
    run.trainer.set_options(lr=build.learning_rate(run.config, len(run.data.train)), config=asdict(run.config))


def change_dropout(run: Run, rates: Sequence[float]) -> None:
    """Let a run that stands between two steps go on with other rates of its Dropout layers, one for each.

    They are recorded in the configuration. UsageError where the network has another number of such layers.
    """
    step = run.trainer.progress.step
    run.trainer.set_dropout_rates(rates)
    earlier = [change for change in run.config.dropout_changes if change[0] < step]
    changes = {"dropout_changes": [*earlier, (step, tuple(rates))]}
    run.config = with_changes(run.config, changes, "The run with other dropout rates")
    run.trainer.set_options(config=asdict(run.config))


def _resumed(
    run_dir: RunDir, overrides: Mapping[str, Any], on_message: OnMessage, communicator: Communicator
) -> Run:
    saved = load_run_config(run_dir.config_path)
    config = check_shards(_with_overrides(saved, overrides), communicator)
    check_config(config)
    prepare_process(communicator, config)
    cpu_times, backend = CpuTimes.now(), open_backend(config)
    checkpoint_manager = CheckpointManager(run_dir.checkpoints_dir, config.keep_checkpoints)
    early_stopping = EarlyStopping(config.patience)
    data = RunData.load(config)
    if run_dir.has_progress:
        trainer = _restored(config, backend, run_dir, checkpoint_manager, early_stopping, data, on_message)
    else:  # killed before its first checkpoint
        trainer = initialized_trainer(config, backend, data)
    config = _with_dropout_of(config, trainer.progress.step)
    config = _with_lr(config, overrides.get("lr"), trainer)
    trainer.set_options(lr=build.learning_rate(config, len(data.train)))
    epochs_done, within_epoch = trainer.progress.epoch - 1, trainer.progress.samples_seen > 0
    if config.epochs < epochs_done + within_epoch:
        unfinished = f", and is within epoch {epochs_done + 1}" if within_epoch else ""
        raise UsageError(
            f"{run_dir.path} has {epochs_done} epochs done{unfinished}: --epochs {config.epochs} is less, ask for "
            "more."
        )
    config = replace(config, data=absolute(config.data))
    start_together(communicator, config, trainer, data)
    _report_missing_rows(run_dir, epochs_done, on_message)
    _report_changed_lr(saved, config, trainer, len(data.train), on_message)
    run_dir.drop_metrics(from_epoch=epochs_done + 1)
    if early_stopping.best_params is None:  # the last weights were the best, and will not be any more
        checkpoint_manager.remove_best()
    # where a run goes on is not where it was asked to run: a GPU run repeats on a laptop
    config = replace(config, backend=saved.backend, device=saved.device)
    return Run(
        config=config,
        run_dir=run_dir,
        data=data,
        trainer=trainer,
        early_stopping=early_stopping,
        checkpoint_manager=checkpoint_manager,
        initial_cpu_times=cpu_times,
        communicator=communicator,
    )


def _restored(
    config: Config,
    backend: Backend,
    run_dir: RunDir,
    checkpoint_manager: CheckpointManager,
    early_stopping: EarlyStopping,
    data: RunData,
    on_message: OnMessage,
) -> Trainer:
    """The trainer where the newest sound checkpoint was taken; a message for each damaged one."""
    path, checkpoint, damaged = checkpoint_manager.load_newest()
    config = _with_dropout_of(config, progress_of(checkpoint).step)
    for message in damaged:
        on_message(f"skipped: {message}")
    check_settings(checkpoint, config, path, run_dir.config_path)
    data.check(checkpoint.meta.get("fingerprint"), path)
    trainer = build.trainer(config, backend, data.train, scaling_of(checkpoint))
    restore(trainer, early_stopping, data.train, checkpoint)
    if damaged:
        on_message(f"Going on from {path}, step {trainer.progress.step}.")
    else:
        checkpoint_manager.saved_step = trainer.progress.step
    return trainer


def _report_missing_rows(run_dir: RunDir, epochs_done: int, on_message: OnMessage) -> None:
    """A message if epochs that were trained have no row: no crash loses one, so that somebody took it out."""
    missing = sorted({*range(1, epochs_done + 1)} - {row["epoch"] for row in run_dir.read_metrics()})
    if missing:
        which = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else f"{missing[0]}"
        on_message(
            f"{run_dir.metrics_path} lacks {len(missing)} of its rows, of epoch {which}: they are lost, and the "
            "run goes on."
        )


def _report_changed_lr(
    saved: Config, config: Config, trainer: Trainer, samples: int, on_message: OnMessage
) -> None:
    """A message where --lr or other --epochs change the learning rate, with the rate before and after."""
    step, factor = trainer.progress.step, trainer.progress.lr_factor
    before, now = (build.learning_rate(c, samples) for c in (saved, config))
    if not step or before(step) == now(step):
        return
    reasons = []
    if saved.lr_changes != config.lr_changes:
        lr = config.lr_changes[-1][1] if config.lr_changes else float(config.lr)
        reasons.append(f"--lr {factor * lr:g} is where the schedule {config.schedule} goes on from.")
    schedules = (build.learning_rate(replace(c, lr_changes=()), samples) for c in (saved, config))
    if next(schedules) != next(schedules):
        reasons.append(
            f"the schedule {config.schedule} spans --epochs {config.epochs}, and spanned {saved.epochs}. "
            f"--schedule-epochs {saved.epochs} keeps it as it was."
        )
    on_message(
        f"The learning rate goes from {factor * before(step - 1):g} at step {step} to {factor * now(step):g} at "
        f"step {step + 1}: {' And '.join(reasons)}"
    )


def _with_overrides(config: Config, overrides: Mapping[str, Any]) -> Config:
    for name, value in overrides.items():
        before = getattr(config, name)
        if name not in ("lr", *CHANGEABLE_ON_RESUME) and before != value:
            raise UsageError(
                f"A resumed run keeps its {name}: it is {before!r} there, and {value!r} was asked for. Leave "
                f"the flag out, or begin a new run. What may change is lr, {', '.join(CHANGEABLE_ON_RESUME)}."
            )
    span = config.schedule_epochs or config.epochs
    if overrides.get("schedule_epochs", span) != span:
        raise UsageError(
            f"--schedule-epochs {overrides['schedule_epochs']} is not what the run's schedule has spanned so far, "
            f"{span} epochs: leave it out, or give --schedule-epochs {span}."
        )
    without_lr = {name: value for name, value in overrides.items() if name != "lr"}
    return with_changes(config, without_lr, "The resumed run with the given flags")


def _with_dropout_of(config: Config, step: int) -> Config:
    """The configuration with the changes of dropout that were made in the first `step` steps."""
    return replace(config, dropout_changes=tuple(c for c in config.dropout_changes if c[0] <= step))


def _with_lr(config: Config, lr: Any, trainer: Trainer) -> Config:
    """The configuration with this learning rate from here on; the same where `lr` is None or no other.

    It is kept as the rate that becomes `lr` by the factor of plateaus and divergences so far.
    """
    if lr is None:
        return config
    if lr == "auto":
        raise UsageError(
            "--lr auto is found before a run's first step, and --resume goes on with one: give --lr a number."
        )
    step, lr = trainer.progress.step, lr / trainer.progress.lr_factor
    earlier = [change for change in config.lr_changes if change[0] < step]
    if lr != (earlier[-1][1] if earlier else config.lr):
        earlier.append((step, lr))
    return with_changes(config, {"lr_changes": earlier}, "The resumed run with the given --lr")
