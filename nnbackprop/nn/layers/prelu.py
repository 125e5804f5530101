"""The rectifier whose slope below 0 is learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backends import Array
from nnbackprop.errors import UsageError
from nnbackprop.nn.initializers import InitRng, constant
from nnbackprop.nn.rng import RngKey

from .activations import positive
from .base import Backward, LayerParams, Shape, sum_over_batch, use_python_numbers


@dataclass(frozen=True)
class PReLU:
    """y = max(x, 0) + a min(x, 0), with x and y (n, ..., k) and a slope a (k,) of each feature or channel.

    With `shared`, a is (1,), one slope for all, as PyTorch's PReLU has it by default. Each begins at `slope`.
    Backward: dx = dy where x > 0, else a dy; da = the sum of min(x, 0) dy over the batch and all places. Weight
    penalties leave a alone, unless they count biases. (He, Zhang, Ren and Sun, Delving deep into rectifiers:
    surpassing human-level performance on ImageNet classification, ICCV 2015, section 2.1.)

    Raises:
        UsageError: a slope that is not in 0 <= slope < 1.
    """

    slope: float = 0.25
    shared: bool = False

    def __post_init__(self) -> None:
        use_python_numbers(self)
        if not 0 <= self.slope < 1:
            raise UsageError(f"PReLU begins with a slope of at least 0 and below 1; got {self.slope!r}.")

    def build(self, rng: InitRng, in_shape: Shape, dtype: str) -> tuple[LayerParams, Shape]:
        return {"a": constant(self.slope, rng, (1,) if self.shared else in_shape[-1:], dtype)}, in_shape

    def forward(self, xp: Any, params: LayerParams, x: Array, key: RngKey | None) -> tuple[Array, Array]:
        """y = max(x, 0) + a min(x, 0) (derivation, D56)."""
        above = xp.maximum(x, xp.zeros_like(x))
        return above + params["a"] * (x - above), x

    def backward(self, xp: Any, params: LayerParams, cache: Array, dy: Array, need_dx: bool) -> Backward:
        """da = the sum of min(x, 0) dy; dx = dy where x > 0, else a dy (derivation, D57)."""
        x = cache
        terms = xp.minimum(x, xp.zeros_like(x)) * dy  # (n, ..., k)
        if self.shared:
            terms = xp.reshape(terms, (*terms.shape, 1))
        grads = {"a": sum_over_batch(xp, terms)[0, :]}
        if not need_dx:
            return None, grads
        above = positive(xp, x)
        return (above + (1 - above) * params["a"]) * dy, grads
