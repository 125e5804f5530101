"""Training loop: epochs of compiled chunks; callbacks run before and after each."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np

from backends import Backend, Tree, dtype_name, select, tree_map
from nnbackprop.data.dataset import Dataset
from nnbackprop.data.device_dataset import DeviceDataset
from nnbackprop.data.prepared import as_trained, check_prepared
from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.data.scaling import Scaling
from nnbackprop.errors import DivergedError, UsageError
from nnbackprop.nn.augmentation import Augmentation, ImageAugmenter
from nnbackprop.nn.layer_fusion import fuse_layers
from nnbackprop.nn.layers.base import Params
from nnbackprop.nn.losses import Loss
from nnbackprop.nn.metrics import Metrics, metrics_for
from nnbackprop.nn.mixed_precision import HALF_DTYPES, MixedPrecision
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Optimizer

from . import checks, events
from .batch_schedule import BatchSchedule, Chunk, make_batch_schedule
from .callbacks import Callback
from .evaluator import Evaluator, dataset_to_evaluate, inputs_of
from .events import ChunkBegin, EpochBegin, LayerRow, Score, TrainBegin
from .history import History
from .initialization import initial_params
from .progress import Progress
from .sharding import Sharding
from .snapshot import Snapshot, retry_in_microbatches
from .step import TrainStep, zero_sums


@dataclass(eq=False)
class Trainer:
    """Trains a network on a data set with hand-derived gradients, on whichever library `backend` is.

    >>> data = nb.load("iris")
    >>> network = nb.Sequential(nb.Dense(16), nb.ReLU(), nb.Dense(3))
    >>> trainer = nb.Trainer(network, nb.SoftmaxCrossEntropy(), nb.Adam(), lr=0.01, batch_size=20, epochs=30)
    >>> history = trainer.fit(data.train, test=data.test)
    >>> trainer.evaluate(data.test).accuracy > 0.9
    True

    lr is a number or a schedule (step -> learning rate). dtype is float32 or float64, or float16 or bfloat16 for
    products in these with parameters in float32. scaling is applied to every input. batch_size None is the full
    batch. resident (auto, yes, no) says whether the whole data set stays on the device. augment transforms the
    images of each training step at random.
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
    augment: Augmentation | None = None
    batch_size: int | None = 100
    epochs: int = 10
    shuffle: bool = True
    seed: int = 0
    resident: str = "auto"
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        checks.check_options(self)
        self.layer_table: tuple[LayerRow, ...] = ()
        self.sample_shape: tuple[int, ...] = ()
        self.augmenter: ImageAugmenter | None = None  # `augment` for the images of the data
        self.classes: tuple[str, ...] = ()
        self.input_dtype = ""
        self.preprocessing: Preprocessing | None = None  # of the rows of a table
        self.config: Mapping[str, Any] = {}  # the settings of a run, for `TrainBegin`
        self.state: Tree = None
        self.progress = Progress()
        self.history = History()
        self.stop_reason: str | None = None
        self.sharding: Sharding | None = None  # of batches, among processes; None: in one piece, in this one
        self._stop_request: str | None = None  # that the processes have not agreed on yet
        self._build_steps(metrics_for(self.loss))

    def _build_steps(self, metrics: Metrics) -> None:
        """Make the training and evaluation steps of the options as they are now; compiled ones are left behind."""
        objective = Objective(self.network, self.loss, self.penalty)
        self.metrics = metrics
        self.evaluator = Evaluator(self.backend, objective, metrics, self.scaling, self.params_dtype)
        if self.dtype in HALF_DTYPES:
            network: Sequential = MixedPrecision(self.network, self.dtype, self.backend)
        else:
            network = fuse_layers(self.network, self.backend)
        n_microbatches = 1 if self.sharding is None else self.sharding.shards
        self.train_step = TrainStep(
            self.backend.xp,
            replace(objective, network=network),
            self.optimizer,
            metrics,
            self.seed,
            n_microbatches,
            augment=self.augmenter,
        )
        self.snapshot = Snapshot(self.backend)
        self._datasets: dict[str, DeviceDataset] = {}  # of what the last `fit` trains on and evaluates
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
    def eval_params(self) -> Params:
        """The parameters to evaluate and predict by: the average, where the optimizer keeps one."""
        return self.optimizer.eval_params(self.params, self.state["optimizer"])

    @property
    def batch_schedule(self) -> BatchSchedule:
        """The batches of the last `fit`."""
        if self._batch_schedule is None:
            raise UsageError("The trainer has no batches yet: call fit first.")
        return self._batch_schedule

    @property
    def device_data(self) -> DeviceDataset:
        """The training data of the last `fit`."""
        return self.batch_schedule.data

    def set_options(
        self,
        *,
        lr: float | Callable[[int], float] | None = None,
        epochs: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on with other options from here on, those that are given; UsageError for what cannot be right."""
        given = {"lr": lr, "epochs": epochs, "callbacks": callbacks, "config": config}
        changed = {name: value for name, value in given.items() if value is not None}
        before = {name: getattr(self, name) for name in changed}
        vars(self).update(changed)
        try:
            checks.check_options(self)
        except UsageError:
            vars(self).update(before)
            raise

    def use_sharding(self, sharding: Sharding) -> None:
        """Train in shards from here on, with other processes where there are any."""
        self.sharding = sharding
        self._build_steps(self.metrics)

    def set_dropout_rates(self, rates: Sequence[float]) -> None:
        """Train with other rates of the Dropout layers from here on; UsageError unless there is one for each."""
        self.network = self.network.with_dropout(rates)
        self._build_steps(self.metrics)

    def initialize(self, train: Dataset) -> None:
        """Draw initial parameters for data such as `train`, which must fit; `fit` does so unless it is done.

        A trainer that has trained begins anew, at the first epoch.
        """
        self.layer_table, params = initial_params(self, train)
        self.sample_shape, self.classes = train.sample_shape, train.classes
        self.input_dtype, self.preprocessing = str(train.inputs.dtype), train.preprocessing
        metrics = metrics_for(self.loss, train.targets, self.scaling.target_scaling, self.params_dtype)
        if self.augment is not None:
            scales_each_pixel = self.scaling.scale.ndim > 0
            self.augmenter = self.augment.for_images(train.image_shape, train.classes, scales_each_pixel)
        if metrics != self.metrics or self.augmenter is not None:
            self._build_steps(metrics)
        if self.state is not None:
            self.progress, self.history = Progress(), History()
        self.state = self.train_step.init(tree_map(self.backend.asarray, params), train.weights is not None)

    def fit(self, train: Dataset, validation: Dataset | None = None, test: Dataset | None = None) -> History:
        """Train to `epochs` epochs, from where the trainer stands; returns the epochs run here.

        `validation` is evaluated after each epoch; without it `test` is evaluated in its place, to be seen only.

        Raises:
            DivergedError: the loss, a gradient or a parameter became NaN or infinite. State and progress are then
                those after `error.step`; `trace_nan` says where, and `load_state_dict` goes back to a state that
                was kept.
            OutOfMemoryError: not even a batch of one sample fits.
        """
        self.stop_reason = None  # from here on `stop` is heard
        event, done = self._start_fit(train, validation, test), len(self.history)
        self.progress.plan_epochs(int(self.epochs))
        with contextlib.ExitStack() as closing:
            for callback in reversed(self.callbacks):
                closing.callback(callback.close, self)  # each, also where another raises
            self._call("train_begin", event)
            try:
                while self.progress.epoch <= self.epochs and not self._agree_to_stop():
                    self._train_epoch()
            except DivergedError:
                self.stop_reason = "diverged"
                raise
            self.stop_reason = self.stop_reason or "finished"  # a signal from here on finds a run that is over
            self._stop_request = None
            self._call("train_end", events.train_end(self))
        return History(self.history[done:])

    def stop(self, reason: str = "stopped") -> None:
        """End the run after the chunk under way; safe to call from a signal handler or a callback.

        A run that ends by the reason "interrupted" is not over: it keeps the weights of its last step.
        """
        if self.sharding is None:
            self.stop_reason = self.stop_reason or reason
        else:
            self._stop_request = self._stop_request or reason

    def _agree_to_stop(self) -> bool:
        """Whether training ends here; processes that train together find the same."""
        if self.sharding is not None:
            self.stop_reason, self.progress.seconds = self.sharding.agree_to_stop(
                self._stop_request, self.progress.seconds
            )
        return self.stop_reason is not None

    def message(self, text: str) -> None:
        """Tell every callback of something that happened on the way."""
        for callback in self.callbacks:
            callback.message(text)

    def evaluate(self, dataset: Any) -> Score:
        """Mean loss and metrics of the parameters as they stand, dropout off.

        `dataset` is a Dataset, or a data frame with its targets where the trainer was fit to a table.
        """
        data = dataset_to_evaluate(dataset, self.preprocessing)
        return self.evaluator.evaluate(self.eval_params, self._device_dataset(data))

    def evaluate_distributed(self, dataset: Dataset) -> Score:
        """The same, shared out among the processes that train together, each of which calls it."""
        return self._score(self._device_dataset(dataset))

    def _score(self, device_data: DeviceDataset) -> Score:
        if self.sharding is None:
            return self.evaluator.evaluate(self.eval_params, device_data)
        return self.sharding.evaluate(self, self.eval_params, device_data)

    def predict(self, inputs: Any) -> np.ndarray:
        """Class of each raw input (n, *sample_shape), host int32 (n,); 0 or 1 of labels (n, k); numbers (n, k).

        A trainer of a table takes data frames too, whose columns are found by name; a category that training did
        not have is warned of. Arrays are taken as prepared, as data.train.inputs are.
        """
        check_prepared(inputs, self.preprocessing)
        return self.evaluator.predict(self.eval_params, inputs_of(inputs, self.preprocessing), self.sample_shape)

    def predict_proba(self, inputs: Any) -> np.ndarray:
        """Probabilities of classes or labels (n, k) of what `predict` takes; UsageError for a regression."""
        self.evaluator.check_has_probabilities()
        check_prepared(inputs, self.preprocessing)
        return self.predict_proba_or_values(inputs)

    def predict_proba_or_values(self, inputs: Any) -> np.ndarray:
        """`predict_proba`, or the predicted numbers of a regression, host (n, k)."""
        inputs = inputs_of(inputs, self.preprocessing)
        return self.evaluator.predict_proba_or_values(self.eval_params, inputs, self.sample_shape)

    def host_params(self) -> Params:
        """A copy of `eval_params` on the host."""
        return tree_map(self.backend.to_numpy, self.eval_params)

    def load_params(self, params: Params) -> None:
        """Put host arrays in the parameters' place, in the trainer's dtype.

        Raises:
            ShapeError: they are those of another network.
            InitialValueError: one holds NaN or infinity, or a number that the dtype cannot hold.
        """
        checks.check_params(self.params, params)
        given = _with_dtypes_of(self.params, params)
        checks.check_finite(self.network, given, self.params_dtype)
        self.state = {**self.state, "params": tree_map(self.backend.asarray, given)}
        self.state["optimizer"] = self.optimizer.state_for_new_params(
            self.backend.xp, self.params, self.state["optimizer"]
        )
        self.snapshot = Snapshot(self.backend)

    def state_dict(self) -> dict[str, Any]:
        """What an exact resume needs, on the host: params, optimizer, progress."""
        state = {"params": self.params, "optimizer": self.state["optimizer"]}
        host = tree_map(self.backend.to_numpy, state)
        return {**host, "progress": self.progress.to_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on where `saved` was taken; the trainer must have been built. Rows of later epochs are forgotten."""
        checks.check_state_dict(saved, self.params, self.state["optimizer"])
        given = {name: _with_dtypes_of(self.state[name], saved[name]) for name in ("params", "optimizer")}
        restored = tree_map(self.backend.asarray, given)
        state = self.train_step.reset_sums({**self.state, **restored})
        self._go_back(state, Progress.from_dict(saved["progress"]))

    def __getstate__(self) -> dict[str, Any]:
        """Options and state, on the host; data and compiled steps are left out."""
        left_out = ("evaluator", "train_step", "snapshot", "_datasets", "_batch_schedule")
        kept = {name: value for name, value in vars(self).items() if name not in left_out}
        return {**kept, "sharding": None, "state": self.state and tree_map(self.backend.to_numpy, self.state)}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        vars(self).update(saved)
        self._build_steps(self.metrics)
        self.state = self.state and tree_map(self.backend.asarray, self.state)

    def _start_fit(self, train: Dataset, validation: Dataset | None, test: Dataset | None) -> TrainBegin:
        """Move the data where it belongs; everything that can be wrong is found here, before the first step."""
        datasets = {"train": train, "validation": validation, "test": test}
        checks.check_datasets(datasets)
        if self.state is None:
            self.initialize(train)
        sums = zero_sums(self.backend.xp, self.metrics, self.params, train.weights is not None)
        self.state, self.snapshot = {**self.state, "sums": sums}, Snapshot(self.backend)
        evaluated = {"validation": validation} if validation else {"test": test} if test else {}
        used = {"train": train, **evaluated}
        self._datasets = {name: self._device_dataset(data) for name, data in used.items()}
        self._batch_schedule = make_batch_schedule(self, self._datasets["train"])
        return events.train_begin(self, {name: len(data) if data else 0 for name, data in datasets.items()})

    def _device_dataset(self, dataset: Dataset) -> DeviceDataset:
        """`dataset` as the device sees it, its labels by the class map of the training data; the last are kept."""
        dataset = dataset.with_classes(self.classes)
        for device_data in self._datasets.values():
            if device_data.dataset is dataset:
                return device_data
        dataset = as_trained(dataset, self.preprocessing)
        self.evaluator.check_dataset(dataset, self.sample_shape, self.layer_table[-1].out_shape)
        return DeviceDataset(self.backend, dataset, self.scaling, self.params_dtype, self.resident)

    def _train_epoch(self) -> None:
        p, schedule = self.progress, self.batch_schedule
        self._call("epoch_begin", EpochBegin(epoch=p.epoch, step=p.step))
        begin = time.perf_counter()
        for chunk in self._chunks():
            batch_seconds = time.perf_counter() - begin
            event = ChunkBegin(epoch=p.epoch, step=p.step, steps=chunk.n_steps, batches=chunk.batches)
            self._call("chunk_begin", event)
            begin = time.perf_counter()
            self.snapshot.update_if_due(self.state, p)
            with self._undone_by_errors():
                try:
                    if self.sharding is None:
                        step, data = self.train_step, self.device_data.arrays
                        last_step = step.with_gradient_norms
                        self.state = self.backend.scan(step, self.donate_state(), data, chunk.batches, last_step)
                    else:
                        self.state = self.sharding.scan(self, chunk)
                    fits = True
                except MemoryError:  # which holds arrays; they are freed when it is
                    fits = False
                if not fits:
                    self.train_step, self.state = retry_in_microbatches(self, chunk)
                finite, sums, norms = self._read_metrics()
                seconds = time.perf_counter() - begin + batch_seconds
                p.add_chunk(chunk.n_steps, chunk.n_samples, seconds, sums, norms)
            if not finite:
                raise DivergedError.at_step(p.step)
            self._call("chunk_end", events.chunk_end(self, chunk, seconds, sums, norms))
            if self._agree_to_stop() and p.samples_seen < schedule.n_samples:
                return
            begin = time.perf_counter()
        self._end_epoch()

    def _chunks(self) -> Iterator[Chunk]:
        """What is left of the epoch."""
        schedule = self.batch_schedule
        if self.sharding is not None:
            schedule = self.sharding.own_schedule(schedule, self.train_step)
        return schedule.rest_of_epoch(self.progress)

    @contextlib.contextmanager
    def _undone_by_errors(self) -> Iterator[None]:
        """Go back to the snapshot where a chunk breaks off, such as by Ctrl-C in a notebook."""
        try:
            yield
        except BaseException:
            self._go_back(self.snapshot.state, self.snapshot.progress)
            self.message(f"training broke off within a chunk: back at step {self.progress.step}")
            raise

    def _read_metrics(self) -> tuple[bool, Tree, dict[str, float]]:
        """Of a chunk: whether all is finite, its sums, which begin anew, and the norms of its last gradients."""
        with np.errstate(all="ignore"):  # an overflow is not finite
            packed = self.backend.to_numpy(self.train_step.pack_metrics(self.state))  # the only wait
        metrics = self.train_step.unpack_metrics(packed, self.state)
        self.state = self.train_step.reset_sums(self.state)
        return metrics

    def donate_state(self) -> Tree:
        """The state, which the trainer has no longer: the steps that take it overwrite its arrays."""
        state, self.state = self.state, None
        return state

    def _go_back(self, state: Tree, progress: Progress) -> None:
        """Stand where `state` and `progress` were taken, so that `fit` goes on from there."""
        self.state, self.progress = state, progress
        self.history = History(row for row in self.history if row.epoch < progress.epoch)
        self.snapshot = Snapshot(self.backend)

    def scale_lr(self, factor: float) -> None:
        """Multiply the learning rate by `factor`, 0 < factor <= 1; else UsageError. Call it where an epoch ends.

        Within one, chunks that are already on their way to the device would keep the rate they have, and steps
        that are repeated, for want of memory or to trace a NaN, would get the new one.
        """
        if not 0 < factor <= 1:
            raise UsageError(
                f"scale_lr got {factor!r} and can only reduce the learning rate: give a factor above 0, up to 1."
            )
        self.progress.lr_factor *= float(factor)  # which may be one of NumPy's

    def lr_at(self, step: int) -> float:
        """The learning rate of the update after `step` steps."""
        return self.progress.lr_factor * (self.lr(step) if callable(self.lr) else self.lr)

    def _end_epoch(self) -> None:
        p = self.progress
        scores = {name: self._score(data) for name, data in self._datasets.items() if name != "train"}
        checks.raise_if_diverged(scores, p)
        row = events.epoch_end(self, scores)
        self.history.append(row)
        p.next_epoch()
        self._call("epoch_end", row)

    def _call(self, method: str, event: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, method)(self, event)


def _with_dtypes_of(own: Tree, given: Tree) -> Tree:
    """`given` as host arrays with the dtypes of `own`, a tree on the device of the same structure."""
    with np.errstate(over="ignore"):  # infinite then
        return tree_map(lambda a, b: np.asarray(b, dtype_name(a)), own, given)
