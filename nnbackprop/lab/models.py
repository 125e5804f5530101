"""The trained networks that the page asks about: a run's best weights, or those of the run under way."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from backends import select
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import NnbackpropError
from nnbackprop.nn.layers import Dense
from nnbackprop.runs.run_table import RunInfo, list_runs
from nnbackprop.runs.trained_model import TrainedModel

from .errors import missing, unfit
from .session import Session

MAX_KEPT = 3  # opened runs, with their data and their outputs
LIST_INTERVAL = 1.0  # seconds between two looks at the folder of runs: there may be hundreds, and a stroke waits


@dataclass(frozen=True)
class Model:
    """A trained network on NumPy, and how far it was trained where it is still in training."""

    name: str
    trained: TrainedModel
    step: int | None = None
    _layer_outputs: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def title(self) -> str:
        """The widths of its Dense layers, such as 784-512-256-10."""
        layers = self.trained.evaluator.objective.network.named_layers()
        return "-".join(
            map(str, [self.trained.n_features, *(layer.units for _, layer in layers if isinstance(layer, Dense))])
        )

    @property
    def white(self) -> float:
        """The value of a white pixel in its data: 255 or 1."""
        return 255.0 if self.trained.max_input > 2 else 1.0

    @cached_property
    def data(self) -> Dataset:
        """What the run is looked at by: its test part, or all of its data."""
        return self.trained.data()

    @cached_property
    def outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """The predicted class (n,) and the probabilities (n, k) of `data`."""
        probabilities = self.trained.predict_proba(self.data.inputs)
        return self.trained.evaluator.predicted_targets(probabilities), probabilities

    def layer_outputs(self, name: str) -> np.ndarray:
        """The outputs (n, ...) of a layer for `data`; those of the last layer asked for are kept."""
        if name not in self._layer_outputs:
            e = self.trained.evaluator
            parts = []
            for begin in range(0, len(self.data), e.batch_size):
                x = e.backend.asarray(e.scaling.apply(self.data.inputs[begin : begin + e.batch_size], e.dtype))
                layers = e.objective.network.trace(e.backend.xp, self.trained.params, x).layers
                parts.append(np.array(next(layer.y for layer in layers if layer.name == name)))
            self._layer_outputs.clear()
            self._layer_outputs[name] = np.concatenate(parts)
        return self._layer_outputs[name]


class Models:
    """Opens runs by name, and keeps the last few."""

    def __init__(self, runs_dir: Path, session: Session) -> None:
        self.runs_dir, self.session = runs_dir, session
        self._opened: dict[tuple[str, int], Model] = {}
        self._training: tuple[tuple[str, int], Model] | None = None
        self._without_images: set[tuple[str, float]] = set()  # runs as they were last written
        self._listed, self._listed_at = list[RunInfo](), -math.inf
        self._lock = threading.Lock()

    def _runs(self) -> list[RunInfo]:
        """The runs of the folder, as they were a moment ago."""
        if time.monotonic() - self._listed_at > LIST_INTERVAL:
            self._listed, self._listed_at = list(list_runs(self.runs_dir).runs), time.monotonic()
        return self._listed

    def open(self, name: str) -> Model:
        """A run's network by its best weights, as they are on disk."""
        run_dir = self.session.run_dir(name)
        paths = [run_dir.checkpoint_path(which) for which in ("best", "last")]
        written = [path.stat().st_mtime_ns for path in paths if path.is_file()]
        if not written:
            raise missing("nothing-saved", run=name)
        key = name, written[0]
        with self._lock:
            if key not in self._opened:
                self._opened[key] = Model(
                    name, TrainedModel.open(str(run_dir.path), self.runs_dir, select("numpy"))
                )
                while len(self._opened) > MAX_KEPT:
                    del self._opened[next(iter(self._opened))]
            return self._opened[key]

    def current(self, name: str | None) -> Model:
        """The run of that name; else the one on show, with its weights as they stand while it is in training."""
        state = self.session.state
        name = name or state.run
        if name is None:
            raise missing("no-network")
        if name != state.run or not self.session.active:
            return self.open(name)
        model = self._in_training(name)
        self.session.ask_params()
        if (params := self.session.params) is None:
            return self.open(name)
        return Model(name, replace(model.trained, params=params[1]), params[0])

    def _in_training(self, name: str) -> Model:
        """The run under way, opened once: epochs save other weights, and those that count are the trainer's."""
        key = name, self.session.run_dir(name).config_path.stat().st_mtime_ns
        if self._training is None or self._training[0] != key:
            self._training = key, self.open(name)
        return self._training[1]

    def saved(self, name: str | None) -> Model:
        """The run of that name, else the one on show, else the last of the folder, by its weights on disk."""
        name = name or self.session.state.run
        if name is None:
            names = [
                info.name for info in list_runs(self.runs_dir).runs if info.status not in ("damaged", "empty")
            ]
            if not names:
                raise missing("no-network")
            name = names[-1]
        return self.open(name)

    def digits(self, name: str | None) -> Model:
        """The same, of a network that classifies images; without a name else the last such run of the folder."""
        problem: NnbackpropError = missing("no-image-network")
        if name is not None or self.session.state.run is not None:
            try:
                model = self.current(name)
                if takes_drawings(model.trained):
                    return model
                problem = unfit("not-grey-images", run=model.name, source=model.trained.source)
            except NnbackpropError as error:
                problem = error
            if name is not None:
                raise problem
        for info in reversed(self._runs()):
            if (info.name, info.changed) in self._without_images:
                continue
            try:
                if takes_drawings((model := self.open(info.name)).trained):
                    return model
                self._without_images.add((info.name, info.changed))
            except NnbackpropError:  # a damaged one
                continue
        raise problem


def takes_drawings(trained: TrainedModel) -> bool:
    """Whether a network classifies grey images."""
    return trained.image_shape is not None and len(trained.image_shape) == 2 and bool(trained.classes)
