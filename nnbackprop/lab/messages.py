"""What the page sends: a class a request. What does not fit is refused with the name of the field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct

from nnbackprop.errors import DataError

MIN_SIDE, MAX_SIDE = 28, 112  # of a drawing
MAX_HIDDEN_LAYERS = 8
MAX_UNITS = 4096
MAX_EPOCHS = 10_000
MAX_BATCH_SIZE = 65_536
MAX_STEP_SAMPLES = 8

Side = Annotated[int, Meta(ge=MIN_SIDE, le=MAX_SIDE)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Rates = Annotated[tuple[Annotated[float, Meta(ge=0, lt=1)], ...], Meta(max_length=MAX_HIDDEN_LAYERS + 1)]
LearningRate = Annotated[float, Meta(gt=0, le=1e6)]
Epochs = Annotated[int, Meta(ge=1, le=MAX_EPOCHS)]
Numbers = list[list[float] | float]


class Request(Struct, forbid_unknown_fields=True):
    """The body of a request."""


class Picture(Request):
    """Grey pixels, row by row, 0 black to 255 white; base64 in JSON."""

    rows: Side
    columns: Side
    pixels: bytes

    def array(self) -> np.ndarray:
        """uint8 (rows, columns)."""
        if len(self.pixels) != self.rows * self.columns:
            raise DataError(
                f"The picture has {len(self.pixels)} pixels and {self.rows} rows of {self.columns}: send "
                f"{self.rows * self.columns} bytes, row by row."
            )
        return np.frombuffer(self.pixels, np.uint8).reshape(self.rows, self.columns)


class Train(Request):
    """A new run by a recipe, with other values for some of its settings."""

    recipe: Name
    data: Literal["drawings"] | None = None
    hidden: (
        Annotated[list[Annotated[int, Meta(ge=1, le=MAX_UNITS)]], Meta(max_length=MAX_HIDDEN_LAYERS)] | None
    ) = None
    layers: Annotated[list[Name], Meta(max_length=64)] | None = None
    activation: Name | None = None
    dropout: Rates | None = None
    optimizer: Name | None = None
    lr: LearningRate | None = None
    batch_size: Annotated[int, Meta(ge=1, le=MAX_BATCH_SIZE)] | Literal["full", "auto"] | None = None
    backend: Name | None = None
    epochs: Epochs | None = None
    seed: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    validation: Annotated[float, Meta(ge=0, lt=1)] | None = None

    def settings(self) -> dict[str, Any]:
        """The settings that were given, by name, but for the recipe and the data."""
        return {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if value is not None and name not in ("recipe", "data")
        }


class Control(Request):
    """What the trainer is to do."""

    action: Literal["pause", "resume", "step", "stop", "reset", "set"]
    lr: LearningRate | None = None
    dropout: Rates | None = None
    run: Name | None = None
    epochs: Epochs | None = None


class Attack(Request):
    """How far each pixel is moved, of the range of the data, and away from which class."""

    epsilon: Annotated[float, Meta(ge=0, le=0.5)]
    label: Index | None = None


class Predict(Request):
    """A drawing to be classified, and what is to be shown of it."""

    drawing: Picture
    explain: Index | None = None
    attack: Attack | None = None
    activations: bool = True
    run: Name | None = None


class Check(Request):
    """A parameter whose derivative is compared with a central difference."""

    tensor: Name
    index: Annotated[tuple[Index, ...], Meta(min_length=1, max_length=2)]


class NetworkRequest(Request):
    """A small network, and what it learns by."""

    network: Name
    activation: Name = "sigmoid"
    output_activation: Name | None = None
    loss: Name | None = None
    optimizer: Name = "sgd"
    lr: LearningRate = 0.1
    seed: Annotated[int, Meta(ge=0, le=2**53)] = 0
    params: dict[str, Numbers] | None = None


class Step(NetworkRequest):
    """A step of a small network, and what it starts from."""

    samples: Annotated[tuple[Index, ...], Meta(min_length=1, max_length=MAX_STEP_SAMPLES)] = (0,)
    optimizer_state: dict[str, dict[str, Numbers]] | None = None
    t: Annotated[int, Meta(ge=1, le=10**9)] = 1
    mistake: Name | None = None
    check: Check | None = None


class Break(NetworkRequest, kw_only=True):
    """A small network with a mistake in its backward pass."""

    mistake: Name


class Look(Request):
    """A view of a trained run."""

    view: Literal["confusion", "cell", "wrong", "weights", "unit", "map", "sample", "compare"]
    run: Name | None = None
    other: Name | None = None
    true: Index | None = None
    predicted: Index | None = None
    offset: Index = 0
    layer: Name | None = None
    unit: Index = 0
    index: Index = 0


class Keep(Request):
    """A drawing for the data set of one's own; or the last one is forgotten."""

    drawing: Picture | None = None
    label: Annotated[int, Meta(ge=0, le=9)] | None = None
    forget: Literal["last"] | None = None


def encode(value: Any) -> bytes:
    """JSON: NaN and infinity are null, arrays nested lists, bytes base64."""
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON")


def picture(grey: np.ndarray) -> dict[str, Any]:
    """A picture of brightness in 0..1 (rows, columns) as JSON has it."""
    pixels = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return {"rows": pixels.shape[0], "columns": pixels.shape[1], "pixels": pixels.tobytes()}


def signed_picture(values: np.ndarray) -> dict[str, Any]:
    """Numbers of either sign (rows, columns) as JSON has them: float32, and the largest by absolute value."""
    values = np.ascontiguousarray(values, "<f4")
    largest = float(np.abs(values).max(initial=0))
    return {"rows": values.shape[0], "columns": values.shape[1], "values": values.tobytes(), "max": largest}
