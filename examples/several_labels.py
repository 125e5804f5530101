"""Several labels at once: which of four tones sound in a signal, each yes or no."""

from __future__ import annotations

import numpy as np

import nnbackprop as nb

rng = np.random.default_rng(0)
seconds = np.linspace(0, 1, 64, endpoint=False)
tones = np.array([np.sin(2 * np.pi * f * seconds) for f in (3, 5, 8, 13)])


def signals(n: int) -> nb.Dataset:
    """Sums of tones in noise, and which tones are in them."""
    sounding = (rng.random((n, 4)) < 0.4).astype(np.float64)
    loudness = sounding * rng.uniform(0.5, 1.5, (n, 4))
    return nb.Dataset(loudness @ tones + 0.6 * rng.normal(size=(n, 64)), sounding)


train, test = signals(2000), signals(500)
trainer = nb.Trainer(
    nb.Sequential(nb.Dense(32), nb.ReLU(), nb.Dropout(0.2), nb.Dense(4)),
    nb.SigmoidBinaryCrossEntropy(),
    nb.Adam(),
    lr=0.005,
    epochs=20,
)
trainer.fit(train)
print({name: round(value, 4) for name, value in trainer.evaluate(test).metrics.items()})
print("probabilities", trainer.predict_proba(test.inputs[:1])[0].round(2), "truth", test.targets[0])
