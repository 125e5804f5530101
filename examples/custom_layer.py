"""A layer of your own: Swish with a slope that is learnt, its gradient checked, then trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import nnbackprop as nb


@dataclass(frozen=True)
class Swish:
    """y = x s(b x), s the logistic function, with one learnt b (Ramachandran, Zoph and Le, 2017).

    dx = dy (s + b x s (1 - s)), db = the sum of dy x^2 s (1 - s).
    """

    def build(
        self, rng: Any, in_shape: tuple[int, ...], dtype: str
    ) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
        return {"b": np.ones((1,), dtype)}, in_shape

    def forward(self, xp: Any, params: Any, x: Any, key: Any) -> tuple[Any, Any]:
        s = 0.5 * (1 + xp.tanh(0.5 * params["b"] * x))  # no exp of a large number
        return x * s, (x, s)

    def backward(self, xp: Any, params: Any, cache: Any, dy: Any, need_dx: bool) -> tuple[Any, dict[str, Any]]:
        x, s = cache
        slope = s * (1 - s)
        db = xp.reshape(xp.sum(dy * x * x * slope), (1,))
        dx = dy * (s + params["b"] * x * slope) if need_dx else None  # the first layer needs none
        return dx, {"b": db}


rng = np.random.default_rng(0)
x = rng.normal(size=(600, 2))
labels = (x[:, 0] * x[:, 1] > 0).astype(int)  # exclusive or
network = nb.Sequential(nb.Dense(16), Swish(), nb.Dense(2))

report = nb.gradcheck(network, nb.SoftmaxCrossEntropy(), x[:50], labels[:50])
print(report)
assert report.passed

train, test = nb.split(nb.Dataset(x, labels), 0.25, seed=0)
trainer = nb.Trainer(network, nb.SoftmaxCrossEntropy(), nb.Adam(), lr=0.01, epochs=30)
trainer.fit(train)
print(
    f"{trainer.evaluate(test).accuracy:.1%} of the test part is right; b is {trainer.host_params()[1]['b'][0]:.3f}"
)
