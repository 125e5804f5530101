"""Callbacks: called where training, an epoch or a chunk begins and ends; and the events they get.

A chunk is the steps between two readings of the metrics. Events hold host numbers, so that a callback costs no
device synchronisation; one that needs arrays takes them from the trainer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backends import Tree
from nnbackprop.errors import UsageError

if TYPE_CHECKING:
    from .trainer import Trainer


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
    """`steps` steps are about to run; `batches` are their arrays on the device, leading axis the step."""

    epoch: int
    step: int
    steps: int
    batches: Tree


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


@dataclass(eq=False)
class EarlyStopping(Callback):
    """Keeps a host copy of the parameters with the least validation loss; the trainer ends with them.

    `patience` epochs in a row without improvement stop the run (Prechelt, Early Stopping - But When?, 1998); None
    never does. Without a validation part the last parameters are the best.

    Raises:
        UsageError: a patience below 1, or, in `fit`, one without a validation part.
    """

    patience: int | None = None
    best_epoch: int = 0  # 0 for none
    best_loss: float = math.inf
    best_params: Any = None
    wait: int = 0  # epochs since
    resumed: bool = False

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise UsageError(
                f"patience counts epochs from 1 and is {self.patience}: give at least 1, or None to train on."
            )

    @property
    def improved(self) -> bool:
        """Whether the last epoch evaluated was the best."""
        return self.best_epoch > 0 and self.wait == 0

    def restore(self, epoch: int, loss: float, wait: int, params: Any) -> None:
        """Go on from what a checkpoint has: a run that had stopped stays stopped."""
        self.best_epoch, self.best_loss, self.wait = epoch, loss, wait
        self.best_params, self.resumed = params, True

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Check for a validation part; `fit` called again after an early stop waits anew."""
        if self.patience is None:
            return
        if not event.samples["validation"]:
            raise UsageError(
                f"patience={self.patience} waits for a better validation loss and there is no validation part: "
                "give fit one, fit(train, validation=...), or leave patience out."
            )
        if self.wait >= self.patience and self.resumed:
            trainer.stop("early-stopping")
        elif self.wait >= self.patience:
            self.wait = 0
        self.resumed = False

    def epoch_end(self, trainer: Trainer, event: EpochEnd) -> None:
        """Compare this epoch with the best."""
        if event.validation is None:
            return
        if event.validation.loss < self.best_loss:
            self.best_epoch, self.best_loss, self.wait = event.epoch, event.validation.loss, 0
            self.best_params = trainer.host_params()
            return
        self.wait += 1
        if self.patience is not None and self.wait >= self.patience:
            trainer.stop("early-stopping")

    def close(self, trainer: Trainer) -> None:
        """Give a run that ended its best parameters."""
        if self.best_params is not None and trainer.stop_reason not in (None, "interrupted"):
            trainer.load_params(self.best_params)


@dataclass(eq=False)
class TimeLimit(Callback):
    """Stops a run after `seconds`, within about a tenth of a second or one step, whichever is longer."""

    seconds: float
    needs_short_chunks: bool = field(default=True, init=False)
    began: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"A time limit is a finite number of seconds above 0; got {self.seconds!r}.")

    def train_begin(self, trainer: Trainer, event: TrainBegin) -> None:
        """Start the clock, which goes on where training does after a divergence."""
        self.began = self.began or time.monotonic()

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        """Stop when time is up."""
        if time.monotonic() - self.began > self.seconds:
            trainer.stop("max-time")

    def train_end(self, trainer: Trainer, event: TrainEnd) -> None:
        """Stop the clock: another `fit` has as much time again."""
        self.began = 0.0
