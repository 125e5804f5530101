"""Others at W1's step, in the same run on the same GPU: each is timed once it computes what we do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from backends import select
from nnbackprop.data.dataset import Dataset
from nnbackprop.nn.layers.base import Params

from .clock import microseconds
from .results import MICROSECONDS, Figure, Skipped
from .setting import Asked, Size, size_for
from .training import RATE, Training, apart, batches, w1

LIMIT = 1e-4
"""How far weights may be from ours, relative, after CHECKED steps in float32 without dropout."""
CHECKED = 20


@dataclass(frozen=True)
class Task:
    """What a rival is given: scaled inputs and labels, first weights, dropout rates, and where to compute."""

    x: np.ndarray
    t: np.ndarray
    weights: Params
    dropout: tuple[float, ...]
    lr: float
    device: str
    tf32: bool = False


class Rival(Protocol):
    """Another library at the same task."""

    def prepare(self, rows: np.ndarray) -> Any:
        """The batches' row numbers (steps, batch) as `run` takes them, on the device."""

    def run(self, rows: Any) -> None:
        """A step for each batch; does not wait for the device."""

    def wait(self) -> None:
        """Until all is done."""

    def weights(self) -> Params:
        """On the host, W (in, out)."""


@dataclass(frozen=True)
class Entry:
    """A rival by its title: its module here and the class there, what it is made with, the package it needs."""

    title: str
    module: str
    maker: str
    needs: str
    further: tuple[Any, ...] = ()

    def make(self, task: Task) -> Rival:
        """Built, its data and weights on the device."""
        return getattr(import_module(f".{self.module}", __package__), self.maker)(task, *self.further)


ENTRIES = {
    "torch-eager": Entry("PyTorch, eager", "torch_rivals", "Eager", "torch"),
    "torch-graph": Entry("PyTorch, a CUDA graph of 1 step", "torch_rivals", "Graph", "torch", (1,)),
    "torch-graphs": Entry("PyTorch, a CUDA graph of 10 steps", "torch_rivals", "Graph", "torch", (10,)),
    "jax-jit": Entry("JAX autodiff, jit", "jax_rivals", "Jit", "jax"),
    "jax-scan": Entry("JAX autodiff, jit and scan", "jax_rivals", "Scan", "jax"),
    "torch-compile": Entry("PyTorch, compile reduce-overhead", "torch_rivals", "Compiled", "torch"),
}


def rival(asked: Asked, name: str) -> Iterator[Figure]:
    """Check it, and time it in float32 and in TF32, dropout and all."""
    entry, backend = ENTRIES[name], asked.open()
    can_run(entry)
    size, data = size_for(backend), asked.read().train
    judge, task = set_task(size, data, backend.device)
    checked = check(entry, task, judge)
    yield checked
    if not checked.holds:
        return
    rows = batches(len(data), size.batch, 0, np.arange(size.steps))
    for dtype in ("float32", "tf32"):
        real = replace(task, dropout=w1(size).dropout, tf32=dtype == "tf32")
        yield Figure.of(entry.title, times(entry, real, rows, size), MICROSECONDS, dtype=dtype)


def can_run(entry: Entry) -> None:
    """Skipped where it is not installed, or does not see the GPU."""
    if find_spec(entry.needs) is None:
        raise Skipped(f"{entry.needs} is not installed: pip install {entry.needs}")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take three quarters of the memory
    library: Any = import_module(entry.needs)
    sees = library.cuda.is_available() if entry.needs == "torch" else library.default_backend() == "gpu"
    if not sees:
        raise Skipped(f"{entry.needs} {library.__version__} finds no CUDA device: it may be a build without CUDA")


def set_task(size: Size, data: Dataset, device: str) -> tuple[Training, Task]:
    """W1 without dropout, for ourselves on NumPy and for a rival."""
    judge = Training(select("numpy"), w1(size, dropout=False), data)
    x = judge.scaling.apply(data.inputs, "float32")
    return judge, Task(x, data.targets, judge.weights(), judge.net.dropout, RATE, device)


def check(entry: Entry, task: Task, judge: Training) -> Figure:
    """Its weights after the same steps as ours on NumPy, dropout off, since everybody draws masks of their own."""
    judge.run(judge.xs(0, CHECKED))
    theirs = entry.make(task)
    theirs.run(theirs.prepare(batches(len(task.t), judge.net.batch, 0, np.arange(CHECKED))))
    theirs.wait()
    what = f"{entry.title}: weights apart from ours after {CHECKED} steps without dropout, relative"
    return Figure(what, apart(theirs.weights(), judge.weights()), limit=LIMIT)


def times(entry: Entry, task: Task, rows: np.ndarray, size: Size) -> list[float]:
    """Microseconds a step."""
    theirs = entry.make(task)
    prepared = theirs.prepare(rows)
    return microseconds(lambda: theirs.run(prepared), theirs.wait, len(rows), size)
