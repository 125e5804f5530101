"""A regression: prices of houses, from a table with text and numbers, their errors in the table's own units."""

from __future__ import annotations

import numpy as np

import nnbackprop as nb

data = nb.load("house-prices", target="price", validation_fraction=0.2)
print(data.train)
scaling = nb.fit_scaling("per-feature", data.train, target_scale="standard")
trainer = nb.Trainer(
    nb.Sequential(nb.Dense(32), nb.ReLU(), nb.Dense(32), nb.ReLU(), nb.Dense(1)),
    nb.Huber(),
    nb.Adam(),
    lr=0.003,
    batch_size=32,
    epochs=60,
    scaling=scaling,
    callbacks=[nb.EarlyStopping(patience=10)],
)
trainer.fit(data.train, data.validation)
score = trainer.evaluate(data.test)
print({name: round(value, 3) for name, value in score.metrics.items()})
mean = np.abs(data.test.targets - data.train.targets.mean()).mean()
print(f"the mean price is {mean:.0f} off on average")
