"""A small run in a process of its own, to be disturbed, and what must be the same in spite of it.

`python tests/stress/child_run.py train ...` is `nnbackprop train ...` which also prints the number of steps after
each chunk, and draws no plots. With CHILD_WAITS in its environment it waits for ever after its first 20 steps.
With CHILD_FAILS=1:40:kill process 1 of several is killed at step 40; `FAILURES` has the ways.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from backends import Tree
from nnbackprop.distributed.environment import launched_rank
from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd
from nnbackprop.training.shard_gradients import ShardGradients
from nnbackprop.training.trainer import Trainer
from tests.support import mpi

SAVE_EVERY = 5
EPOCHS = 80
"""Of the run that others are compared with, in the everyday tests."""
ENDLESS = 100_000
"""Epochs of a run that is disturbed before it ends."""
SETTINGS = {
    "data": "clouds.npz",
    "test_fraction": 0.0,
    "validation": 0.2,
    "hidden": (8,),
    "dropout": (0.2,),
    "optimizer": "adam",
    "lr": 0.01,
    "batch_size": 7,
    "backend": "numpy",
    "save_every": str(SAVE_EVERY),
}
"""Dropout masks, moments, best weights and a smaller last batch: all that a resume could lose."""


def train_words(name: str, epochs: int, progress: str = "off") -> tuple[str, ...]:
    """Arguments of `train` for the run called `name`."""
    flags = {**SETTINGS, "hidden": 8, "dropout": 0.2, "name": name, "epochs": epochs, "progress": progress}
    return ("mnist-original", *(f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items()))


def write_clouds(run_dir: Path) -> None:
    """The data: three clouds of 32 points in the plane."""
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 3
    centres = np.array([[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    np.savez(run_dir / "clouds.npz", X=centres[labels] + 0.6 * rng.standard_normal((96, 2)), y=labels)


def run_to_end(run_dir: Path, *words: str) -> None:
    """Run `train WORDS` in a process to its end."""
    with start(run_dir, *words) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors


@contextlib.contextmanager
def start(
    run_dir: Path, *words: str, waits: bool = False, processes: int = 1, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """`train WORDS` in a process that works in `folder`, and is killed at the end of the block.

    Of several processes it is the mpiexec that starts them, of which each works so.
    """
    environment = mpi.environment(COLUMNS="120", **variables)
    environment |= {"CHILD_WAITS": "1"} if waits else {}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    words = (__file__, "train", *words)
    command = [sys.executable, *words] if processes == 1 else mpi.command(processes, *words)
    with subprocess.Popen(command, cwd=run_dir, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_step(process: subprocess.Popen[str], step: int) -> None:
    """Until it has printed that it made so many steps."""
    assert process.stdout is not None
    while (line := process.stdout.readline()) and not (line.strip().isdigit() and int(line) >= step):
        pass
    assert line, process.stderr and process.stderr.read()


def assert_same_outcome(one: Path, other: Path) -> None:
    """AssertionError unless two runs have come to the same, bit for bit."""
    ours, theirs = outcome(one), outcome(other)
    for what in theirs:
        assert ours[what] == theirs[what], f"{one} and {other} differ in {what}"


def outcome(path: Path) -> dict[str, Any]:
    """Every bit a run has come to, without times and the planned epochs; each epoch has one row."""
    run_dir = RunDir(path)
    last, rows = load(run_dir.checkpoint_path("last")), run_dir.read_metrics()
    epochs = [row["epoch"] for row in rows]
    assert epochs == list(range(1, last.meta["progress"]["epoch"])), (
        f"{run_dir.metrics_path} has the epochs {epochs}"
    )
    return {
        "the best weights' file": run_dir.checkpoint_path("best").read_bytes(),
        "arrays": {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in last.arrays.items()},
        "metadata": {**last.meta, "progress": _untimed(last.meta["progress"])},
        "rows": [_untimed(row) for row in rows],
    }


def _untimed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if "second" not in name and name != "aims"}


def checkpoint_files(run_dir: RunDir) -> dict[Path, bytes]:
    """The files that a resume could take; AssertionError unless the newest is sound."""
    checkpoints = CheckpointManager(run_dir.checkpoints_dir)
    assert checkpoints.load_newest()[2] == []
    return {path: path.read_bytes() for path in (checkpoints.last, *checkpoints.older())}


class StepPrinter(Callback):
    """Prints each chunk's last step, once the checkpoints are written."""

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        os.write(1, b"%d\n" % event.step)
        if "CHILD_WAITS" in os.environ and event.step >= 20:
            while True:
                time.sleep(3600)


def run_out_of_memory() -> None:
    np.zeros(2**50)  # 8 PiB


def limit_memory() -> None:
    """Leave four mebibytes to allocate: in less, Python itself may crash on its way to the message."""
    import resource

    size = psutil.Process().memory_info().vms + 2**22
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def raise_error() -> None:
    raise RuntimeError("a process raised this")


FAILURES = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "exit": lambda: os._exit(9),
    "raise": raise_error,
    "memory": run_out_of_memory,
    "limit": limit_memory,
}
"""How a process fails."""


def fail_at(rank: int, step: int, how: str) -> None:
    """Let process `rank` fail at `step`, in the midst of the gradients of its shards."""
    original = ShardGradients.compute

    def compute(self: ShardGradients, data: Tree, batch: Tree, bounds: Any, batch_size: int) -> np.ndarray:
        if launched_rank() == rank and batch["step"] >= step:
            FAILURES[how]()
        return original(self, data, batch, bounds, batch_size)

    ShardGradients.compute = compute  # type: ignore[method-assign]


def main() -> None:
    """The command, printing its steps."""
    from nnbackprop import cli
    from nnbackprop.report import plot_process, progress

    def stop(trainer: Trainer, reason: str = "interrupted") -> None:
        os.write(1, b"asked to stop\n")
        original(trainer, reason)

    if fails := os.environ.get("CHILD_FAILS"):
        rank, step, how = fails.split(":")
        fail_at(int(rank), int(step), how)
    original, Trainer.stop = Trainer.stop, stop  # type: ignore[method-assign]
    progress.progress = lambda *_: StepPrinter()  # type: ignore[assignment]
    plot_process.draw_run = lambda run: ()  # type: ignore[assignment]
    os.write(1, b"0\n")
    cli.main()


if __name__ == "__main__":
    main()
