"""The nodes of a captured training step, by kernel: 784-512-256-10, dropout, SGD, batches of 120."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
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


def keep(file: Path, command: str) -> None:
    """Write the nodes of the graph of most steps, without norms, as docs/verification.md shows them."""
    steps, names = min(((s, device.nodes(g.graph)) for s, g in graphs()), key=lambda n: (-n[0], len(n[1])))
    kept = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "cupy": version("cupy-cuda13x"),
        "workload": WORKLOADS["W1"].title,
        "steps": steps,
        "nodes": dict(Counter(names).most_common()),
    }
    file.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


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
