"""A small run in a process of its own, to be disturbed, and what must be the same whatever befell it.

`python tests/torture/victim.py train ...` is `nnbackprop train ...` which also says each step it has made, and
draws no pictures. With VICTIM_WAITS in its surroundings it waits for ever after its first 20 steps.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop.runs.checkpoint import load
from nnbackprop.runs.checkpoint_manager import CheckpointManager
from nnbackprop.runs.run_dir import RunDir
from nnbackprop.training.callbacks.base import Callback, ChunkEnd

EVERY = 5
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
    "save_every": str(EVERY),
}
"""Masks, moments, best weights and a ragged last batch: all that a resume could lose."""


def words(name: str, epochs: int, progress: str = "off") -> tuple[str, ...]:
    """What `train` is told to make the run called `name`."""
    flags = {**SETTINGS, "hidden": 8, "dropout": 0.2, "name": name, "epochs": epochs, "progress": progress}
    return ("mnist", *(f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items()))


def write_clouds(folder: Path) -> None:
    """The data: three clouds of 32 points in the plane."""
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 3
    centres = np.array([[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    np.savez(folder / "clouds.npz", X=centres[labels] + 0.6 * rng.standard_normal((96, 2)), y=labels)


def left_alone(folder: Path, *words: str) -> None:
    """The command, to its end."""
    with start(folder, *words) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors


@contextlib.contextmanager
def start(folder: Path, *words: str, waits: bool = False) -> Iterator[subprocess.Popen[str]]:
    """The command in a process that works in `folder`, and does not outlive the block."""
    surroundings = os.environ | {"OPENBLAS_NUM_THREADS": "1", "COLUMNS": "120"}
    surroundings |= {"VICTIM_WAITS": "1"} if waits else {}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, __file__, "train", *words]
    with subprocess.Popen(command, cwd=folder, env=surroundings, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_step(process: subprocess.Popen[str], step: int) -> None:
    """Until it has said that it made so many."""
    assert process.stdout is not None
    while (line := process.stdout.readline()) and not (line.strip().isdigit() and int(line) >= step):
        pass
    assert line, process.stderr and process.stderr.read()


def same(one: Path, other: Path) -> None:
    """AssertionError unless two runs have come to the same, bit for bit."""
    ours, theirs = outcome(one), outcome(other)
    for what in theirs:
        assert ours[what] == theirs[what], f"{one} and {other} differ in {what}"


def outcome(path: Path) -> dict[str, Any]:
    """Every bit a run has come to, but not how long it took nor how far it was to go; each epoch has one row."""
    folder = RunDir(path)
    last, rows = load(folder.checkpoint("last")), folder.rows()
    epochs = [row["epoch"] for row in rows]
    assert epochs == list(range(1, last.meta["progress"]["epoch"])), f"{folder.metrics} has the epochs {epochs}"
    return {
        "the best weights' file": folder.checkpoint("best").read_bytes(),
        "the arrays": {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in last.arrays.items()},
        "what stands beside them": {**last.meta, "progress": _timeless(last.meta["progress"])},
        "the rows": [_timeless(row) for row in rows],
    }


def _timeless(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if "second" not in name and name != "aims"}


def sound(folder: RunDir) -> dict[Path, bytes]:
    """The checkpoints a resume could take, all of them sound."""
    shelf = CheckpointManager(folder.checkpoints)
    assert shelf.newest()[2] == []
    return {path: path.read_bytes() for path in (shelf.last, *shelf.older())}


class Teller(Callback):
    """Says each chunk's last step, once the recorder has done what it does there."""

    def chunk_end(self, event: ChunkEnd) -> None:
        os.write(1, b"%d\n" % event.step)
        if "VICTIM_WAITS" in os.environ and event.step >= 20:
            while True:
                time.sleep(3600)


def main() -> None:
    """The command, telling."""
    from nnbackprop.cli import main
    from nnbackprop.runs import train as experiment
    from nnbackprop.training.trainer import Trainer

    def stop(trainer: Trainer, reason: str = "interrupted") -> None:
        os.write(1, b"asked to stop\n")
        asked(trainer, reason)

    asked, Trainer.stop = Trainer.stop, stop  # type: ignore[method-assign]
    experiment.progress = lambda *_: Teller()  # type: ignore[assignment]
    experiment.draw = lambda *_: None
    os.write(1, b"0\n")
    main()


if __name__ == "__main__":
    main()
