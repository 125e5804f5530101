"""Fine-tuning: a run that begins with the weights of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends import select
from nnbackprop.data.dataset import Dataset
from nnbackprop.errors import UsageError
from nnbackprop.nn.layers.base import Layer, LayerParams, map_layers
from nnbackprop.training.trainer import Trainer

from .config import Config
from .run_dir import RunDir
from .trained_model import TrainedModel


@dataclass(frozen=True)
class Transfer:
    """What a run took from another: the names of the layers with its weights, and of those drawn anew."""

    source: Path
    taken: tuple[str, ...]
    drawn: tuple[str, ...]

    @property
    def description(self) -> dict[str, str]:
        """The line of a run's header."""
        drawn = f"; drawn anew: {', '.join(self.drawn)}" if self.drawn else ""
        return {"weights": f"{', '.join(self.taken)} of {self.source}{drawn}"}


def absolute_run(config: Config) -> str | None:
    """The path of the run that `config.init_from` means, from whatever working folder; None where it has none."""
    if config.init_from is None:
        return None
    return str(RunDir.open(Path(config.runs_dir), config.init_from).path.absolute())


def transfer(trainer: Trainer, config: Config, train: Dataset) -> Transfer | None:
    """Put the best weights of `config.init_from` in the place of a trainer's initial ones, layer by layer.

    A layer takes those of the same name if all shapes fit. The last layer is drawn anew where the classes, or the
    names of the targets, are others, and the first where a table's features are. None where there is no such run.

    Raises:
        UsageError: no layer fits.
    """
    if config.init_from is None:
        return None
    source = TrainedModel.open(config.init_from, Path(config.runs_dir), select("numpy"))
    ours, theirs = _weights_by_layer(trainer), _weights_by_layer(source)
    (first, *_, last), source_last = (*ours, *ours), [*theirs][-1]  # twice, as there may be a single layer
    candidates = {name: p for name, p in theirs.items() if name != source_last and name != last}
    if _has_the_same_targets(source, train):
        candidates[last] = theirs[source_last]
    if not _has_the_same_features(source, train) and first in candidates:
        del candidates[first]
    taken = {name: p for name, p in candidates.items() if _shapes(p) == _shapes(ours.get(name, {}))}
    if not taken:
        raise UsageError(
            f"--init-from {config.init_from}: no layer fits. That run has {_described(theirs)}, and this network "
            f"{_described(ours)}: give the --hidden or --layers, --norm and --bias of that run's config.toml."
        )
    names = iter([name for name, *_ in trainer.network.named_layers()])

    def replaced(layer: Layer, params: LayerParams) -> LayerParams:
        return {name: a.astype(trainer.params_dtype) for name, a in taken.get(next(names), params).items()}

    trainer.load_params(map_layers(replaced, trainer.network, trainer.host_params()))
    drawn = tuple(name for name in ours if name not in taken)
    return Transfer(source.run_dir.path, tuple(name for name in ours if name in taken), drawn)


def _weights_by_layer(model: Trainer | TrainedModel) -> dict[str, LayerParams]:
    network = model.evaluator.objective.network
    return {name: p for name, _, p in network.named_layers(model.params) if p}


def _has_the_same_targets(source: TrainedModel, train: Dataset) -> bool:
    if train.classes or source.classes:
        return train.classes == source.classes
    return source.preprocessing is None or source.preprocessing.targets == train.target_names


def _has_the_same_features(source: TrainedModel, train: Dataset) -> bool:
    names = () if source.preprocessing is None else source.preprocessing.feature_names
    return not (names and train.feature_names) or names == train.feature_names


def _shapes(params: LayerParams) -> dict[str, tuple[int, ...]]:
    return {name: tuple(a.shape) for name, a in params.items()}


def _described(layers: dict[str, LayerParams]) -> str:
    shapes: dict[str, Any] = {name: next(iter(_shapes(p).values())) for name, p in layers.items()}
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
