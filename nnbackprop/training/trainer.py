"""The training loop: epochs of chunks of steps, a look after each chunk, and word of it to the callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np

from backends import Backend, Tree, select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader
from nnbackprop.data.scaling import Scaling
from nnbackprop.diagnostics.findings import Diagnosis
from nnbackprop.diagnostics.monitor import Monitor
from nnbackprop.diagnostics.nan_tracing import NotFinite
from nnbackprop.errors import DataError, DivergedError, UsageError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import Loss, check_labels
from nnbackprop.nn.mixed_precision import MixedPrecision
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Optimizer
from nnbackprop.training.callbacks.base import (
    Callback,
    ChunkBegin,
    ChunkEnd,
    EpochBegin,
    EpochEnd,
    Score,
    TrainBegin,
    TrainEnd,
)
from nnbackprop.training.callbacks.early_stopping import Best

from .batch_schedule import BatchSchedule
from .evaluator import Evaluator
from .plan import check_finite, check_outputs, chunk_length, layer_rows
from .progress import Progress
from .runner import Runner
from .step import Clip, Objective, TrainStep


@dataclass(eq=False)
class Trainer:
    """Trains a network on a data set with hand-derived gradients, on whichever library `backend` is.

    >>> trainer = Trainer(network, SoftmaxCrossEntropy(), SGD(), lr=0.08, batch_size=120, epochs=20)
    >>> history = trainer.fit(data.train, test=data.test)
    >>> trainer.evaluate(data.test).accuracy

    lr is a number or a schedule (step -> learning rate); batch_size None means the full batch; targets are
    the values of the wrong and the right class for losses on outputs; scaling is applied to every input;
    compute is float16 or bfloat16, for steps computed in these while parameters stay in dtype;
    patience stops a run that has a validation part; max_time is in seconds; doctor watches the run for
    `diagnosis`. Chunks end wherever the number of steps is a multiple of save_every, for a callback that saves.
    """

    network: Sequential
    loss: Loss
    optimizer: Optimizer
    lr: float | Callable[[int], float]
    _: KW_ONLY
    backend: Backend = field(default_factory=select)
    dtype: str = "float32"
    compute: str | None = None
    scaling: Scaling = field(default_factory=Scaling.identity)
    targets: tuple[float, float] = (0.0, 1.0)
    penalty: WeightPenalty | None = None
    clip: Clip | None = None
    batch_size: int | None = 100
    epochs: int = 10
    shuffle: bool = True
    seed: int = 0
    patience: int | None = None
    max_time: float | None = None
    save_every: int | None = None
    resident: str = "auto"
    doctor: bool = False
    callbacks: Sequence[Callback] = ()
    description: Mapping[str, str] = field(default_factory=dict)  # further words for the header, in order

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise UsageError(f"A network is trained in float32 or float64, not in {self.dtype!r}.")
        if self.epochs < 1 or (self.batch_size is not None and self.batch_size < 1):
            raise UsageError(
                f"epochs and batch_size count from 1, and are {self.epochs} and {self.batch_size}; a batch_size "
                "of None is the full batch."
            )
        objective = Objective(self.network, self.loss, self.penalty, *self.targets)
        self.inference = Evaluator(self.backend, objective, self.scaling, self.dtype)
        if self.compute:
            objective = replace(objective, network=MixedPrecision(self.network, self.compute, self.backend))
        self.step = TrainStep(self.backend.xp, objective, self.optimizer, self.clip, self.seed)
        self.watch = Monitor(self.step, lambda: self.state) if self.doctor else None
        self.fault: NotFinite | None = None  # of a run that has diverged
        self.progress = Progress()
        self.best = Best(lambda: tree_map(self.backend.to_numpy, self.params), self.stop, self.patience)
        self.state: Tree = None
        self.kept: tuple[DataLoader, ...] = ()
        self.history: list[EpochEnd] = []
        self.stopped: str | None = None

    # What a caller does with it.

    @property
    def params(self) -> Params:
        """The parameters as they stand, on the device; dead after the next step, so copy what you keep."""
        if self.state is None:
            raise UsageError(
                "The trainer has no parameters yet: call fit, or build with the training data, first."
            )
        return self.state["params"]

    @property
    def diagnosis(self) -> Diagnosis:
        """What the run has shown so far, during and after `fit`.

        UsageError without `doctor=True`, unless the run diverged: then the doctor is called afterwards.
        """
        if self.watch:
            return self.watch.diagnosis
        if self.fault is None:
            raise UsageError("This trainer did not watch its run: make it with Trainer(..., doctor=True).")
        return self._look_back(self.fault).diagnosis

    def build(self, train: Dataset) -> None:
        """Draw the first parameters for data such as `train`; `fit` does so unless it has been done.

        ShapeError if a layer, or the last one and the classes, do not fit; UsageError if a first parameter is
        not finite, and DataError if the scaling is not.
        """
        plan = self.network.plan((train.features,), self.dtype)
        self.layers = layer_rows(plan, np.dtype(self.dtype).itemsize)
        check_outputs(self.layers, train.classes)
        params = self.network.init((train.features,), self.seed, self.dtype)
        check_finite(self.network, params, self.dtype)
        self.scaling.check(train, self.dtype)
        self.features = train.features
        self.state = self.step.begin(tree_map(self.backend.asarray, params))

    def fit(
        self, train: Dataset, validation: Dataset | None = None, test: Dataset | None = None
    ) -> list[EpochEnd]:
        """Train to `epochs` epochs, from where the trainer stands; returns a row for each epoch run here.

        `validation` is judged after each epoch and chooses the best weights, which the trainer ends with.
        Without it `test` is judged in its place, to be seen only. DivergedError if numbers cease to be finite.
        """
        self._began, self.stopped = time.monotonic(), None
        self._prepare(train, validation, test)
        self.progress.aim(self.epochs)
        if self.patience is not None and self.best.waited >= self.patience:
            self.stop("early-stopping")  # it had, before it was resumed
        parts = {"train": train, "validation": validation, "test": test}
        self.introduction = self._introduction(parts)
        try:
            self._tell("train_begin", self.introduction)
            while self.progress.epoch <= self.epochs and not self.stopped:
                self._epoch()
            reason = self.stopped = self.stopped or "finished"  # a signal after this finds a run that is over
            p = self.progress
            self._tell("train_end", TrainEnd(p.epoch if p.samples else p.epoch - 1, p.step, reason, p.seconds))
        finally:
            for callback in self.callbacks:
                callback.close()
        if self.best.params is not None and reason != "interrupted":
            self.state = {**self.state, "params": tree_map(self.backend.asarray, self.best.params)}
        return self.history

    def stop(self, reason: str = "interrupted") -> None:
        """End the run after the chunk under way; safe to call from a signal handler or a callback."""
        self.stopped = self.stopped or reason

    def forget_what_came_after(self) -> None:
        """Of a trainer put back to where it was: rows and fault of steps it has not made any more."""
        self.history = [row for row in self.history if row.epoch < self.progress.epoch]
        self.fault = None
        if self.watch:
            self.watch.fault = None

    def evaluate(self, dataset: Dataset) -> Score:
        """Mean loss and accuracy of the parameters as they stand, dropout off."""
        return self.inference.evaluate(self.params, self._feed(dataset))

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Predicted class of each raw input (n, features), host int32 (n,)."""
        return self.inference.predict(self.params, inputs)

    def predict_proba(self, inputs: np.ndarray) -> np.ndarray:
        """Class probabilities (n, k) of raw inputs (n, features), on the host."""
        return self.inference.predict_proba(self.params, inputs)

    # How it is done.

    def _prepare(self, train: Dataset, validation: Dataset | None, test: Dataset | None) -> None:
        """Move the data where it belongs; everything that can be wrong is found here, before the first step."""
        if self.state is None:
            self.build(train)
        self.batch = min(self.batch_size or len(train.targets), len(train.targets))
        self.loader = self._feed(train)
        length = self.loader.limit_chunk(chunk_length(self.layers, self.batch, self.backend.device), self.batch)
        how = self.seed, self.shuffle, self.batch, length, self.save_every, self.dtype
        self.batch_schedule = BatchSchedule(self.loader, self.optimizer, self._rate, *how)
        self.runner = Runner(
            self.backend, self.step, self.batch_schedule, lambda words: self._tell("notice", words)
        )
        watched = validation or test
        self.watched = self._feed(watched) if watched else None
        self.kept = (self.loader, self.watched) if self.watched else (self.loader,)
        self.validated = validation is not None

    def _feed(self, dataset: Dataset) -> DataLoader:
        for loader in self.kept:
            if loader.dataset is dataset:
                return loader
        check_labels(dataset.targets, max(2, self.layers[-1].out_shape[0]))
        if dataset.features != self.features:
            raise DataError(
                f"{dataset.source} has {dataset.features} features a sample and this network was built for "
                f"{self.features}."
            )
        return DataLoader(self.backend, dataset, self.scaling, self.dtype, self.resident)

    def _epoch(self) -> None:
        """The rest of the epoch under way."""
        p = self.progress
        self._tell("epoch_begin", EpochBegin(p.epoch, p.step))
        begin = time.perf_counter()
        for (steps, seen), xs in self.batch_schedule.chunks(p.epoch, p.samples, p.step):
            self._tell("chunk_begin", ChunkBegin(p.epoch, p.step, steps))
            begin += self.watch.look(self.loader, self.state, xs, p.step) if self.watch else 0.0
            self._chunk(xs, steps, seen, begin)
            if self.max_time is not None and time.monotonic() - self._began > self.max_time:
                self.stop("max-time")
            if self.stopped and p.samples < self.batch_schedule.samples:
                return
            begin = time.perf_counter()
        self._end_epoch()

    def _rate(self, step: int) -> float:
        """Learning rate of the step after `step` steps."""
        return self.progress.rate * (self.lr(step) if callable(self.lr) else self.lr)

    def _chunk(self, xs: Tree, steps: int, samples: int, begin: float) -> None:
        """Run a chunk, look at it once, and tell."""
        p = self.progress
        state, self.state = self.state, None  # given away
        self.state = self.runner.run(state, xs, p)
        with np.errstate(all="ignore"):  # what overflows is said below
            loss, correct, finite, *norms = self.backend.to_numpy(self.step.look(self.state)).tolist()
        if not finite:
            raise self.diverged(self.runner.fault(self.network.names, p.step + steps))
        self.state = self.step.clear(self.state)
        by_layer = dict(zip(self._trained_layers(), norms, strict=True))
        seconds = time.perf_counter() - begin
        p.add(steps, samples, seconds, loss, round(correct), by_layer)
        lr, used = self._rate(p.step - 1), self.backend.memory().used
        means = loss / samples, correct / samples
        self._tell("chunk_end", ChunkEnd(p.epoch, p.step, steps, samples, seconds, *means, lr, by_layer, used))

    def _end_epoch(self) -> None:
        """Judge, keep the epoch's row, tell, go on to the next."""
        p = self.progress
        score = self.inference.evaluate(self.params, self.watched) if self.watched else None
        if score and not math.isfinite(score.loss):
            words = f"After epoch {p.epoch}, step {p.step}, the loss of the part watched is {score.loss}"
            raise self.diverged(NotFinite(p.step, "watched", words))
        validation, test = (score, None) if self.validated else (None, score)
        pace = p.samples / p.epoch_seconds
        norms, lr = p.mean_norms(), self._rate(p.step - 1)
        row = EpochEnd(p.epoch, p.step, lr, p.score(), validation, test, norms, p.epoch_seconds, pace)
        self.history.append(row)
        p.next_epoch()
        self.best.epoch_end(row)
        self._tell("epoch_end", row)

    def diverged(self, fault: NotFinite) -> DivergedError:
        """The error to raise of a run that ceased to be finite, of which `diagnosis` then tells."""
        self.fault = fault
        if self.watch:
            self.watch.fault = fault
        return fault.error()

    def _look_back(self, fault: NotFinite) -> Monitor:
        """A watch that has seen one state, the last that is kept from before the fault."""
        watch, kept = Monitor(self.step, lambda: self.state), self.runner.snapshot
        watch.train_begin(self.introduction)
        watch.fault = fault
        _, xs = next(self.batch_schedule.chunks(kept.epoch, kept.samples, kept.at))
        watch.look(self.loader, kept.state, xs, kept.at)
        return watch

    def _trained_layers(self) -> list[str]:
        return [row.name for row in self.layers if row.parameters]

    def _tell(self, what: str, event: Any) -> None:
        for callback in (self.watch, *self.callbacks) if self.watch else self.callbacks:
            getattr(callback, what)(event)

    def _introduction(self, parts: Mapping[str, Dataset | None]) -> TrainBegin:
        """What is known before the first step."""
        return TrainBegin(
            backend=self.backend.name,
            device=self.backend.device,
            dtype=self.dtype,
            why=self.backend.why,
            layers=self.layers,
            samples={name: len(part.targets) if part else 0 for name, part in parts.items()},
            batch_size=self.batch,
            steps_per_epoch=-(-self.batch_schedule.samples // self.batch),
            epochs=self.epochs,
            first_step=self.progress.step,
            description=self.description,
        )
