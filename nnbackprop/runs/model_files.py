"""`nb.save` and `nb.open`: a trained network as one file of arrays and plain values, and back."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from backends import Backend, select
from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.errors import NnbackpropError, RunFolderError, UsageError
from nnbackprop.nn.losses import Loss
from nnbackprop.nn.objective import Objective
from nnbackprop.nn.regularization import WeightPenalty
from nnbackprop.nn.sequential import Sequential
from nnbackprop.training.trainer import Trainer

from .checkpoint import Checkpoint, flatten, load
from .checkpoint import save as save_checkpoint
from .plain_objects import from_plain, to_plain
from .saved_model import SavedModel, evaluator_and_params
from .trained_model import TrainedModel
from .trainer_checkpoint import read_scaling, scaling_arrays

Size = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ModelInfo(Struct, frozen=True, rename={"n_outputs": "outputs"}):
    """What a file says of its network, beside the arrays."""

    version: str
    network: dict[str, Any]
    loss: dict[str, Any]
    penalty: dict[str, Any] | None
    dtype: Literal["float32", "float64"]
    sample_shape: Annotated[tuple[Size, ...], Meta(min_length=1, max_length=4)]
    n_outputs: Size
    classes: tuple[str, ...] = ()
    input_dtype: str = ""
    image_shape: tuple[Size, ...] | None = None
    max_input: float | None = None
    preprocessing: Preprocessing | None = None


def save(model: Trainer | SavedModel, path: str | Path) -> None:
    """Write a trainer's network to one file that `nb.open` opens; whole or not at all.

    Its parameters are those that the trainer evaluates by: the last, or their moving average where the optimizer
    keeps one.

    The file is safetensors: parameters, scaling of inputs and targets; and as plain values the layers, the loss,
    class names, and the preprocessing of a table. It holds no code, and opens on any backend. The optimizer's
    state is not in it: that is in a run folder, or in `trainer.state_dict()`.

    Raises:
        UsageError: the trainer has not been fit, or a layer, initializer or loss is a class of your own.
    """
    if not isinstance(model, Trainer | SavedModel):
        raise UsageError(f"save got {type(model).__name__} and needs a Trainer, or what nb.open gave.")
    e, params = model.evaluator, model.host_params()
    network, penalty = e.objective.network, e.objective.penalty
    info = ModelInfo(
        version=version("nnbackprop"),
        network=to_plain(network),
        loss=to_plain(e.objective.loss),
        penalty=to_plain(penalty),
        dtype="float64" if e.dtype == "float64" else "float32",
        sample_shape=model.sample_shape,
        n_outputs=network.summary(model.sample_shape, e.dtype)[-1].out_shape[0],
        classes=model.classes,
        input_dtype=model.input_dtype,
        image_shape=model.image_shape if isinstance(model, SavedModel) else None,
        max_input=model.max_input if isinstance(model, SavedModel) else None,
        preprocessing=model.preprocessing,
    )
    arrays = flatten(params, "params") | scaling_arrays(e.scaling)
    save_checkpoint(Path(path), Checkpoint(arrays, {"model": msgspec.to_builtins(info)}))


def open(path: str | Path, backend: Backend | None = None) -> SavedModel:
    """A trained network out of a file of `nb.save`, or of a run folder by path, by name or as `last`.

    It evaluates and predicts, on the backend that is given or chosen, whichever trained it.

    Raises:
        RunFolderError: there is no such file or run, or it is damaged.
    """
    if Path(path).is_dir() or not Path(path).exists():
        return TrainedModel.open(str(path), backend=backend)
    checkpoint = load(Path(path))
    try:
        return _model_of(checkpoint, str(path), backend or select())
    except RunFolderError:
        raise
    except (msgspec.ValidationError, ValueError, RecursionError, NnbackpropError) as error:
        reason = str(error).rstrip(".")
        raise RunFolderError(
            f"{path} cannot be opened as a network: {reason}. Give a file that nb.save wrote; of a run, name its "
            "folder."
        ) from error


def _model_of(checkpoint: Checkpoint, path: str, backend: Backend) -> SavedModel:
    if "model" not in checkpoint.meta:
        raise ValueError("it does not describe one")
    info = msgspec.convert(checkpoint.meta["model"], ModelInfo)
    network, loss = from_plain(info.network), from_plain(info.loss)
    penalty = None if info.penalty is None else from_plain(info.penalty)
    if not isinstance(network, Sequential):
        raise ValueError(f"its {type(network).__name__} is no network")
    if not isinstance(loss, Loss):
        raise ValueError(f"its {type(loss).__name__} is no loss")
    if not isinstance(penalty, WeightPenalty | None):
        raise ValueError(f"its {type(penalty).__name__} is no penalty")
    if (gives := network.summary(info.sample_shape, info.dtype)[-1].out_shape) != (info.n_outputs,):
        raise ValueError(f"its network gives outputs of shape {gives}, and it says {info.n_outputs}")
    preprocessing, n_features = info.preprocessing, math.prod(info.sample_shape)
    if preprocessing is not None and len(preprocessing.feature_names) != n_features:
        raise ValueError(f"its preprocessing makes {len(preprocessing.feature_names)} features of {n_features}")
    objective = Objective(network, loss, penalty)
    evaluator, params = evaluator_and_params(
        backend,
        objective,
        checkpoint,
        read_scaling(checkpoint.arrays, info.sample_shape, info.n_outputs),
        info.dtype,
        sample_shape=info.sample_shape,
        n_outputs=info.n_outputs,
        has_classes=bool(info.classes),
    )
    return SavedModel(
        evaluator=evaluator,
        params=params,
        sample_shape=info.sample_shape,
        classes=info.classes,
        source=path,
        image_shape=info.image_shape,
        max_input=info.max_input,
        input_dtype=info.input_dtype,
        preprocessing=info.preprocessing,
        n_outputs=info.n_outputs,
    )
