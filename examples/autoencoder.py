"""An autoencoder: digits of 28 x 28 through 24 numbers and back, with the input as its own target."""

from __future__ import annotations

import numpy as np

import nnbackprop as nb

digits = nb.load("mnist")
x = digits.train.inputs[:2000].reshape(2000, -1).astype(np.float32) / 255
test = digits.test.inputs[:200].reshape(200, -1).astype(np.float32) / 255

network = nb.Sequential(
    nb.Dense(64), nb.ReLU(), nb.Dense(24), nb.Dense(64), nb.ReLU(), nb.Dense(784), nb.Sigmoid()
)
trainer = nb.Trainer(network, nb.MeanSquaredError(), nb.Adam(), lr=0.002, batch_size=50, epochs=6)
for epoch in trainer.fit(nb.Dataset(x, x)):
    print(f"epoch {epoch.epoch}: mean squared error {epoch.train.loss:.4f}")

again = trainer.predict(test)
of_the_mean = np.mean((test - x.mean(axis=0)) ** 2)
print(f"test: {np.mean((test - again) ** 2):.4f}, and {of_the_mean:.4f} for the mean digit")
for row in zip(test[0].reshape(28, 28)[4:24:2], again[0].reshape(28, 28)[4:24:2], strict=True):
    print("   ".join("".join(" .:+#@"[min(5, int(6 * v))] for v in half[4:24]) for half in row))
