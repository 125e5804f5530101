"""Measure where a default run's memory goes: bytes resident, stage by stage, in one process of one epoch.

python scripts/memory.py     keeps this machine's in benchmarks/results/memory, for scripts/performance.py
"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from pages import ROOT

sys.path.insert(0, str(ROOT))  # the benchmarks of this checkout

from benchmarks.machine import Machine
from benchmarks.results import RESULTS, Kept, results_path
from nnbackprop._system_info import cores

STAGES = {
    "numpy": "NumPy is imported",
    "command": "the command line is imported",
    "numba": "numba is imported",
    "data": "the data are there",
    "training": "while it trains, at most",
    "end": "matplotlib has drawn the pictures",
}

RUN = """
import atexit, json, sys
import psutil
found, process = {}, psutil.Process()
def look(stage): found[stage] = max(found.get(stage, 0), process.memory_info().rss)
import numpy
look("numpy")
from nnbackprop.cli import main
look("command")
import numba
look("numba")
from nnbackprop.training.callbacks import Callback
Callback.train_begin = lambda self, event: look("data")
Callback.chunk_end = Callback.train_end = lambda self, event: look("training")
atexit.register(lambda: (look("end"), open(sys.argv[1], "w").write(json.dumps(found))))
main(["train", "--epochs", "1", "--backend", "numpy", "--progress", "off", "--runs-dir", sys.argv[2]])
"""
"""The command, which imports in this order by itself, told to look at itself on its way."""


class Resident(Kept, frozen=True):
    """Bytes by stage."""

    stages: dict[str, int]


def measure() -> dict[str, int]:
    """Run the command in a process of its own."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stages.json"
        subprocess.run([sys.executable, "-c", RUN, path, folder], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])


def kept() -> Resident | None:
    """What was last measured."""
    assert RESULTS, "benchmarks/results is in a checkout"
    found = [Resident.from_json(path.read_bytes()) for path in (RESULTS / "memory").glob("*.json")]
    return max(found, key=lambda one: one.date, default=None)


def main() -> None:
    """Measure and keep."""
    assert RESULTS, "benchmarks/results is in a checkout"
    machine, today = Machine.here(cores()), datetime.now(UTC).date().isoformat()
    path = results_path(machine, RESULTS / "memory")
    path.parent.mkdir(exist_ok=True)
    path.write_text(Resident("python scripts/memory.py", today, machine, measure()).to_json())


if __name__ == "__main__":
    main()
