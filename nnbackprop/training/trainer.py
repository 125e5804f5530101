"""Training loop: epochs of compiled chunks; callbacks run before and after each."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np

from backends import Backend, Tree, select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.loader import DataLoader
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import DivergedError, UsageError
from nnbackprop.nn.fusion import fuse_layers
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import Loss
from nnbackprop.nn.metrics import Metrics, metrics_for
from nnbackprop.nn.mixed_precision import LOSS_SCALES, MixedPrecision
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Optimizer

from .batch_schedule import BatchSchedule, Chunk
from .callbacks import Callback, ChunkBegin, ChunkEnd, EpochBegin, EpochEnd, LayerRow, Score, TrainBegin, TrainEnd
from .checks import (
    check_batches,
    check_datasets,
    check_initial,
    check_options,
    check_outputs,
    chunk_length,
    layer_rows,
)
from .evaluator import Evaluator
from .progress import Progress
from .snapshot import Snapshot, retry_in_microbatches
from .step import Clip, Objective, TrainStep, zero_sums


@dataclass(eq=False)
class Trainer:
    """Trains a network on a data set with hand-derived gradients, on whichever library `backend` is.

    >>> trainer = Trainer(network, SoftmaxCrossEntropy(), SGD(), lr=0.08, batch_size=120, epochs=20)
    >>> history = trainer.fit(data.train, test=data.test)
    >>> trainer.evaluate(data.test).accuracy

    lr is a number or a schedule (step -> learning rate). dtype is float32 or float64, or float16 or bfloat16 for
    products in these with parameters in float32. scaling is applied to every input. batch_size None is the full
    batch. resident (auto, yes, no) says whether the data stays on the device.
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
        self.input_dtype = ""
        self.state: Tree = None
        self.progress = Progress()
        self.history: list[EpochEnd] = []
        self.stop_reason: str | None = None
        self._compile(metrics_for(self.loss))

    def _compile(self, metrics: Metrics) -> None:
        objective = Objective(self.network, self.loss, self.penalty)
        self.metrics = metrics
        self.evaluator = Evaluator(self.backend, objective, metrics, self.scaling, self.params_dtype)
        if self.dtype in LOSS_SCALES:
            network: Sequential = MixedPrecision(self.network, self.dtype, self.backend)
        else:
            network = fuse_layers(self.network, self.backend)
        objective = replace(objective, network=network)
        self.step = TrainStep(self.backend.xp, objective, self.optimizer, metrics, self.clip, self.seed)
        self.snapshot = Snapshot(self.backend.xp)
        self._loaders: dict[str, DataLoader] = {}  # of the parts that the last `fit` trains on and evaluates
        self._batch_schedule: BatchSchedule | None = None

    @property
    def params_dtype(self) -> str:
        """The dtype of parameters, losses and evaluations."""
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def params(self) -> Params:
        """The parameters as they stand, on the device; donated to the next step, so copy what you keep."""
        if self.state is None:
            raise UsageError("The trainer has no parameters yet: call fit, or initialize(train), first.")
        return self.state["params"]

    @property
    def batch_schedule(self) -> BatchSchedule:
        """The batches of the last `fit`."""
        if self._batch_schedule is None:
            raise UsageError("The trainer has no batches yet: call fit first.")
        return self._batch_schedule

    @property
    def loader(self) -> DataLoader:
        """The training data of the last `fit`."""
        return self.batch_schedule.loader

    def initialize(self, train: Dataset) -> None:
        """Draw initial parameters for data such as `train`, which must fit; `fit` does so unless it is done."""
        layers = self.network.summary(train.sample_shape, self.params_dtype)
        self.layers = layer_rows(layers, np.dtype(self.params_dtype).itemsize)
        check_outputs(self.layers, train, self.loss)
        params = self.network.init(train.sample_shape, self.seed, self.params_dtype)
        check_initial(self.network, params, self.params_dtype)
        self.scaling.check(train, self.params_dtype)
        self.sample_shape, self.classes = train.sample_shape, train.classes
        self.input_dtype = str(train.inputs.dtype)
        if (metrics := metrics_for(self.loss, train.targets)) != self.metrics:
            self._compile(metrics)
        self.state = self.step.init(tree_map(self.backend.asarray, params), train.weights is not None)

    def fit(
        self, train: Dataset, validation: Dataset | None = None, test: Dataset | None = None
    ) -> list[EpochEnd]:
        """Train to `epochs` epochs, from where the trainer stands; returns a row for each epoch run here.

        `validation` is evaluated after each epoch; without it `test` is evaluated in its place, to be seen only.

        Raises:
            DivergedError: the loss, a gradient or a parameter became NaN or infinite; `trace_nan` says where, and
                `load_state_dict` goes back to a state that was kept.
            OutOfMemoryError: not even a batch of one sample fits.
        """
        self.stop_reason = None  # from here on `stop` is heard
        train_begin, done = self._prepare(train, validation, test), len(self.history)
        self.progress.plan_epochs(self.epochs)
        with contextlib.ExitStack() as closing:
            for callback in reversed(self.callbacks):
                closing.callback(callback.close, self)  # each, also where another raises
            self._call("train_begin", train_begin)
            while self.progress.epoch <= self.epochs and not self.stop_reason:
                self._train_epoch()
            self.stop_reason = self.stop_reason or "finished"  # a signal from here on finds a run that is over
            p = self.progress
            self._call("train_end", TrainEnd(p.epoch - (not p.samples), p.step, self.stop_reason, p.seconds))
        return self.history[done:]

    def stop(self, reason: str = "interrupted") -> None:
        """End the run after the chunk under way; safe to call from a signal handler or a callback."""
        self.stop_reason = self.stop_reason or reason

    def message(self, text: str) -> None:
        """Tell every callback of something that happened on the way."""
        for callback in self.callbacks:
            callback.message(text)

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
        restored = {name: tree_map(self.backend.asarray, saved[name]) for name in ("params", "optimizer")}
        self._go_back(self.step.reset_sums({**self.state, **restored}), Progress.from_dict(saved["progress"]))

    def steps_since_snapshot(self) -> Iterator[Tree]:
        """The single steps from `snapshot` on, as they were made."""
        p = self.snapshot.progress
        return self.batch_schedule.steps(p.epoch, p.samples, p.step)

    def __getstate__(self) -> dict[str, Any]:
        """Options and state, on the host; data and compiled steps are left out."""
        left_out = ("evaluator", "step", "snapshot", "_loaders", "_batch_schedule")
        kept = {name: value for name, value in vars(self).items() if name not in left_out}
        return {**kept, "state": self.state and tree_map(self.backend.to_numpy, self.state)}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        vars(self).update(saved)
        self._compile(self.metrics)
        self.state = self.state and tree_map(self.backend.asarray, self.state)

    def _prepare(self, train: Dataset, validation: Dataset | None, test: Dataset | None) -> TrainBegin:
        """Move the data where it belongs; everything that can be wrong is found here, before the first step."""
        parts = {"train": train, "validation": validation, "test": test}
        check_datasets(parts)
        if self.state is None:
            self.initialize(train)
        backend, dtype = self.backend, self.params_dtype
        sums = zero_sums(backend.xp, self.metrics, self.params, train.weights is not None)
        self.state = {**self.state, "sums": sums}
        loader = self._loader(train)
        batch = min(self.batch_size or len(train), len(train))
        check_batches(self.network, len(train), batch)
        length = loader.limit_chunk(chunk_length(self.layers, batch, backend.device), batch)
        save_every = math.gcd(*(callback.steps_per_save or 0 for callback in self.callbacks)) or None
        self._batch_schedule = schedule = BatchSchedule(
            loader, self.optimizer, self._lr, self.seed, self.shuffle, batch, length, save_every, dtype
        )
        evaluated = {"validation": validation} if validation else {"test": test} if test else {}
        self._loaders = {"train": loader, **{name: self._loader(part) for name, part in evaluated.items()}}
        sizes = {name: len(part) if part else 0 for name, part in parts.items()}
        run = batch, schedule.steps_per_epoch, self.epochs, self.progress.step
        return TrainBegin(backend.name, backend.device, self.dtype, backend.why, self.layers, sizes, *run)

    def _loader(self, dataset: Dataset) -> DataLoader:
        """`dataset` as the device sees it, its labels by the class map of the training data; the last are kept."""
        dataset = dataset.with_classes(self.classes)
        for loader in self._loaders.values():
            if loader.dataset is dataset:
                return loader
        self.evaluator.check_dataset(dataset, self.sample_shape, self.layers[-1].out_shape)
        return DataLoader(self.backend, dataset, self.scaling, self.params_dtype, self.resident)

    def _train_epoch(self) -> None:
        p = self.progress
        self._call("epoch_begin", EpochBegin(p.epoch, p.step))
        begin = time.perf_counter()
        by_clock = any(callback.needs_short_chunks for callback in self.callbacks)
        for chunk in self.batch_schedule.chunks(p.epoch, p.samples, p.step, by_clock):
            waited = time.perf_counter() - begin
            self._call("chunk_begin", ChunkBegin(p.epoch, p.step, chunk.steps, chunk.batches))
            begin = time.perf_counter() - waited
            self.snapshot.update(self.state, p)
            state, self.state = self.state, None  # donated
            try:
                with contextlib.suppress(MemoryError):
                    step, data = self.step, self.loader.data
                    self.state = self.backend.scan(step, state, data, chunk.batches, last=step.with_norms)
                state = None
                if self.state is None:
                    self.step, self.state = retry_in_microbatches(self, chunk)
            except BaseException:  # such as Ctrl-C in a notebook
                self._go_back(self.snapshot.state, self.snapshot.progress)
                raise
            self._end_chunk(chunk, begin)
            if self.stop_reason and p.samples < self.batch_schedule.samples:
                return
            begin = time.perf_counter()
        self._end_epoch()

    def _go_back(self, state: Tree, progress: Progress) -> None:
        """Stand where `state` and `progress` were taken, so that `fit` goes on from there."""
        self.state, self.progress = state, progress
        self.history = [row for row in self.history if row.epoch < progress.epoch]
        self.snapshot = Snapshot(self.backend.xp)

    def _lr(self, step: int) -> float:
        return self.progress.lr_factor * (self.lr(step) if callable(self.lr) else self.lr)

    def _end_chunk(self, chunk: Chunk, begin: float) -> None:
        p, (steps, samples, _) = self.progress, chunk
        with np.errstate(all="ignore"):  # an overflow is reported below
            read = self.backend.to_numpy(self.step.pack_metrics(self.state))  # the only wait for the device
        finite, sums, norms = self.step.unpack_metrics(read, self.state)
        if not finite:
            raise DivergedError.at_step(p.step + steps)
        self.state = self.step.reset_sums(self.state)
        seconds = time.perf_counter() - begin
        p.add_chunk(steps, samples, seconds, sums, norms)
        weight = sums.get("weight", samples) or 1.0  # a chunk whose samples all weigh 0
        loss, metrics = sums["loss"] / weight, self.metrics.compute(sums["metrics"], weight)
        shown = loss, metrics, self._lr(p.step - 1), norms, self.backend.memory().used
        self._call("chunk_end", ChunkEnd(p.epoch, p.step, steps, samples, seconds, *shown))

    def _end_epoch(self) -> None:
        p = self.progress
        parts = [(name, loader) for name, loader in self._loaders.items() if name != "train"]
        scores = {name: self.evaluator.evaluate(self.params, loader) for name, loader in parts}
        for score in scores.values():
            if not math.isfinite(score.loss):
                raise DivergedError.evaluating(p.step, f"after epoch {p.epoch}", score.loss)
        validation, test = scores.get("validation"), scores.get("test")
        train = Score(p.loss_sum / p.weight_sum, self.metrics.compute(p.metric_sums, p.weight_sum), p.samples)
        lr, samples_per_second = self._lr(p.step - 1), p.samples / p.epoch_seconds
        row = EpochEnd(
            p.epoch, p.step, lr, train, validation, test, p.mean_norms(), p.epoch_seconds, samples_per_second
        )
        self.history.append(row)
        p.next_epoch()
        self._call("epoch_end", row)

    def _call(self, method: str, event: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, method)(self, event)
