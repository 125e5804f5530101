"""Callbacks: called where training, an epoch or a chunk begins and ends; and the events they get.

A chunk is the steps between two readings of the metrics. Events hold host numbers, so that a callback costs no
device synchronisation; one that needs arrays takes them from the trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backends import Tree

if TYPE_CHECKING:
    from nnbackprop.training.trainer import Trainer


@dataclass(frozen=True)
class Score:
    """Mean loss (penalties included) and metrics over `samples` samples: accuracy in 0..1 for classes."""

    loss: float
    metrics: Mapping[str, float]
    samples: int

    @property
    def accuracy(self) -> float:
        """Share of right answers in 0..1; KeyError unless the targets are classes."""
        return self.metrics["accuracy"]


@dataclass(frozen=True)
class LayerRow:
    """One line of the layer table; FLOPs count the forward pass of one sample."""

    index: int
    name: str
    out_shape: tuple[int, ...]
    parameters: int
    bytes: int
    flops: int


@dataclass(frozen=True)
class TrainBegin:
    """Everything about the run that is known before its first step."""

    backend: str
    device: str
    dtype: str
    why: str  # how the backend came to be chosen
    layers: tuple[LayerRow, ...]
    samples: Mapping[str, int]  # {"train": 60000, "validation": 0, "test": 10000}
    batch_size: int
    steps_per_epoch: int
    epochs: int
    first_step: int  # steps done before: 0, or more when the run resumes


@dataclass(frozen=True)
class EpochBegin:
    """Epoch `epoch` (counted from 1) starts; `step` steps have been done."""

    epoch: int
    step: int


@dataclass(frozen=True)
class ChunkBegin:
    """`steps` steps are about to run; `xs` are their batches, numbers and scalars, on the device."""

    epoch: int
    step: int
    steps: int
    xs: Tree


@dataclass(frozen=True)
class ChunkEnd:
    """What a chunk's steps came to: loss and metrics are means over the chunk, in training mode."""

    epoch: int
    step: int  # steps done since the beginning of training
    steps: int  # steps in this chunk
    samples: int
    seconds: float  # of the chunk's steps alone
    loss: float
    metrics: Mapping[str, float]
    lr: float
    gradient_norms: Mapping[str, float]  # by layer, of the chunk's last step
    memory_used: int | None  # bytes on the device


@dataclass(frozen=True)
class EpochEnd:
    """An epoch's row: `train` is the mean over its batches in training mode.

    `validation` is None without a validation part, `test` is None without a test part or where a validation part
    is evaluated instead. Nothing is ever chosen by `test`.
    """

    epoch: int
    step: int
    lr: float
    train: Score
    validation: Score | None
    test: Score | None
    gradient_norms: Mapping[str, float]  # by layer, mean over the epoch's chunks
    seconds: float  # of the epoch's steps alone
    samples_per_second: float


@dataclass(frozen=True)
class TrainEnd:
    """The run is over: `reason` is one of finished, early-stopping, max-time, interrupted."""

    epoch: int
    step: int
    reason: str
    seconds: float  # of all steps of the run, resumed parts included


class Callback:
    """Base of all callbacks; override what you need. `Trainer` calls each in the order of its list.

    `steps_per_save` makes chunks end wherever the number of steps is a multiple of it. `needs_short_chunks` asks
    for chunks that take about a tenth of a second by the clock, rather than by estimate.
    """

    steps_per_save: int | None = None
    needs_short_chunks: bool = False

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Before the first step."""

    def epoch_begin(self, trainer: Trainer, event: EpochBegin) -> None:
        """Before an epoch's first step."""

    def chunk_begin(self, trainer: Trainer, event: ChunkBegin) -> None:
        """Before each chunk."""

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """After each chunk."""

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """After an epoch's last step and its evaluation."""

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """After the last step, unless the run raised; the parameters are those of the last step."""

    def message(self, text: str) -> None:
        """Something that happened on the way, for people to read."""

    def close(self, trainer: Trainer) -> None:
        """Last of all, also when the run raised."""
