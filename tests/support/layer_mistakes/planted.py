"""Each mistake planted in the network, checked by `gradcheck_function`, and trained with.

python -m tests.support.layer_mistakes.planted --json docs/layer-mistakes.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import nnbackprop as nb
from nnbackprop._system_info import cores, processor
from nnbackprop.diagnostics.gradcheck.mistakes.catalogue import MISTAKES as CATALOGUE
from nnbackprop.diagnostics.gradcheck.report import Report

HERE = Path(__file__).parent
MISTAKES: dict[str, dict[str, str]] = {
    id: {**CATALOGUE.get(id, {}), **entry}
    for id, entry in tomllib.loads((HERE / "mistakes.toml").read_text(encoding="utf-8")).items()
}
"""Symptom, cause, right and wrong line by id."""

EPOCHS, BATCH, RATE, MOMENTUM, SAMPLES = 4, 20, 0.03, 0.9, 6000
SHOWN = 4  # digits of a gradient check


def network(mistake: str | None = None) -> ModuleType:
    """network.py as a module, with the mistake's line in the place of the right one."""
    source = (HERE / "network.py").read_text(encoding="utf-8")
    if mistake:
        right, wrong = MISTAKES[mistake]["right"], MISTAKES[mistake]["wrong"]
        assert source.count(right) == 1, right
        source = source.replace(right, wrong)
    made = ModuleType(mistake or "right")
    exec(compile(source, made.__name__, "exec"), vars(made))
    return made


@cache
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """MNIST's images, 14 x 14 by means of 2 x 2 pixels: x and labels to train, x and labels to test."""
    data = nb.load("mnist")
    found: list[np.ndarray] = []
    for part in (data.train, data.test):
        x = np.asarray(part.inputs[:SAMPLES], np.float64).reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 255
        found += [x[..., None], np.asarray(part.targets[:SAMPLES])]
    x, t, x_test, t_test = found
    return x, t, x_test, t_test


def running() -> dict[str, np.ndarray]:
    """Running statistics as they begin."""
    return {"mean": np.zeros(4), "var": np.ones(4)}


def check(mistake: str | None) -> Report:
    """The report on the network with the mistake, by a few digits at its initial weights."""
    net, (x, t, *_) = network(mistake), digits()
    x, T = x[:SHOWN], np.eye(10)[t[:SHOWN]]

    def loss(p: Any) -> float:
        return float(-np.mean(np.log((net.forward(p, x, running())["P"] * T).sum(axis=1))))

    return nb.gradcheck_function(loss, lambda p: net.gradients(p, x, T, running()), net.initial(0))


def summary(report: Report) -> str:
    """The lines on wrong tensors, the verdict, and the mistake's name and evidence."""
    width = max(len(tensor.name) for tensor in report.tensors)
    wrong = [f"{tensor.name:<{width}}  {tensor}" for tensor in report.tensors if not tensor.passed]
    named = [line for mistake in report.mistakes for line in str(mistake).split("\n  cause")[0].split("\n")]
    return "\n".join([*wrong, report.verdict, *named])


def accuracy(mistake: str | None) -> float:
    """Of test images, after training by the mistake's gradient with a rate that falls to 0."""
    net, (x, t, x_test, t_test) = network(mistake), digits()
    p, statistics, rng = net.initial(1), running(), np.random.default_rng(0)
    speed = {name: np.zeros_like(a) for name, a in p.items()}
    batches = np.concatenate([rng.permutation(len(x)).reshape(-1, BATCH) for _ in range(EPOCHS)])
    with np.errstate(all="ignore"):
        for i, some in enumerate(batches):
            g = net.gradients(p, x[some], np.eye(10)[t[some]], statistics)
            speed = {name: MOMENTUM * speed[name] - RATE * (1 - i / len(batches)) * g[name] for name in p}
            p = {name: p[name] + speed[name] for name in p}
        found = network("running-statistics-in-training").forward(p, x_test, statistics)
    return float(np.mean(found["P"].argmax(axis=1) == t_test))


def main() -> None:
    """Check and train with each, and keep what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    path = parser.parse_args().json
    found = {
        "command": f"python -m tests.support.layer_mistakes.planted --json {path}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{processor()}, {cores()} cores, Python {platform.python_version()}, NumPy {np.__version__}",
        "training": f"{SAMPLES:,} digits of 14 x 14 pixels, {EPOCHS} epochs",
        "right": accuracy(None),
        "mistakes": {
            id: {**entry, "says": summary(check(id)), "accuracy": accuracy(id)} for id, entry in MISTAKES.items()
        },
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
