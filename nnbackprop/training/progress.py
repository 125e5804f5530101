"""Where a run is: enough, with the parameters and the optimizer's state, to go on as if never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from nnbackprop.training.callbacks.base import Score

Count = Annotated[int, Meta(ge=0, le=2**53)]
Share = Annotated[float, Meta(gt=0, le=1)]


@dataclass
class Progress:
    """Counters of a run and the sums of the epoch under way; plain numbers, kept in every checkpoint."""

    epoch: Annotated[int, Meta(ge=1, le=2**53)] = 1  # the epoch under way, counted from 1
    step: Count = 0  # steps done in all
    seconds: float = 0.0  # of all steps
    samples: Count = 0  # seen in this epoch: also the place in its shuffled order
    chunks: Count = 0
    loss: float = 0.0  # sum over the samples of this epoch
    correct: Count = 0
    epoch_seconds: float = 0.0
    norms: dict[str, float] = field(default_factory=dict)  # sums over the chunks of this epoch, by layer
    rate: Share = 1.0  # what every learning rate is multiplied by, less than 1 after a run that was restored
    aims: list[tuple[Count, Count]] = field(
        default_factory=list
    )  # after which step, to how many epochs it was to go

    def aim(self, epochs: int) -> None:
        """Remember to how many epochs the run is to go from here on: schedules may depend on it."""
        if self.aims and self.aims[-1][0] == self.step:  # of the aim before no step was made
            del self.aims[-1]
        if not self.aims or self.aims[-1][1] != epochs:
            self.aims.append((self.step, epochs))

    def add(
        self, steps: int, samples: int, seconds: float, loss: float, correct: int, norms: Mapping[str, float]
    ) -> None:
        """Count a chunk; `loss` is the sum over its samples."""
        self.step += steps
        self.seconds += seconds
        self.samples += samples
        self.chunks += 1
        self.loss += loss
        self.correct += correct
        self.epoch_seconds += seconds
        self.norms = {layer: self.norms.get(layer, 0.0) + norm for layer, norm in norms.items()}

    def score(self) -> Score:
        """Loss and accuracy of this epoch so far, as its steps saw them."""
        return Score(self.loss / self.samples, self.correct / self.samples, self.samples)

    def mean_norms(self) -> dict[str, float]:
        """Gradient norm of each layer, mean over this epoch's chunks."""
        return {layer: total / self.chunks for layer, total in self.norms.items()}

    def next_epoch(self) -> None:
        """Begin the next epoch with empty sums."""
        self.epoch += 1
        self.samples = self.chunks = self.correct = 0
        self.loss = self.epoch_seconds = 0.0
        self.norms = {}
