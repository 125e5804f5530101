"""The recipes' figures: each is trained as a person would, and its summary kept."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnbackprop import TrainedModel

from . import machine, table, today, train

RUNS = {
    "mnist-5": "train mnist --epochs 5",
    "mnist": "train mnist",
    "mnist-original": "train mnist-original",
    "mnist-original-50": "train mnist-original --epochs 50",
    "ex4-50": "train ex4 --epochs 50",
    "ex4": "train ex4",
    "ex4-10000": "train ex4 --epochs 10000",
    "weight-height": "train weight-height",
    "rashid": "train rashid",
    "rashid-200": "train rashid --hidden 200",
    "cnn": "train cnn",
}
ROWS = (
    ("ex4-10000", "[ex4](docs/ex4.md): 400-26-10, sigmoid, full batch", "seemed stuck at 10%"),
    (
        "mnist-5",
        "[mnist](docs/mnist.md), 5 epochs: 784-512-256-10, dropout, Adam, one-cycle",
        "96.75% in 50 epochs",
    ),
    ("mnist", "the same, 20 epochs", "96.75% in 50 epochs"),
    ("mnist-original-50", "the same network, SGD as in the original", "96.75% in 50 epochs"),
    ("cnn", "[cnn](docs/cnn.md): a convolutional network of 105,000 parameters, 10 epochs", ""),
    ("weight-height", "[weight-height](docs/weight-height.md): 2-2-1, one sample at a time", "scalars only"),
    ("rashid", "[rashid](docs/rashid.md): 784-100-10, one sample at a time", "raw errors sent back"),
    ("rashid-200", "the same, 200 hidden units", ""),
)
"""The README's: run, what it is, what its original reached."""

SCORES = ("command", "epochs", "train accuracy", "test accuracy", "test loss", "training time")


def measure() -> dict[str, Any]:
    """Every run: ten minutes on two cores."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: run(name, Path(folder)) for name in RUNS}


def run(name: str, runs: Path) -> dict[str, Any]:
    """Train, and keep the summary with what else the documents say of that run."""
    print(name, flush=True)
    summary = train(f"{RUNS[name]} --backend numpy", runs, name)
    trained, made = TrainedModel.open(str(runs / name)), {"date": today()}
    made |= {"command": f"nnbackprop {RUNS[name]}", "machine": machine()}
    found: dict[str, Any] = {**made, "summary": summary}
    if name.startswith("ex4"):  # a learner's metric, which compares (m,) with (m, 1), and the honest one
        data = trained.data()
        predictions = trained.predict(data.inputs)
        found["honest"] = float(np.mean(predictions == data.targets))
        found["broken"] = float(np.mean(predictions == data.targets[:, None]))
    if name == "weight-height":  # what it says of two people who were not trained on
        probabilities = trained.predict_proba(np.array([[-7.0, -3.0], [20.0, 2.0]]))
        found["woman"] = [float(p) for p in probabilities[:, 0]]
    return found


def blocks(runs: dict[str, Any]) -> dict[str, str]:
    """The README's table, and each recipe's page's."""
    head = ("experiment", "the original", "here", "training time", "command")
    rows = [(what, original, *outcome(runs[key])) for key, what, original in ROWS]
    ex4, people = ("ex4-50", "ex4", "ex4-10000"), runs["weight-height"]
    said = (f"**{probability:.3f}**" for probability in people["woman"])
    loss = f"loss after {people['summary']['epochs']:,} epochs", f"**{people['summary']['train_loss']:.5f}**"
    about = ("weight -7, height -3: a woman with probability", "weight 20, height 2: a woman with probability")
    ex4_head = ("iterations", "loss", "honest: (m,) against (m,)", "broken: (m,) against (m, 1)")
    return {
        "recipes": block(runs, [key for key, *_ in ROWS], head, rows),
        "mnist": accuracies(runs, ("mnist-5", "mnist", "mnist-original", "mnist-original-50")),
        "cnn": accuracies(runs, ("cnn",)),
        "rashid": accuracies(runs, ("rashid", "rashid-200")),
        "ex4": block(runs, ex4, ex4_head, [metrics(runs[key]) for key in ex4]),
        "weight-height": block(runs, ["weight-height"], ("", ""), [loss, *zip(about, said, strict=True)]),
    }


def block(runs: dict[str, Any], keys: Sequence[str], head: Sequence[str], rows: Any) -> str:
    """A table, and under it how its figures were made."""
    machines = "; ".join(sorted({f"{runs[key]['machine']}, {runs[key]['date']}" for key in keys}))
    made = f"Made by `python scripts/make_figures.py --run recipes` on {machines}."
    return f"{table(head, rows)}\n\n{made} Training time is that of the training steps alone.\n"


def outcome(entry: dict[str, Any]) -> tuple[str, str, str]:
    """What a run reached, its training time, its command."""
    summary = entry["summary"]
    if summary["recipe"] == "weight-height":
        result = f"loss {summary['train_loss']:.4f}"
    elif summary["test_accuracy"]:
        result = f"**{summary['test_accuracy']:.2%}** on the test set"
    else:
        result = f"{summary['train_accuracy']:.2%} of its training set"
    return result, f"{summary['seconds']:.3g} s", f"`{entry['command']}`"


def accuracies(runs: dict[str, Any], keys: Sequence[str]) -> str:
    """Loss and accuracy of a few runs."""
    return block(runs, keys, SCORES, [score_row(runs[key]) for key in keys])


def score_row(entry: dict[str, Any]) -> tuple[Any, ...]:
    """A row of `SCORES`."""
    s = entry["summary"]
    scores = f"{s['train_accuracy']:.2%}", f"**{s['test_accuracy']:.2%}**", f"{s['test_loss']:.4f}"
    return f"`{entry['command']}`", s["epochs"], *scores, f"{s['seconds']:.3g} s"


def metrics(entry: dict[str, Any]) -> tuple[str, ...]:
    """The honest and the broken accuracy of the same weights."""
    loss, epochs = entry["summary"]["train_loss"], entry["summary"]["epochs"]
    return f"{epochs:,}", f"{loss:.4f}", f"**{entry['honest']:.2%}**", f"{entry['broken']:.2%}"
