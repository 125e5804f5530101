"""What the default recipe reaches on the test images, whatever the seed: five seeds, short runs and full ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from . import machine, table, today, train

EPOCHS, SEEDS = (5, 20), range(5)
COMMAND = "nnbackprop train mnist --epochs {} --seed {} --threads 1 --backend numpy"


def measure() -> dict[str, Any]:
    """The test accuracy of each seed, by epochs: six minutes on one core."""
    with tempfile.TemporaryDirectory() as folder:
        accuracies = {str(epochs): [test_accuracy(epochs, seed, folder) for seed in SEEDS] for epochs in EPOCHS}
    return {"date": today(), "machine": machine(), "accuracies": accuracies}


def test_accuracy(epochs: int, seed: int, folder: str) -> float:
    """Train, and read the summary."""
    words = COMMAND.format(epochs, seed).removeprefix("nnbackprop ")
    accuracy: float = train(words, Path(folder), f"{epochs}-{seed}")["test_accuracy"]
    print(f"{epochs} epochs, seed {seed}: {accuracy:.2%}", flush=True)
    return accuracy


def block(found: dict[str, Any]) -> str:
    """A row for each number of epochs."""
    head = ("epochs", "median", *(f"seed {seed}" for seed in SEEDS))
    rows = [
        (epochs, f"**{median(accuracies):.2%}**", *(f"{accuracy:.2%}" for accuracy in accuracies))
        for epochs, accuracies in found["accuracies"].items()
    ]
    command = COMMAND.format("E", "S")
    made = f"Made by `python scripts/make_figures.py --run seeds` on {found['machine']}, {found['date']}."
    return f"Test accuracy of `{command}`:\n\n{table(head, rows)}\n\n{made}\n"
