"""What every part is handed: the backend asked for, the data, and how much is to be done."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import cast

from backends import Backend, Namespace, select
from nnbackprop.data.catalog import load
from nnbackprop.data.dataset import Splits

from .results import Skipped


@dataclass(frozen=True)
class Size:
    """How much is done: all of it on a GPU, and on a CPU just enough to see that the command itself works."""

    hidden: tuple[int, ...]
    wide: tuple[int, ...]
    racing: tuple[int, ...]
    batch: int
    wide_batch: int
    parity_steps: int
    steps: int  # that are timed at a time
    wide_steps: int
    repeats: int
    warm: float  # seconds, as a GPU that was idle clocks up first
    chunks: tuple[int, ...]
    replays: int
    epochs: int
    goals: tuple[float, ...]


FULL = Size(
    hidden=(512, 256),
    wide=(4096, 4096),
    racing=(1024, 512),
    batch=120,
    wide_batch=1024,
    parity_steps=100,
    steps=500,
    wide_steps=20,
    repeats=9,
    warm=0.5,
    chunks=(1, 10, 50),
    replays=10_000,
    epochs=10,
    goals=(0.98, 0.985),
)
SHORT = Size(
    hidden=(32, 16),
    wide=(64, 64),
    racing=(128, 64),
    batch=20,
    wide_batch=64,
    parity_steps=10,
    steps=10,
    wide_steps=2,
    repeats=5,
    warm=0.0,
    chunks=(1, 5),
    replays=100,
    epochs=4,
    goals=(0.5, 0.6),
)


@dataclass(frozen=True)
class Asked:
    """The command's words. It travels to the process of each part, which opens its own backend."""

    backend: str
    device: str | None
    data: str

    def open(self) -> Backend:
        """The backend as everybody gets it."""
        return select(self.backend, self.device)

    def read(self) -> Splits:
        """The data set; DataError where it is not there."""
        return load(self.data)


def size_for(backend: Backend) -> Size:
    """All of it where there is a GPU."""
    return FULL if on_gpu(backend) else SHORT


def on_gpu(backend: Backend) -> bool:
    """Whether the arrays of a backend lie on a CUDA device."""
    return backend.device.startswith("cuda")


def unfused(backend: Backend) -> Backend:
    """The same backend, whose rules are computed operator by operator."""
    backend.xp = Namespace(cast(ModuleType, backend.xp))
    return backend


def need_graphs(backend: Backend) -> None:
    """Skipped unless it is CuPy, which tells of its graphs and takes a limit of its memory."""
    if backend.name != "cupy":
        raise Skipped(f"the backend {backend.name} does not tell of its graphs and takes no limit of its memory")


def in_precision(backend: Backend, dtype: str) -> Backend:
    """The same backend, its float32 products in TF32 where `dtype` says so."""
    if dtype == "tf32":
        backend.use_tf32()
    return backend
