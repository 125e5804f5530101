"""The nodes of a captured training step, by kernel: 784-512-256-10, dropout, SGD, batches of 120."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from backends import select
from benchmarks.workloads import WORKLOADS
from nnbackprop import Dataset, Trainer

from . import device

SAMPLES = 120 * 35  # twice a graph of 16 steps, and single ones


def graphs() -> list[tuple[int, Any]]:
    """Each graph that a run of W1 has captured, on random images, with its number of steps."""
    w1, rng = WORKLOADS["W1"], np.random.default_rng(0)
    images = rng.integers(0, 256, (SAMPLES, 784), np.uint8)
    data = Dataset(images, rng.integers(0, 10, SAMPLES, np.int32), tuple("0123456789"))
    backend: Any = select("cupy")
    trainer = Trainer(w1.network, w1.loss, w1.optimizer, w1.lr, backend=backend, batch_size=w1.batch, epochs=4)
    trainer.fit(data)
    return sorted(backend._captured.graphs(), key=lambda found: found[0])


def show(edges: bool = False) -> None:
    """Print each graph: how many nodes a step, and how many of each kernel; or all nodes in order, with edges."""
    print(f"W1 on an emulated CUDA device: {WORKLOADS['W1'].title}")
    for steps, captured in graphs():
        names = device.nodes(captured.graph)
        print(f"\na graph of {steps} steps: {len(names)} nodes, {len(names) / steps:.1f} a step")
        if edges:
            before: dict[int, list[int]] = {}
            for earlier, node in device.edges(captured.graph):
                before.setdefault(node, []).append(earlier)
            for node, name in enumerate(names):
                print(f"{node:6}  {name}  after {before.get(node, [])}")
        else:
            for name, often in Counter(names).most_common():
                print(f"{often:6}  {often / steps:5.2f} a step  {name}")
