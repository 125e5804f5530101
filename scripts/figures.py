"""Run the recipes and write their figures into README.md and docs/*.md, between the marks that name a block.

python scripts/figures.py                 every run, some five minutes on two cores
python scripts/figures.py --only rashid   one of them; the other figures stay as they were
python scripts/figures.py --only none     no run: write the blocks again from docs/figures.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pages import ROOT, machine, write

from nnbackprop import TrainedModel

STORE = ROOT / "docs" / "figures.json"

RUNS = {
    "mnist": "train mnist",
    "mnist-50": "train mnist --epochs 50",
    "ex4-50": "train ex4 --epochs 50",
    "ex4": "train ex4",
    "ex4-10000": "train ex4 --epochs 10000",
    "weight-height": "train weight-height",
    "rashid": "train rashid",
    "rashid-200": "train rashid --hidden 200",
}


def run(name: str, runs: Path) -> dict[str, Any]:
    """Train as a person would, and keep the summary with what else the documents tell of that run."""
    words = RUNS[name].split()
    command = [sys.executable, "-m", "nnbackprop", *words, "--backend", "numpy", "--runs-dir", str(runs)]
    print(name, flush=True)
    subprocess.run([*command, "--name", name, "--progress", "off"], check=True, stdout=subprocess.DEVNULL)
    folder = runs / name
    summary = json.loads((folder / "summary.json").read_text())
    return {
        "command": f"nnbackprop {RUNS[name]}",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "summary": summary,
        **extras(name, TrainedModel.open(str(folder))),
    }


def extras(name: str, trained: TrainedModel) -> dict[str, Any]:
    """The learner's broken metric beside the honest one, and what four people's network says of two more."""
    if name.startswith("ex4"):
        data = trained.data()
        predictions, _ = trained.predict(data.inputs)
        return {
            "honest": float(np.mean(predictions == data.targets)),
            "broken": float(np.mean(predictions == data.targets[:, None])),
        }
    if name == "weight-height":
        _, probabilities = trained.predict(np.array([[-7.0, -3.0], [20.0, 2.0]]))
        return {"woman": [float(p) for p in probabilities[:, 0]]}
    return {}


BLOCKS: dict[str, Callable[[dict[str, Any]], tuple[str, tuple[str, ...]]]] = {
    "recipes": lambda runs: recipes(runs),
    "ex4": lambda runs: ex4(runs),
    "mnist": lambda runs: accuracies(runs, ("mnist", "mnist-50")),
    "rashid": lambda runs: accuracies(runs, ("rashid", "rashid-200")),
    "weight-height": lambda runs: weight_height(runs),
}


def block(name: str, runs: dict[str, Any]) -> str:
    """A block's text: a table, and under it how its figures were made."""
    table, used = BLOCKS[name](runs)
    made = sorted({(runs[key]["machine"], runs[key]["date"]) for key in used})
    notes = "; ".join(f"{where}, {date}" for where, date in made)
    return f"{table}\n\nMade by `python scripts/figures.py` on {notes}. Seconds are the training steps alone.\n"


def recipes(runs: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The README's table: each experiment, what its original reached, what the recipe reaches."""
    rows = (
        ("ex4-10000", "[ex4](docs/ex4.md): 400-26-10, sigmoid, full batch", "seemed stuck at 10%"),
        ("mnist", "[mnist](docs/mnist.md): 784-512-256-10, ReLU, dropout", "96.75% in 50 epochs"),
        ("mnist-50", "the same, 50 epochs", "96.75% in 50 epochs"),
        ("weight-height", "[weight-height](docs/weight-height.md): 2-2-1, one sample at a time", "scalars only"),
        ("rashid", "[rashid](docs/rashid.md): 784-100-10, one sample at a time", "raw errors sent back"),
        ("rashid-200", "the same, 200 hidden units", ""),
    )
    lines = ["| experiment | the original | here | steps take | command |", "|---|---|---|---|---|"]
    for key, what, original in rows:
        lines.append(
            f"| {what} | {original} | {result(runs[key])} | {seconds(runs[key])} | `{runs[key]['command']}` |"
        )
    return "\n".join(lines), tuple(key for key, *_ in rows)


def result(entry: dict[str, Any]) -> str:
    """Test accuracy, or what stands for it where there is no test part."""
    summary = entry["summary"]
    if summary["recipe"] == "weight-height":
        return f"loss {summary['train_loss']:.4f}"
    if summary["test_accuracy"] is None:
        return f"{100 * summary['train_accuracy']:.2f}% of its training set"
    return f"**{100 * summary['test_accuracy']:.2f}%** on the test set"


def seconds(entry: dict[str, Any]) -> str:
    """The time of the steps."""
    return f"{entry['summary']['seconds']:.3g} s"


def accuracies(runs: dict[str, Any], keys: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Loss and accuracy of a few runs."""
    lines = [
        "| command | epochs | train accuracy | test accuracy | test loss | steps take |",
        "|---|---|---|---|---|---|",
    ]
    for key in keys:
        s = runs[key]["summary"]
        lines.append(
            f"| `{runs[key]['command']}` | {s['epochs']} | {100 * s['train_accuracy']:.2f}% | "
            f"**{100 * s['test_accuracy']:.2f}%** | {s['test_loss']:.4f} | {seconds(runs[key])} |"
        )
    return "\n".join(lines), keys


def ex4(runs: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The honest and the broken metric of the same weights."""
    keys = ("ex4-50", "ex4", "ex4-10000")
    lines = [
        "| iterations | loss | honest: (m,) against (m,) | broken: (m,) against (m, 1) |",
        "|---|---|---|---|",
    ]
    for key in keys:
        entry = runs[key]
        loss, epochs = entry["summary"]["train_loss"], entry["summary"]["epochs"]
        lines.append(
            f"| {epochs:,} | {loss:.4f} | **{100 * entry['honest']:.2f}%** | {100 * entry['broken']:.2f}% |"
        )
    return "\n".join(lines), keys


def weight_height(runs: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The loss at the end, and what is said of two people who were not trained on."""
    entry = runs["weight-height"]
    first, second = entry["woman"]
    lines = (
        "| | |",
        "|---|---|",
        f"| loss after {entry['summary']['epochs']:,} epochs | **{entry['summary']['train_loss']:.5f}** |",
        f"| weight -7, height -3: a woman with probability | **{first:.3f}** |",
        f"| weight 20, height 2: a woman with probability | **{second:.3f}** |",
    )
    return "\n".join(lines), ("weight-height",)


def main() -> None:
    """Run what is asked for, keep the figures, fill the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=(*RUNS, "none"), help="run this one alone, or none")
    only = parser.parse_args().only
    runs = json.loads(STORE.read_text()) if STORE.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in RUNS if only is None else [only] * (only != "none"):
            runs[name] = run(name, Path(folder))
            STORE.write_text(json.dumps(runs, indent=2) + "\n")
    write({name: block(name, runs) for name in BLOCKS})


if __name__ == "__main__":
    main()
