"""What can be exported."""

from __future__ import annotations

from typing import Protocol

from nnbackprop.data.preprocessing import Preprocessing
from nnbackprop.nn.layers.base import Params, Shape
from nnbackprop.training.evaluator import Evaluator


class Exportable(Protocol):
    """A `Trainer` that has parameters, or a `TrainedModel`, as far as an export needs it."""

    @property
    def evaluator(self) -> Evaluator:
        """The network, its loss and its scaling."""

    def host_params(self) -> Params:
        """The parameters it predicts by, on the host."""

    @property
    def sample_shape(self) -> Shape:
        """The shape of one raw sample."""

    @property
    def input_dtype(self) -> str:
        """The dtype of the inputs it was trained on; "" where that is not known."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names; none where it does not classify."""

    @property
    def preprocessing(self) -> Preprocessing | None:
        """That of the table it was trained on; None where there was none."""
