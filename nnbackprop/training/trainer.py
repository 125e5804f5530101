"""Training loop: epochs of compiled chunks; callbacks run before and after each."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import reduce
from itertools import islice
from typing import Any

import numpy as np

from backends import Backend, Tree, leaves, select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import DivergedError, OutOfMemoryError, UsageError
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import Loss
from nnbackprop.nn.metrics import Metrics, metrics_for
from nnbackprop.nn.mixed_precision import SCALES, MixedPrecision
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Optimizer

from .batch_schedule import BatchSchedule, Chunk
from .callbacks import (
    Callback,
    ChunkBegin,
    ChunkEnd,
    EpochBegin,
    EpochEnd,
    LayerRow,
    Score,
    TrainBegin,
    TrainEnd,
)
from .evaluator import Evaluator
from .plan import check_batches, check_initial, check_options, check_outputs, check_parts, chunk_length, layer_rows
from .progress import Progress
from .snapshot import Snapshot
from .step import Clip, Objective, TrainStep


@dataclass(eq=False)
class Trainer:
    """Trains a network on a data set with hand-derived gradients, on whichever library `backend` is.

    >>> trainer = Trainer(network, SoftmaxCrossEntropy(), SGD(), lr=0.08, batch_size=120, epochs=20)
    >>> history = trainer.fit(data.train, test=data.test)
    >>> trainer.evaluate(data.test).accuracy

    lr is a number or a schedule (step -> learning rate). dtype is float32 or float64, or float16 or bfloat16 for
    products in these with parameters in float32. scaling is applied to every input. batch_size None is the full
    batch. resident (auto, yes, no) says whether the data stays on the device.

    Raises:
        UsageError: an option that cannot be right.
    """

    network: Sequential
    loss: Loss
    optimizer: Optimizer
    lr: float | Callable[[int], float]
    _: KW_ONLY
    backend: Backend = field(default_factory=select)
    dtype: str = "float32"
    scaling: Scaling = field(default_factory=Scaling.identity)
    penalty: WeightPenalty | None = None
    clip: Clip | None = None
    batch_size: int | None = 100
    epochs: int = 10
    shuffle: bool = True
    seed: int = 0
    resident: str = "auto"
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        check_options(self)
        self.layers: tuple[LayerRow, ...] = ()
        self.sample_shape: tuple[int, ...] = ()
        self.classes: tuple[str, ...] = ()
        self.state: Tree = None
        self.progress = Progress()
        self.history: list[EpochEnd] = []
        self.stop_reason: str | None = None
        self._compile(metrics_for(self.loss))

    def _compile(self, metrics: Metrics) -> None:
        """Make what depends on the backend and on the targets: compiled steps, and no data yet."""
        objective = Objective(self.network, self.loss, self.penalty)
        self.metrics = metrics
        self.evaluator = Evaluator(self.backend, objective, metrics, self.scaling, self.params_dtype)
        if self.dtype in SCALES:
            objective = replace(objective, network=MixedPrecision(self.network, self.dtype, self.backend))
        self.step = TrainStep(self.backend.xp, objective, self.optimizer, metrics, self.clip, self.seed)
        self.snapshot = Snapshot(self.backend.xp)
        self._loaders: tuple[DataLoader, ...] = ()  # of the data sets of the last `fit`, the training part first
        self._schedule: BatchSchedule | None = None

    # What a caller does with it.

    @property
    def params_dtype(self) -> str:
        """The dtype of parameters, losses and evaluations."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def params(self) -> Params:
        """The parameters as they stand, on the device; donated to the next step, so copy what you keep."""
        if self.state is None:
            raise UsageError(
                "The trainer has no parameters yet: call fit, or build with the training data, first."
            )
        return self.state["params"]

    @property
    def batch_schedule(self) -> BatchSchedule:
        """The batches of the last `fit`."""
        if self._schedule is None:
            raise UsageError("The trainer has no batches yet: call fit first.")
        return self._schedule

    @property
    def loader(self) -> DataLoader:
        """The training data of the last `fit`."""
        return self.batch_schedule.loader

    def build(self, train: Dataset) -> None:
        """Draw the initial parameters for data such as `train`; `fit` does so unless it has been done.

        ShapeError if a layer, or the last one and the targets, do not fit; UsageError if an initial parameter is
        not finite, and DataError if the scaling is not.
        """
        plan = self.network.plan(train.sample_shape, self.params_dtype)
        self.layers = layer_rows(plan, np.dtype(self.params_dtype).itemsize)
        check_outputs(self.layers, train, self.loss)
        params = self.network.init(train.sample_shape, self.seed, self.params_dtype)
        check_initial(self.network, params, self.params_dtype)
        self.scaling.check(train, self.params_dtype)
        self.sample_shape, self.classes = train.sample_shape, train.classes
        if (metrics := metrics_for(self.loss, train.targets)) != self.metrics:
            self._compile(metrics)
        self.state = self.step.init(tree_map(self.backend.asarray, params), train.weights is not None)

    def fit(
        self, train: Dataset, validation: Dataset | None = None, test: Dataset | None = None
    ) -> list[EpochEnd]:
        """Train to `epochs` epochs, from where the trainer stands; returns a row for each epoch run here.

        `validation` is evaluated after each epoch; without it `test` is evaluated in its place, to be seen only.

        Raises:
            DivergedError: the loss, a gradient or a parameter became NaN or infinite.
            OutOfMemoryError: not even a batch of one sample fits.
        """
        self.stop_reason = None  # from here on `stop` is heard
        parts = self._prepare(train, validation, test)
        done = len(self.history)
        self.progress.plan_epochs(self.epochs)
        with contextlib.ExitStack() as closing:
            for callback in reversed(self.callbacks):
                closing.callback(callback.close, self)  # each, also where another raises
            self._call("train_begin", self._introduction(parts))
            while self.progress.epoch <= self.epochs and not self.stop_reason:
                self._train_epoch(validated=validation is not None)
            self.stop_reason = self.stop_reason or "finished"  # a signal from here on finds a run that is over
            p = self.progress
            epoch = p.epoch if p.samples else p.epoch - 1
            self._call("train_end", TrainEnd(epoch, p.step, self.stop_reason, p.seconds))
        return self.history[done:]

    def stop(self, reason: str = "interrupted") -> None:
        """End the run after the chunk under way; safe to call from a signal handler or a callback."""
        self.stop_reason = self.stop_reason or reason

    def evaluate(self, dataset: Dataset) -> Score:
        """Mean loss and metrics of the parameters as they stand, dropout off."""
        return self.evaluator.evaluate(self.params, self._loader(dataset))

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Predicted class of each raw input (n, *sample_shape), host int32 (n,); without classes the outputs."""
        return self.evaluator.predict(self.params, inputs, self.sample_shape)

    def predict_proba(self, inputs: np.ndarray) -> np.ndarray:
        """Class probabilities (n, k) of raw inputs (n, *sample_shape), on the host."""
        return self.evaluator.predict_proba(self.params, inputs, self.sample_shape)

    def host_params(self) -> Params:
        """A copy of the parameters on the host."""
        return tree_map(self.backend.to_numpy, self.params)

    def load_params(self, params: Params) -> None:
        """Put host arrays in the parameters' place."""
        self.state = {**self.state, "params": tree_map(self.backend.asarray, params)}

    def state_dict(self) -> dict[str, Any]:
        """What an exact resume needs, on the host: params, optimizer, progress."""
        host = tree_map(self.backend.to_numpy, {name: self.state[name] for name in ("params", "optimizer")})
        return {**host, "progress": self.progress.to_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on where `saved` was taken; the trainer must have been built. Rows of later epochs are forgotten."""
        weighted = "weight" in self.state["sums"]
        self.state = {
            **self.step.init(tree_map(self.backend.asarray, saved["params"]), weighted),
            "optimizer": tree_map(self.backend.asarray, saved["optimizer"]),
        }
        self.progress = Progress.from_dict(saved["progress"])
        self.history = [row for row in self.history if row.epoch < self.progress.epoch]
        self.snapshot = Snapshot(self.backend.xp)

    def steps_since_snapshot(self) -> Iterator[Tree]:
        """The single steps from `snapshot` on, as they were made."""
        s = self.snapshot
        return self.batch_schedule.steps(s.epoch, s.samples, s.step)

    def __getstate__(self) -> dict[str, Any]:
        """Options and state, on the host; data and compiled steps are left out."""
        left_out = ("evaluator", "step", "snapshot", "_loaders", "_schedule")
        kept = {name: value for name, value in vars(self).items() if name not in left_out}
        return {**kept, "state": self.state and tree_map(self.backend.to_numpy, self.state)}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        vars(self).update(saved)
        self._compile(self.metrics)
        self.state = self.state and tree_map(self.backend.asarray, self.state)

    # How it is done.

    def _prepare(
        self, train: Dataset, validation: Dataset | None, test: Dataset | None
    ) -> Mapping[str, Dataset | None]:
        """Move the data where it belongs; everything that can be wrong is found here, before the first step."""
        parts = {"train": train, "validation": validation, "test": test}
        check_parts(parts)
        if self.state is None:
            self.build(train)
        self.state = self.step.clear(self.state, train.weights is not None)
        loader = self._loader(train)
        batch = min(self.batch_size or len(train), len(train))
        check_batches(self.network, len(train), batch)
        length = loader.limit_chunk(chunk_length(self.layers, batch, self.backend.device), batch)
        saves = [c.steps_per_save for c in self.callbacks if c.steps_per_save]
        every = reduce(math.gcd, saves) if saves else None
        dtype = self.params_dtype
        self._schedule = BatchSchedule(
            loader, self.optimizer, self._lr, self.seed, self.shuffle, batch, length, every, dtype
        )
        evaluated = validation or test
        self._loaders = (loader, self._loader(evaluated)) if evaluated else (loader,)
        return parts

    def _loader(self, dataset: Dataset) -> DataLoader:
        """`dataset` as the device sees it, its labels by the class map of the training data; the last are kept."""
        dataset = dataset.with_classes(self.classes)
        for loader in self._loaders:
            if loader.dataset is dataset:
                return loader
        self.evaluator.check_dataset(dataset, self.sample_shape, self.layers[-1].out_shape)
        return DataLoader(self.backend, dataset, self.scaling, self.params_dtype, self.resident)

    def _train_epoch(self, validated: bool) -> None:
        """The rest of the epoch under way."""
        p = self.progress
        self._call("epoch_begin", EpochBegin(p.epoch, p.step))
        begin = time.perf_counter()
        by_clock = any(callback.needs_short_chunks for callback in self.callbacks)
        for chunk in self.batch_schedule.chunks(p.epoch, p.samples, p.step, by_clock):
            waited = time.perf_counter() - begin
            self._call("chunk_begin", ChunkBegin(p.epoch, p.step, chunk.steps, chunk.xs))
            begin = time.perf_counter() - waited
            self.snapshot.renew(self.state, p)
            try:
                self.state = self._run_chunk(chunk)
            except BaseException:  # such as Ctrl-C in a notebook: the state was donated
                self._rewind()
                raise
            self._end_chunk(chunk, begin)
            if self.stop_reason and p.samples < self.batch_schedule.samples:
                return
            begin = time.perf_counter()
        self._end_epoch(validated)

    def _run_chunk(self, chunk: Chunk) -> Tree:
        """The state after a chunk."""
        state, self.state = self.state, None  # donated
        try:
            return self.backend.scan(self.step, state, self.loader.data, chunk.xs, last=self.step.with_norms)
        except MemoryError:
            del state  # half updated
        return self._retry_in_microbatches(chunk)

    def _rewind(self) -> None:
        """Stand where the snapshot was taken, so that `fit` goes on from there."""
        self.state, self.progress = self.snapshot.state, Progress.from_dict(self.snapshot.progress)
        self.history = [row for row in self.history if row.epoch < self.progress.epoch]
        self.snapshot = Snapshot(self.backend.xp)

    def _lr(self, step: int) -> float:
        """Learning rate of the step after `step` steps."""
        return self.progress.lr_factor * (self.lr(step) if callable(self.lr) else self.lr)

    def _end_chunk(self, chunk: Chunk, begin: float) -> None:
        """Read the metrics once, count the chunk, and call back."""
        p = self.progress
        with np.errstate(all="ignore"):  # an overflow is reported below
            finite, sums, norms = self.step.unpack(
                self.backend.to_numpy(self.step.read_metrics(self.state)), self.state
            )
        if not finite:
            raise DivergedError.at_step(p.step + chunk.steps)
        self.state = self.step.clear(self.state, "weight" in self.state["sums"])
        seconds = time.perf_counter() - begin
        gradient_norms = dict(zip(self._trained_layers(), norms, strict=True))
        weight = sums.get("weight", chunk.samples)
        p.add_chunk(chunk.steps, chunk.samples, seconds, sums["loss"], weight, sums["metrics"], gradient_norms)
        weight = weight or 1.0  # a chunk whose samples all weigh 0
        metrics = self.metrics.compute(sums["metrics"], weight)
        lr, used = self._lr(p.step - 1), self.backend.memory().used
        loss = sums["loss"] / weight
        self._call(
            "chunk_end",
            ChunkEnd(
                p.epoch, p.step, chunk.steps, chunk.samples, seconds, loss, metrics, lr, gradient_norms, used
            ),
        )

    def _end_epoch(self, validated: bool) -> None:
        """Evaluate, keep the epoch's row, call back, go on to the next."""
        p = self.progress
        score = self.evaluator.evaluate(self.params, self._loaders[1]) if len(self._loaders) > 1 else None
        if score and not math.isfinite(score.loss):
            raise DivergedError.evaluating(p.step, f"after epoch {p.epoch}", score.loss)
        validation, test = (score, None) if validated else (None, score)
        train = Score(p.loss / p.weight, self.metrics.compute(p.metrics, p.weight), p.samples)
        lr, pace = self._lr(p.step - 1), p.samples / p.epoch_seconds
        row = EpochEnd(p.epoch, p.step, lr, train, validation, test, p.mean_norms(), p.epoch_seconds, pace)
        self.history.append(row)
        p.next_epoch()
        self._call("epoch_end", row)

    def _retry_in_microbatches(self, chunk: Chunk) -> Tree:
        """The state after `chunk`, for which memory ran out: from the snapshot, in ever smaller microbatches."""
        at, data = self.progress.step, self.loader.data
        while self.step.microbatches < self.batch_schedule.batch_size:
            self.step = replace(self.step, microbatches=2 * self.step.microbatches)
            self.backend.empty_cache()
            try:
                state = self.snapshot.copy()
                for x in islice(self.steps_since_snapshot(), at - self.snapshot.step):
                    state = self.step(state, data, x)
                state = self.backend.scan(
                    self.step,
                    self.step.clear(state, "weight" in state["sums"]),
                    data,
                    chunk.xs,
                    last=self.step.with_norms,
                )
            except MemoryError:
                state = None
                continue
            for callback in self.callbacks:
                callback.message(
                    f"memory ran out: each batch is worked through in {self.step.microbatches} microbatches from "
                    "here on"
                )
            return state
        raise OutOfMemoryError(
            f"Memory ran out at step {at + 1}, with batches worked through a sample at a time: train a smaller "
            "network (--hidden), keep the data off the device (--resident no), or free memory. The last "
            "checkpoint was kept."
        )

    def _trained_layers(self) -> list[str]:
        """Names of the layers with parameters, whose gradient norms are recorded."""
        return [name for name, _, params in self.network.named_layers(self.params) if leaves(params)]

    def _call(self, method: str, event: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, method)(self, event)

    def _introduction(self, parts: Mapping[str, Dataset | None]) -> TrainBegin:
        """What is known before the first step."""
        return TrainBegin(
            backend=self.backend.name,
            device=self.backend.device,
            dtype=self.dtype,
            why=self.backend.why,
            layers=self.layers,
            samples={name: len(part) if part else 0 for name, part in parts.items()},
            batch_size=self.batch_schedule.batch_size,
            steps_per_epoch=self.batch_schedule.steps_per_epoch,
            epochs=self.epochs,
            first_step=self.progress.step,
        )
