"""A run's curves in TensorBoard, and a callback of one's own beside it.

Needs `pip install tensorboard`; then `tensorboard --logdir FOLDER`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nnbackprop as nb


class LargestGradient(nb.Callback):
    """Prints which layer had the longest gradient at the end of each epoch."""

    def epoch_end(self, trainer: nb.Trainer, event: Any) -> None:
        name = max(event.gradient_norms, key=event.gradient_norms.__getitem__)
        print(f"epoch {event.epoch}: {name}, {event.gradient_norms[name]:.3f}")


folder = Path(tempfile.mkdtemp())
data = nb.load("iris", target="species", validation_fraction=0.2)
trainer = nb.Trainer(
    nb.Sequential(nb.Dense(16), nb.Tanh(), nb.Dense(3)),
    nb.SoftmaxCrossEntropy(),
    nb.Adam(),
    lr=0.01,
    batch_size=16,
    epochs=10,
    scaling=nb.fit_scaling("per-feature", data.train),
    callbacks=[nb.TensorBoardLogger(folder), LargestGradient()],
)
trainer.fit(data.train, data.validation)
print(f"tensorboard --logdir {folder}")
