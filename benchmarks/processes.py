"""Several processes: what a step costs beside one process, what it sends, and a simulated curve to 1,024.

python -m benchmarks.processes      W1 and W4 on two processes; keeps the result in benchmarks/results/processes

Every process has one thread and the workload's batch, so that two train a batch of twice the size: equal work a
process. `apart` are two processes that run at the same time and tell each other nothing: what the memory that they
share costs. The curve is a model, not a measurement: see `simulated`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from backends import leaves, select
from nnbackprop._system_info import set_num_threads
from nnbackprop.data.catalog import load
from nnbackprop.data.scaling import fit_scaling
from nnbackprop.distributed.communicator import SingleProcess
from nnbackprop.distributed.mpi import MpiCommunicator, communicator
from nnbackprop.distributed.sharding import ShardedTraining
from nnbackprop.training.callbacks import Callback
from nnbackprop.training.events import ChunkEnd
from nnbackprop.training.trainer import Trainer

from .kept import keep, made_by, origin
from .machine import Machine
from .results import RESULTS
from .workloads import WORKLOADS

FOLDER = RESULTS / "processes"
LABELS = ("W1", "W4")
SECONDS = {"W1": 8.0, "W4": 40.0}  # of training, for each figure
ROUNDS = 3
SIZES = (1 << 10, 1 << 22)  # numbers summed, for latency and for bandwidth
CURVE = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Stopwatch(Callback):
    """Seconds a step of each chunk; stops after so many seconds of training."""

    def __init__(self, seconds: float) -> None:
        self.left, self.times = seconds, list[float]()

    def chunk_end(self, trainer: Trainer, event: ChunkEnd) -> None:
        self.times.append(event.seconds / event.steps)
        self.left -= event.seconds
        if self.left < 0:
            trainer.stop("max-time")


def train(label: str, kind: str, world: MpiCommunicator | SingleProcess) -> dict[str, float]:
    """Milliseconds of a step in this process, and what it has sent: `kind` is alone, apart or together."""
    workload = WORKLOADS[label]
    data = load(workload.data).train
    together = world.size if kind == "together" else 1
    stopwatch = Stopwatch(SECONDS[label])
    trainer = Trainer(
        workload.network,
        workload.loss,
        workload.optimizer,
        lr=workload.lr,
        backend=select("numpy"),
        scaling=fit_scaling(workload.scale, data),
        batch_size=(workload.batch or len(data)) * together,
        epochs=1000,
        callbacks=[stopwatch],
    )
    if together > 1:
        trainer.use_sharding(ShardedTraining(together, world))
    world.all_gather_object(None)  # all begin at once
    before = getattr(world, "bytes_sent", 0)
    trainer.fit(data)
    gradients = sum(a.nbytes for a in leaves(trainer.host_params()))
    sent = (getattr(world, "bytes_sent", 0) - before) / trainer.progress.step
    return {"ms": 1e3 * median(stopwatch.times[1:]), "sent": sent, "gradients": gradients}


def network(world: MpiCommunicator) -> dict[str, float]:
    """Seconds of a message between two processes, of a byte of it, and of a byte that is added up."""
    seconds = []
    for size in SIZES:
        shards, times = np.ones((1, size), np.float32), []
        for _ in range(50):
            begin = time.perf_counter()
            world.sum_shards(shards)
            times.append(time.perf_counter() - begin)
        seconds.append(median(times))
    rows, times = np.ones((2, SIZES[1] // 2), np.float32), []
    for _ in range(20):
        begin = time.perf_counter()
        rows[0] += rows[1]
        times.append(time.perf_counter() - begin)
    added = median(times) / rows[0].nbytes
    (small, large), (first, second) = SIZES, seconds
    rest = second - first - added * 4 * (large - small)  # without the sum of two halves
    return {"latency": first / 2, "byte": max(rest, 0.0) / (4 * (large - small)), "added": added}


def simulated(step: float, gradients: float, found: dict[str, float]) -> dict[int, float]:
    """Efficiency on N processes with equal work each: step / (step + communication).

    A step on N processes sends 2 (N - 1) messages of P / N bytes from each (MPI_Alltoall and MPI_Allgather, P the
    bytes of the gradients) and adds N parts of P / N: 2 (N - 1) a + 2 (N - 1) / N P b + P c, where a message takes
    a and a byte b as between two processes of this machine, and c is a byte of a sum. Nothing else is in it: a
    network as fast as this machine's memory, no contention, no waiting for the slowest, and nothing of it overlaps
    with the gradients.
    """
    a, b, c = found["latency"], found["byte"], found["added"]
    costs = {n: 2 * (n - 1) * a + 2 * (n - 1) / n * gradients * b + gradients * c for n in CURVE}
    return {n: step / (step + cost) for n, cost in costs.items()}


def run(kind: str, *labels: str) -> list[dict[str, Any]]:
    """What each process of a measurement has found."""
    processes = 1 if kind == "alone" else 2
    mpiexec = shutil.which("mpiexec", path=sysconfig.get_path("scripts")) or "mpiexec"
    command = [mpiexec, "-n", str(processes), sys.executable, "-m", "benchmarks.processes", "--worker", kind]
    done = subprocess.run([*command, *labels], stdout=subprocess.PIPE, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def worker(kind: str, labels: Sequence[str]) -> None:
    """One process of a measurement; the first prints what all have found."""
    world: Any = communicator()
    found = network(world) if kind == "network" else train(labels[0], kind, world)
    of_all = world.all_gather_object(found)
    if world.rank == 0:
        print(json.dumps(of_all))
    if world.size > 1:
        world.barrier()


def measure(labels: Sequence[str], rounds: int) -> dict[str, Any]:
    """All figures: each the median of rounds in which everybody has its turn."""
    found = {name: median(r[name] for r in run("network")) for name in ("latency", "byte", "added")}
    rows = {}
    for label in labels:
        times: dict[str, list[float]] = {"alone": [], "apart": [], "together": []}
        for _ in range(rounds):
            for kind in times:
                of_all = run(kind, label)
                times[kind].append(max(process["ms"] for process in of_all))
        ms = {kind: median(values) for kind, values in times.items()}
        sent, gradients = of_all[0]["sent"], of_all[0]["gradients"]
        curve = simulated(ms["alone"] / 1e3, gradients, found)
        rows[label] = {
            "title": WORKLOADS[label].title,
            "ms": ms,
            "sent": sent,
            "gradients": gradients,
            "curve": curve,
        }
    return {"network": found, "workloads": rows}


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    head = "| a step of | alone | two apart | two together | efficiency | beside two apart | sent / lower bound |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for label, row in result["workloads"].items():
        ms = row["ms"]
        cells = [f"{label}: {row['title']}", *(f"{ms[kind]:.2f} ms" for kind in ("alone", "apart", "together"))]
        cells += [f"{ms['alone'] / ms['together']:.2f}", f"{ms['apart'] / ms['together']:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{row['sent'] / row['gradients']:.4f}"]) + " |")
    lines += [
        "",
        "| simulated efficiency | " + " | ".join(map(str, CURVE)) + " |",
        "|---" * (len(CURVE) + 1) + "|",
    ]
    for label, row in result["workloads"].items():
        lines.append(f"| {label} | " + " | ".join(f"{row['curve'][str(n)]:.2f}" for n in CURVE) + " |")
    net = result["network"]
    lines += [
        "",
        f"A message takes {net['latency'] * 1e6:.0f} µs, a gigabyte {net['byte'] * 1e9:.2f} s, adding one up "
        f"{net['added'] * 1e9:.2f} s. {made_by(result)}",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("labels", nargs="*", default=LABELS)
    given = parser.parse_args()
    set_num_threads(1, later_imports=True)
    if given.worker:
        worker(given.worker, given.labels)
        return
    result = measure(given.labels, given.rounds)
    machine = Machine.here(threads=1)
    result = json.loads(json.dumps({**result, **origin("benchmarks.processes", None, machine)}))
    keep(FOLDER, machine, result)
    print(table(result))


if __name__ == "__main__":
    main()
