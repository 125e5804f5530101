"""An epoch on rows that stay in their .npy file, and on the same rows held in memory: speed, memory, weights.

python -m benchmarks.large                      10 million rows of 100 float32 (4 GB); needs 12 GB of memory
python -m benchmarks.large --rows 1000000       a tenth of them; not kept

Goals: less than 1 GiB of resident memory, 0.9 of the speed of rows in memory, the same weights; exit status 1
where one is missed. Resident memory is VmHWM, the kernel's highest sum of anonymous and file pages; Python and its
libraries are in it. What was measured at full size is kept in benchmarks/results/large.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from backends import leaves, select
from nnbackprop._system_info import set_num_threads
from nnbackprop.data import fit_scaling, load
from nnbackprop.data.limits import ENVIRONMENT_VARIABLE
from nnbackprop.errors import NnbackpropError, UsageError
from nnbackprop.nn.layers import Dense, ReLU
from nnbackprop.nn.losses import SoftmaxCrossEntropy
from nnbackprop.nn.sequential import Sequential
from nnbackprop.optim import Adam
from nnbackprop.training.trainer import Trainer

from .kept import keep, made_by, origin
from .machine import Machine
from .results import RESULTS
from .worker import Worker

FOLDER = RESULTS / "large"
ROWS = 10**7
CLASSES, WRITTEN_ROWS = 10, 100_000
SECONDS = 3600.0  # that a trial may take
MAX_RESIDENT, MIN_SPEED = 2**30, 0.9
LIMITS = {"file": 4, "memory": 100}
"""Of the memory of a file, in its own size: rows beyond an eighth of it stay in their file."""

console = Console(stderr=True)


@dataclass(frozen=True)
class Trial:
    """One epoch: seconds to read, check and scale the rows, those of the epoch, and resident memory in bytes."""

    load_seconds: float
    epoch_seconds: float
    peak_resident: int
    weights: str  # a digest of them

    def rows_per_second(self, rows: int) -> float:
        """Speed of the epoch."""
        return rows / self.epoch_seconds


class Epoch:
    """Trains one epoch in a process of its own."""

    def __init__(self, folder: Path, where: str, hidden: int, batch_size: int, threads: int) -> None:
        size = (folder / "X.npy").stat().st_size
        os.environ[ENVIRONMENT_VARIABLE] = str(LIMITS[where] * size)
        set_num_threads(threads)
        self.folder, self.hidden, self.batch_size = folder, hidden, batch_size

    def run(self) -> Trial:
        """Read the rows and train."""
        begin = time.perf_counter()
        train = load(self.folder, split=False).train
        scaling = fit_scaling("per-feature", train)
        network = Sequential(Dense(self.hidden), ReLU(), Dense(self.hidden), ReLU(), Dense(CLASSES))
        options = {"batch_size": self.batch_size, "epochs": 1, "scaling": scaling, "backend": select("numpy")}
        trainer = Trainer(network, SoftmaxCrossEntropy(), Adam(), lr=1e-3, **options)  # type: ignore[arg-type]
        loaded = time.perf_counter()
        trainer.fit(train)
        done = time.perf_counter()
        digest = hashlib.blake2b(digest_size=16)
        for array in leaves(trainer.host_params()):
            digest.update(np.ascontiguousarray(array).data)
        return Trial(loaded - begin, done - loaded, peak_resident(), digest.hexdigest())


def peak_resident() -> int:
    """The most resident memory of this process so far, in bytes, as Linux counts it."""
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    )
    return 1024 * int(status["VmHWM"].split()[0])


def write_rows(folder: Path, rows: int, columns: int) -> None:
    """X.npy and y.npy: clouds around a centre a class, in a random order."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, columns), np.float32) / 2
    labels = rng.integers(0, CLASSES, rows, np.uint8)
    np.save(folder / "y.npy", labels)
    with (folder / "X.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
        np.lib.format.write_array_header_1_0(file, header)
        for begin in range(0, rows, WRITTEN_ROWS):
            part = centres[labels[begin : begin + WRITTEN_ROWS]]
            file.write((part + rng.standard_normal(part.shape, np.float32)).data)


def measure(options: argparse.Namespace) -> dict[str, list[Trial]]:
    """The trials of both, in turn."""
    size = 4 * options.rows * options.columns
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        if (free := shutil.disk_usage(name).free) < 1.1 * size:
            raise UsageError(f"{name} has {free:,} bytes free and the rows take {size:,}: give another --folder.")
        with console.status("writing the rows"):
            write_rows(Path(name), options.rows, options.columns)
        trials: dict[str, list[Trial]] = {where: [] for where in LIMITS}
        for _ in range(options.rounds):
            for where, found in trials.items():
                with console.status(f"an epoch from {where}"):
                    worker = Worker(Epoch, Path(name), where, options.hidden, options.batch_size, options.threads)
                    worker.send("run")
                    found.append(worker.receive(SECONDS))
                    worker.end()
                console.print(f"{where}: {found[-1]}", highlight=False)
    return trials


def table(found: dict[str, Any]) -> str:
    """Rows a second and resident memory, from memory and from a file."""
    lines = ["| rows | rows a second | most resident memory |", "|---|---|---|"]
    for where, speed in found["rows_per_second"].items():
        peak = max(trial["peak_resident"] for trial in found["trials"][where])
        source = {"file": "a file"}.get(where, where)
        lines.append(f"| {found['rows']:,} from {source} | {speed:,} | {peak / 2**20:,.0f} MiB |")
    same = "the same weights" if found["same_weights"] else "other weights"
    return "\n".join([*lines, "", f"{found['speed']:.2f} of the speed, and {same}. {made_by(found)}"]) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=64, help="units of both hidden layers (default: 64)")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1, help="of which the fastest counts (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="of matrix products (default: 1)")
    parser.add_argument("--folder", type=Path, help="where the rows are written, and removed from again")
    options = parser.parse_args(argv)
    try:
        trials = measure(options)
    except NnbackpropError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        return error.exit_code
    best = {where: min(found, key=lambda t: t.epoch_seconds) for where, found in trials.items()}
    speed = best["memory"].epoch_seconds / best["file"].epoch_seconds
    resident = max(t.peak_resident for t in trials["file"])
    same = len({t.weights for found in trials.values() for t in found}) == 1
    machine = Machine.here(options.threads)
    found = {
        **origin("benchmarks.large", argv, machine),
        "rows": options.rows,
        "rows_per_second": {where: round(t.rows_per_second(options.rows)) for where, t in best.items()},
        "speed": speed,
        "peak_resident": resident,
        "same_weights": same,
        "trials": {where: [asdict(t) for t in found] for where, found in trials.items()},
    }
    print(json.dumps(found, indent=1))
    if options.rows >= ROWS:
        keep(FOLDER, machine, found)
    return int(not (same and speed >= MIN_SPEED and resident < MAX_RESIDENT))


if __name__ == "__main__":
    sys.exit(main())
