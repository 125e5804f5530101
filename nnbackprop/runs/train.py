"""A run on disk, under way: from a configuration or a run folder to trained weights and a summary."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from backends import Backend, select
from nnbackprop._files import remove
from nnbackprop._system_info import CpuTimes, set_num_threads
from nnbackprop.distributed.communicator import Communicator, SingleProcess
from nnbackprop.errors import DivergedError, UsageError
from nnbackprop.training.callbacks import Callback, EarlyStopping, TimeLimit
from nnbackprop.training.trainer import Trainer

from . import build
from .callbacks import CheckpointCallback, JsonlLogger, SaveInterval
from .checkpoint_manager import CheckpointManager
from .config import CHANGEABLE_ON_RESUME, Config, with_changes
from .config_files import load_run_config, to_toml
from .divergence_recovery import DivergenceRecovery
from .lr_find import resolve_lr
from .processes import (
    check_same_options,
    check_shards,
    interrupted,
    join,
    prepare_process,
    record_run,
    share_state,
    with_shards,
)
from .run_data import RunData, absolute
from .run_dir import RunDir, environment
from .signals import stop_on_signals
from .summary import checkpoint_info, summarise
from .threads import ThreadControl, thread_control
from .trainer_checkpoint import check_settings, restore, scaling_of
from .transfer import Transfer, absolute_run, transfer

OnMessage = Callable[[str], None]
"""Gets a line of text for the user."""

Diagnose = Callable[[Trainer, DivergedError], DivergedError]
"""Turns the error of a diverged trainer into one that says more."""


@dataclass(eq=False)
class Run:
    """A run folder locked for writing, its data, and a trainer that stands where the run does."""

    config: Config
    run_dir: RunDir
    data: RunData
    trainer: Trainer
    early_stopping: EarlyStopping
    checkpoint_manager: CheckpointManager
    initial_cpu_times: CpuTimes  # before the data was read
    communicator: Communicator = field(default_factory=SingleProcess)
    threads: ThreadControl | None = field(init=False)
    transferred: Transfer | None = field(default=None, init=False)  # weights of another run, that this began with
    signal: int = field(default=0, init=False)  # that interrupted `fit`, 0 for none

    def __post_init__(self) -> None:
        self.threads = thread_control(self.config, self.trainer.backend, self.initial_cpu_times)

    def fit(
        self,
        callbacks: Sequence[Callback] = (),
        on_message: OnMessage = print,
        diagnose: Diagnose = lambda trainer, error: error,
    ) -> dict[str, Any] | None:
        """Train to the end; returns the summary, written to summary.json too, or None where a signal interrupted.

        DivergedError as `diagnose` gives it, unless the configuration asks to go on from a checkpoint at half the
        learning rate.
        """
        self._write_start()
        summary = None
        with stop_on_signals(self.trainer.stop) as received:
            recovery = self._attach(callbacks)
            while summary is None and not interrupted(self.communicator, received):
                share_state(self.communicator, self.trainer, self.early_stopping)
                try:
                    self.trainer.fit(self.data.train, self.data.validation, self.data.test)
                    if self.trainer.stop_reason == "interrupted":
                        break
                    summary = summarise(self.config, self.trainer, self.early_stopping, self.data)
                    if self.threads is not None:
                        summary["thread_changes"] = self.threads.changes
                except DivergedError as error:
                    if recovery is None or recovery.exhausted:
                        raise diagnose(self.trainer, error) from error
                    on_message(str(diagnose(self.trainer, error)))
                    for message in recovery.recover():
                        on_message(message)
        if summary is None:
            self.signal = received[0] if received else 0
            return None
        self.run_dir.write_json("summary.json", summary)
        return summary

    def close(self) -> None:
        """Give the process as many threads as it had before the run."""
        if self.threads is not None:
            self.threads.restore()

    def _write_start(self) -> None:
        for outdated in ("summary.json", "doctor.json"):
            remove(self.run_dir.path / outdated)
        self.run_dir.write("config.toml", to_toml(self.config))
        self.run_dir.write_json("env.json", environment(self.trainer.backend))
        record_run(self.run_dir.path)

    def _attach(self, callbacks: Sequence[Callback]) -> DivergenceRecovery | None:
        """Give the trainer its callbacks; what to do where it diverges."""
        logger = JsonlLogger(self.run_dir, self.threads)
        saves = CheckpointCallback(
            self.run_dir,
            self.checkpoint_manager,
            logger,
            self.early_stopping,
            checkpoint_info(self.config, self.data),
            SaveInterval.parse(self.config.save_every),
            best_unsaved=self.early_stopping.best_params is not None,
        )
        limits = () if self.config.max_time is None else (TimeLimit(self.config.max_time),)
        control = () if self.threads is None else (self.threads,)
        self.trainer.callbacks = (self.early_stopping, *control, logger, saves, *callbacks, *limits)
        if self.config.on_nan == "stop":
            return None
        return DivergenceRecovery(
            self.trainer, self.early_stopping, self.data.train, self.run_dir, self.checkpoint_manager
        )


@contextlib.contextmanager
def start(config: Config, communicator: Communicator | None = None) -> Iterator[Run]:
    """A new run in a new folder, which goes again if it is left before its first checkpoint.

    Its other processes, where `communicator` has any, call `worker.join_run`.
    """
    communicator = communicator or SingleProcess()
    check_same_options(communicator, asdict(config))
    build.check(config)
    config = with_shards(config, communicator)
    prepare_process(communicator, config)
    cpu_times, backend = CpuTimes.now(), open_backend(config)
    data = RunData.load(config)
    config = replace(config, data=absolute(config.data), init_from=absolute_run(config))
    config = build.resolve_task(config, data.train)
    config = resolve_lr(config, backend, data)
    trainer, transferred = _initialize(config, backend, data)
    join(communicator, config, trainer, data)
    name = config.recipe if config.name is None else config.name
    run_dir = RunDir.create(Path(config.runs_dir), name)
    try:
        with run_dir.lock():
            checkpoint_manager = CheckpointManager(run_dir.checkpoints_dir, config.keep_checkpoints)
            stopping = EarlyStopping(config.patience)
            run = Run(
                config, run_dir, data, trainer, stopping, checkpoint_manager, cpu_times, communicator=communicator
            )
            run.transferred = transferred
            with contextlib.closing(run):
                yield run
    finally:
        if not run_dir.has_progress:
            shutil.rmtree(run_dir.path, ignore_errors=True)


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


def initialized_trainer(config: Config, backend: Backend, data: RunData) -> Trainer:
    """The trainer before its first step."""
    return _initialize(config, backend, data)[0]


def _initialize(config: Config, backend: Backend, data: RunData) -> tuple[Trainer, Transfer | None]:
    trainer = build.trainer(config, backend, data.train, build.scaling(config, data.train))
    trainer.initialize(data.train)
    return trainer, transfer(trainer, config, data.train)


def open_backend(config: Config) -> Backend:
    """The array library that `config` asks for, set up as it says."""
    if config.deterministic or config.threads:
        set_num_threads(config.threads or 1, later_imports=True)
    backend = select(config.backend, config.device)
    if config.dtype == "tf32":
        backend.use_tf32()
    if config.gpu_memory_limit is not None:
        backend.limit_memory(int(config.gpu_memory_limit * 2**30))
    if config.deterministic:
        backend.use_deterministic()
    return backend


def _resumed(
    run_dir: RunDir, overrides: Mapping[str, Any], on_message: OnMessage, communicator: Communicator
) -> Run:
    kept = load_run_config(run_dir.config_path)
    config = check_shards(_changed(kept, overrides), communicator)
    build.check(config)
    prepare_process(communicator, config)
    cpu_times, backend = CpuTimes.now(), open_backend(config)
    checkpoint_manager, early_stopping = (
        CheckpointManager(run_dir.checkpoints_dir, config.keep_checkpoints),
        EarlyStopping(config.patience),
    )
    data = RunData.load(config)
    if run_dir.has_progress:
        trainer = _restored(config, backend, run_dir, checkpoint_manager, early_stopping, data, on_message)
    else:  # killed before its first checkpoint
        trainer = initialized_trainer(config, backend, data)
    config = _with_lr(config, overrides.get("lr"), trainer.progress.step)
    trainer.lr = build.learning_rate(config, len(data.train))
    done, within = trainer.progress.epoch - 1, trainer.progress.samples_seen > 0
    if config.epochs < done + within:
        unfinished = f", and is within epoch {done + 1}" if within else ""
        raise UsageError(
            f"{run_dir.path} has {done} epochs done{unfinished}: --epochs {config.epochs} is less, ask for more."
        )
    config = replace(config, data=absolute(config.data))
    join(communicator, config, trainer, data)
    _report_missing_rows(run_dir, done, on_message)
    _report_changed_lr(kept, config, trainer, len(data.train), on_message)
    run_dir.drop_metrics(from_epoch=done + 1)
    if early_stopping.best_params is None:  # the last weights were the best, and will not be any more
        remove(run_dir.checkpoint_path("best"))
    # where a run goes on is not where it was asked to run: a GPU run repeats on a laptop
    stored = replace(config, backend=kept.backend, device=kept.device)
    return Run(
        stored, run_dir, data, trainer, early_stopping, checkpoint_manager, cpu_times, communicator=communicator
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
    path, found, damaged = checkpoint_manager.newest()
    for message in damaged:
        on_message(f"skipped: {message}")
    check_settings(found, config, path, run_dir.config_path)
    data.check(found.meta.get("fingerprint"), path)
    trainer = build.trainer(config, backend, data.train, scaling_of(found))
    restore(trainer, early_stopping, data.train, found)
    if damaged:
        on_message(f"Going on from {path}, step {trainer.progress.step}.")
    else:
        checkpoint_manager.last_step = trainer.progress.step
    return trainer


def _report_missing_rows(run_dir: RunDir, done: int, on_message: OnMessage) -> None:
    """A message if epochs that were trained have no row: no crash loses one, so that somebody took it out."""
    missing = sorted({*range(1, done + 1)} - {row["epoch"] for row in run_dir.read_metrics()})
    if missing:
        which = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else f"{missing[0]}"
        on_message(
            f"{run_dir.metrics_path} lacks {len(missing)} of its rows, of epoch {which}: they are lost, and the "
            "run goes on."
        )


def _report_changed_lr(
    kept: Config, config: Config, trainer: Trainer, samples: int, on_message: OnMessage
) -> None:
    """A message where --lr or other --epochs change the learning rate, with the rate before and after."""
    step, factor = trainer.progress.step, trainer.progress.lr_factor
    before, now = (build.learning_rate(c, samples) for c in (kept, config))
    if not step or before(step) == now(step):
        return
    last, following = factor * before(step - 1), factor * now(step)
    reasons = []
    if kept.lr_changes != config.lr_changes:
        _, lr = (config.lr_changes or ((0, config.lr),))[-1]
        reasons.append(f"--lr {lr:g} is where the schedule {config.schedule} goes on from.")
    if build.learning_rate(replace(kept, lr_changes=()), samples) != build.learning_rate(
        replace(config, lr_changes=()), samples
    ):
        reasons.append(
            f"the schedule {config.schedule} spans --epochs {config.epochs}, and spanned {kept.epochs}. "
            f"--schedule-epochs {kept.epochs} keeps it as it was."
        )
    on_message(
        f"The learning rate goes from {last:g} at step {step} to {following:g} at step {step + 1}: "
        + " And ".join(reasons)
    )


def _changed(config: Config, overrides: Mapping[str, Any]) -> Config:
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
            f"{span} epochs: --schedule-epochs {span} keeps that; without it the schedule spans --epochs."
        )
    kept_lr = {name: value for name, value in overrides.items() if name != "lr"}
    return with_changes(config, kept_lr, "The resumed run with the given flags")


def _with_lr(config: Config, lr: Any, step: int) -> Config:
    """The configuration with this learning rate after `step` steps; the same where `lr` is None or no other."""
    if lr is None:
        return config
    if lr == "auto":
        raise UsageError(
            "--lr auto is found before a run's first step, and --resume goes on with one: give --lr a number."
        )
    earlier = [change for change in config.lr_changes if change[0] < step]
    if lr != (earlier[-1][1] if earlier else config.lr):
        earlier.append((step, lr))
    return with_changes(config, {"lr_changes": earlier}, "The resumed run with the given --lr")
