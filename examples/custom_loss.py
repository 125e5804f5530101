"""A loss of your own: log cosh, which is squared near the target and absolute far from it, checked and used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import nnbackprop as nb


@dataclass(frozen=True)
class LogCosh(nb.Loss):
    """J = the mean of log cosh(y - t) over samples and outputs; dy = tanh(y - t) / (nk)."""

    def __call__(self, xp: Any, y: Any, t: Any, weights: Any = None) -> tuple[Any, Any]:
        if weights is not None:
            raise nb.UsageError("LogCosh knows no sample weights: leave them out.")
        e = y - t
        distance = xp.abs(e)  # cosh itself would overflow
        J = distance + xp.log1p(xp.exp(-2 * distance)) - math.log(2)
        return xp.mean(J), xp.tanh(e) / math.prod(e.shape)


rng = np.random.default_rng(0)
x = rng.uniform(-2, 2, (400, 1))
targets = np.sin(2 * x) + 0.05 * rng.normal(size=x.shape)
targets[::20] += 5.0  # one in twenty was written down wrong
network = nb.Sequential(nb.Dense(32), nb.Tanh(), nb.Dense(1))

report = nb.gradcheck(network, LogCosh(), x[:50], targets[:50])
print(report)
assert report.passed

for loss in (LogCosh(), nb.MeanSquaredError()):
    trainer = nb.Trainer(network, loss, nb.Adam(), lr=0.01, batch_size=50, epochs=200)
    trainer.fit(nb.Dataset(x, targets))
    error = trainer.predict(x) - np.sin(2 * x)
    print(f"{type(loss).__name__}: {np.abs(error).mean():.3f} from the sine on average")
