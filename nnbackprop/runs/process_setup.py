"""Before the first step of several processes: what they compare, and what the first gives to the others."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends import Backend
from nnbackprop._system_info import THREAD_VARIABLES, set_num_threads, versions
from nnbackprop.data.scaling import Scaling
from nnbackprop.distributed.communicator import Communicator
from nnbackprop.distributed.environment import RUN_FILE
from nnbackprop.errors import DataError, UsageError
from nnbackprop.training.callbacks import EarlyStopping
from nnbackprop.training.trainer import Trainer

from . import build
from .config import Config
from .run_data import RunData


def check_same_options(communicator: Communicator, options: Mapping[str, Any]) -> None:
    """UsageError unless all processes were started with the same options and versions; collective."""
    own = {**options, **versions(("nnbackprop", "numpy"))}
    _check_same(communicator, own, UsageError, "Start all of them by one command, from one installation.")


def prepare_process(communicator: Communicator, config: Config) -> None:
    """Give this process its own GPU, and its share of the machine's cores unless their number is fixed."""
    if communicator.size == 1:
        return
    _choose_gpu(communicator.local_rank, config.device)
    if not (config.threads or config.deterministic or any(name in os.environ for name in THREAD_VARIABLES)):
        set_num_threads(communicator.cores, later_imports=True)


def with_shards(config: Config, communicator: Communicator) -> Config:
    """The configuration of a new run: a shard a process, unless it says how many."""
    shards = communicator.size if config.shards is None and communicator.size > 1 else config.shards
    return check_shards(replace(config, shards=shards), communicator)


def check_shards(config: Config, communicator: Communicator) -> Config:
    """The same configuration; UsageError unless each process gets as many shards."""
    shards = config.shards or 1
    if shards % communicator.size:
        raise UsageError(
            f"Batches are cut into {shards} shard{'s' * (shards > 1)} (--shards), which {communicator.size} "
            f"processes cannot share evenly: start as many processes as divide {shards}. A new run may have other "
            "--shards."
        )
    return config


def start_together(communicator: Communicator, config: Config, trainer: Trainer, data: RunData) -> None:
    """Give the other processes the configuration and scaling that the first has come to, and compare the data."""
    if communicator.size > 1:
        communicator.broadcast((config, trainer.scaling))
        join_training(communicator, config, trainer, data)


def wait_for_config(communicator: Communicator) -> tuple[Config, Scaling]:
    """What the first process gives by `start_together`, before it does the same as `join_training`."""
    received: tuple[Config, Scaling] = communicator.broadcast(None)  # type: ignore[assignment]
    return received


def join_training(communicator: Communicator, config: Config, trainer: Trainer, data: RunData) -> None:
    """Train in shards with the other processes, which must have the same data and array library; collective."""
    backend: Backend = trainer.backend
    library = {"array library": f"{backend.name} {backend.version}"}
    _check_same(communicator, library, UsageError, "Install the same on every machine, or name one by --backend.")
    fix = "Give every machine the same files, or one file system."
    _check_same(communicator, {"data (its fingerprint)": data.fingerprint}, DataError, fix)
    trainer.use_sharding(build.sharding(config, communicator))


def broadcast_state(communicator: Communicator, trainer: Trainer, early_stopping: EarlyStopping) -> None:
    """Put every process where the first one stands, the best weights so far with it; collective."""
    if communicator.size == 1:
        return
    first = communicator.rank == 0
    state, stopping = communicator.broadcast((trainer.state_dict(), vars(early_stopping)) if first else ({}, {}))
    if not first:
        trainer.load_state_dict(state)
        vars(early_stopping).update(stopping)


def any_interrupted(communicator: Communicator, received: list[int]) -> bool:
    """Whether a signal has reached one of the processes; collective."""
    return any(communicator.all_gather_object(bool(received)))


def tell_launcher(path: Path) -> None:
    """Where the run's folder is, for `--restarts` to go on from, if a launcher waits for it."""
    if file := os.environ.get(RUN_FILE):
        with contextlib.suppress(OSError):
            Path(file).write_text(str(path.absolute()), encoding="utf-8")


def _check_same(
    communicator: Communicator, own: Mapping[str, Any], error: type[UsageError] | type[DataError], fix: str
) -> None:
    first, *others = communicator.all_gather_object((socket.gethostname(), dict(own)))
    for rank, (host, values) in enumerate(others, start=1):
        for name in {**first[1], **values}:
            ours, theirs = first[1].get(name), values.get(name)
            if ours != theirs:
                raise error(
                    f"The processes of a run must agree, and {name} is {ours!r} in process 0 ({first[0]}) and "
                    f"{theirs!r} in process {rank} ({host}). {fix}"
                )


def _choose_gpu(local_rank: int, device: str | None) -> None:
    """Let this process see the GPU of its number on its machine alone, unless `device` names one."""
    if device is not None and (device == "cpu" or ":" in device):
        return
    visible = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    if len(visible) != 1:  # of one alone it was chosen already, by SLURM
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[local_rank] if local_rank < len(visible) else str(local_rank)
