"""Each mistake planted in its network, checked by `gradcheck_function`, and trained with.

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
    id: {"network": "network", **CATALOGUE.get(id, {}), **entry}
    for id, entry in tomllib.loads((HERE / "mistakes.toml").read_text(encoding="utf-8")).items()
}
"""Network, symptom, cause, right and wrong line by id."""

EPOCHS, BATCH, MOMENTUM, SAMPLES = 4, 20, 0.9, 6000
RATES = {"network": 0.03, "channel_network": 0.1}
SHOWN = 4  # digits of a gradient check


def network(name: str, mistake: str | None = None) -> ModuleType:
    """The network of this name as a module, with the mistake's line in the place of the right one."""
    source = (HERE / f"{name}.py").read_text(encoding="utf-8")
    if mistake:
        right, wrong = MISTAKES[mistake]["right"], MISTAKES[mistake]["wrong"]
        assert source.count(right) == 1, right
        source = source.replace(right, wrong)
    made = ModuleType(mistake or name)
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


def check(name: str, mistake: str | None = None) -> Report:
    """The report on the network with the mistake, by a few digits at its initial weights."""
    net, (x, t, *_) = network(name, mistake), digits()
    x, T = x[:SHOWN], np.eye(10)[t[:SHOWN]]

    def loss(p: Any) -> float:
        return float(-np.mean(np.log((net.forward(p, x, net.state())["P"] * T).sum(axis=1))))

    return nb.gradcheck_function(loss, lambda p: net.gradients(p, x, T, net.state()), net.initial(0))


def summary(report: Report) -> str:
    """The lines on wrong tensors, the verdict, and the mistake's name and evidence."""
    width = max(len(tensor.name) for tensor in report.tensors)
    wrong = [f"{tensor.name:<{width}}  {tensor}" for tensor in report.tensors if not tensor.passed]
    named = [line for mistake in report.mistakes for line in str(mistake).split("\n  cause")[0].split("\n")]
    return "\n".join([*wrong, report.verdict, *named])


def accuracy(name: str, mistake: str | None = None) -> float:
    """Of test images, after training by the mistake's gradient with a rate that falls to 0."""
    net, (x, t, x_test, t_test) = network(name, mistake), digits()
    p, state, rng = net.initial(1), net.state(), np.random.default_rng(0)
    speed = {key: np.zeros_like(a) for key, a in p.items()}
    batches = np.concatenate([rng.permutation(len(x)).reshape(-1, BATCH) for _ in range(EPOCHS)])
    with np.errstate(all="ignore"):
        for i, some in enumerate(batches):
            g = net.gradients(p, x[some], np.eye(10)[t[some]], state)
            rate = RATES[name] * (1 - i / len(batches))
            speed = {key: MOMENTUM * speed[key] - rate * g[key] for key in p}
            p = {key: p[key] + speed[key] for key in p}
        found = evaluated(name, p, x_test, state)
    return float(np.mean(found.argmax(axis=1) == t_test))


def evaluated(name: str, p: Any, x: np.ndarray, state: Any) -> np.ndarray:
    """Probabilities: without a mask; by running statistics, which one of the mistakes takes in training."""
    if name == "channel_network":
        return network(name).forward(p, x, None)["P"]
    return network(name, "running-statistics-in-training").forward(p, x, state)["P"]


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
        "right": {name: accuracy(name) for name in RATES},
        "mistakes": {
            id: {
                **entry,
                "says": summary(check(entry["network"], id)),
                "accuracy": accuracy(entry["network"], id),
            }
            for id, entry in MISTAKES.items()
        },
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
