"""Classes of a table: missing numbers, a text column, and classes by name; then new rows by column name."""

from __future__ import annotations

import numpy as np

import nnbackprop as nb

rng = np.random.default_rng(0)
n = 800
weight, length = rng.gamma(9, 0.5, n), rng.normal(50, 6, n)
coat = rng.choice(["short", "long", "wire"], n)
pet = np.where(weight + 2 * (coat == "wire") + rng.normal(0, 0.5, n) > 4.6, "dog", "cat")
weight[rng.random(n) < 0.1] = np.nan  # a tenth was not weighed

data = nb.load({"weight": weight, "length": length, "coat": coat, "pet": pet}, target="pet", missing="median")
trainer = nb.Trainer(
    nb.Sequential(nb.Dense(24), nb.ReLU(), nb.Dense(2)),
    nb.SoftmaxCrossEntropy(),
    nb.Adam(),
    lr=0.01,
    batch_size=32,
    epochs=40,
    scaling=nb.fit_scaling("per-feature", data.train),
)
trainer.fit(data.train)
print(f"{trainer.evaluate(data.test).accuracy:.1%} of {len(data.test)} animals it has not seen")

new = {"coat": ["wire", "short"], "weight": [7.5, 2.5], "length": [61, 42]}
for row, p in enumerate(trainer.predict_proba(new)):
    print({name: values[row] for name, values in new.items()}, dict(zip(trainer.classes, p.tolist(), strict=True)))
