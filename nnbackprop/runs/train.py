"""A run on disk: from a configuration to trained weights and a summary."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from backends import Backend, select
from nnbackprop._files import remove
from nnbackprop._system_info import CpuTimes, set_num_threads
from nnbackprop.distributed.communicator import Communicator, SingleProcess
from nnbackprop.distributed.environment import SECONDS_SPENT
from nnbackprop.errors import DivergedError
from nnbackprop.training.callbacks import Callback, EarlyStopping, TimeLimit
from nnbackprop.training.checks import check_batches
from nnbackprop.training.trainer import Trainer

from . import build
from .callbacks import CheckpointCallback, JsonlLogger, SaveInterval
from .checkpoint_manager import CheckpointManager
from .config import Config
from .config_checks import check_new_run
from .config_files import to_toml
from .divergence_recovery import DivergenceRecovery, lr_halvings_exhausted
from .lr_find import resolve_lr
from .process_setup import check_same_options, prepare_process, start_together, tell_launcher, with_shards
from .run_data import RunData, absolute
from .run_dir import RunDir, environment
from .run_process import RunProcess
from .summary import checkpoint_info
from .threads import ThreadControl, thread_control
from .transfer import Transfer, absolute_run, transfer

OnMessage = Callable[[str], None]
"""Gets a line of text for the user."""

Diagnose = Callable[[Trainer, DivergedError], DivergedError]
"""Turns the error of a diverged trainer into one that says more."""


@dataclass(eq=False, kw_only=True)
class Run(RunProcess):
    """The first process of a run, and mostly the only one: it has the run folder, locked for writing."""

    run_dir: RunDir
    checkpoint_manager: CheckpointManager
    initial_cpu_times: CpuTimes  # before the data was read
    transferred: Transfer | None = None  # weights of another run, that this began with
    threads: ThreadControl | None = field(init=False)

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
        recovery = self._attach(callbacks)

        def on_divergence(error: DivergedError) -> None:
            diagnosed = diagnose(self.trainer, error)
            if recovery is None or lr_halvings_exhausted(self.trainer):
                raise diagnosed from error
            on_message(str(diagnosed))
            for message in recovery.recover():
                on_message(message)

        if (summary := self.train(on_divergence)) is None:
            return None
        if self.threads is not None:
            summary["thread_changes"] = self.threads.changes
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
        tell_launcher(self.run_dir.path)

    def _attach(self, callbacks: Sequence[Callback]) -> DivergenceRecovery | None:
        """Give the trainer its callbacks; returns what recovers from divergence, None where that ends the run."""
        logger = JsonlLogger(self.run_dir, self.threads)
        checkpoints = CheckpointCallback(
            self.checkpoint_manager,
            logger,
            self.early_stopping,
            checkpoint_info(self.config, self.data),
            SaveInterval.parse(self.config.save_every),
            best_unsaved=self.early_stopping.best_params is not None,
        )
        time_limit: tuple[TimeLimit, ...] = ()
        if self.config.max_time is not None:
            left = self.config.max_time - float(os.environ.get(SECONDS_SPENT, 0))
            time_limit = (TimeLimit(max(left, 1e-3)),)
        threads = () if self.threads is None else (self.threads,)
        of_this_process = (*threads, logger, checkpoints, *callbacks, *time_limit)
        self.trainer.set_options(callbacks=(*self.callbacks_of_every_process, *of_this_process))
        if self.config.on_nan == "stop":
            return None
        return DivergenceRecovery(self.trainer, self.early_stopping, self.data.train, self.run_dir, checkpoints)


@contextlib.contextmanager
def start(config: Config, communicator: Communicator | None = None) -> Iterator[Run]:
    """A new run in a new folder, which is deleted if it is left before its first checkpoint.

    Its other processes, where `communicator` has any, call `worker.join_run`.
    """
    communicator = communicator or SingleProcess()
    check_same_options(communicator, asdict(config))
    check_new_run(config)
    config = with_shards(config, communicator)
    prepare_process(communicator, config)
    cpu_times, backend = CpuTimes.now(), open_backend(config)
    data = RunData.load(config)
    config = replace(config, data=absolute(config.data), init_from=absolute_run(config))
    config = build.resolve_task(config, data.train)
    config = resolve_lr(config, backend, data)
    trainer, transferred = _initialize(config, backend, data)
    check_batches(trainer, data.train)
    start_together(communicator, config, trainer, data)
    run_dir = RunDir.create(Path(config.runs_dir), config.run_name)
    try:
        with run_dir.lock():
            run = Run(
                config=config,
                run_dir=run_dir,
                data=data,
                trainer=trainer,
                early_stopping=EarlyStopping(config.patience),
                checkpoint_manager=CheckpointManager(run_dir.checkpoints_dir, config.keep_checkpoints),
                initial_cpu_times=cpu_times,
                communicator=communicator,
                transferred=transferred,
            )
            with contextlib.closing(run):
                yield run
    finally:
        if not run_dir.has_progress:
            shutil.rmtree(run_dir.path, ignore_errors=True)


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
