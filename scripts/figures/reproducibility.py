"""What has the same bits and what is merely close: runs trained in one way and replayed in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends import Backend, select
from nnbackprop._system_info import THREAD_VARIABLES, Blas
from nnbackprop.nn.rng import RngKey

from . import machine, table, today

BOUND = 1e-12
"""Of the relative difference of float64 weights; see docs/reproducibility.md."""

COMMAND = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))  # what is None there is not found
from nnbackprop.report import plot_process
plot_process.draw_run = lambda *_: ()  # plots would take longer than these runs
from nnbackprop.cli import main
main(sys.argv[2:])
"""

LIBRARIES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}
OTHERS = {name: title for name, title in LIBRARIES.items() if name != "numpy"}

Words = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A process with its threads, kernels of OpenBLAS and packages it cannot find."""

    threads: int = 1
    kernel: str | None = None
    absent: Words = ()

    def run(self, *arguments: str) -> str:
        """What a command of ours prints; status 1 of `replay` says that runs differ, which is what is asked."""
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(self.threads))}
        if self.kernel:
            environment["OPENBLAS_CORETYPE"] = self.kernel
        command = [sys.executable, "-c", COMMAND, json.dumps(self.absent), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
        if done.returncode not in (0, 1):
            sys.exit(f"nnbackprop {' '.join(arguments)} ended with status {done.returncode}.")
        return done.stdout


@dataclass(frozen=True)
class Case:
    """A run as some commands train it, where, and how and where it is replayed.

    `edit` replaces text of its config.toml in between.
    """

    arguments: str
    train: tuple[Words, ...]
    flags: Words = ()
    made: Place = Place()
    again: Place = Place()
    edit: tuple[str, str] = ("", "")

    def replay(self, dtype: str) -> dict[str, Any]:
        """What `nnbackprop replay --json` finds."""
        with tempfile.TemporaryDirectory() as runs:
            where = ("--runs-dir", runs, "--progress", "off")
            first, *more = self.train
            self.made.run("train", *first, "--dtype", dtype, "--name", "run", *where)
            for arguments in more:
                self.made.run("train", "--resume", f"{runs}/run", *arguments, *where)
            config = Path(runs, "run", "config.toml")
            config.write_text(config.read_text(encoding="utf-8").replace(*self.edit), encoding="utf-8")
            return json.loads(self.again.run("replay", "run", "--json", *self.flags, *where))


def small(library: str, *further: str, epochs: int = 3) -> Words:
    """784-128-64-10 with the settings of mnist-original; 34 steps an epoch, the last of fewer samples."""
    layers = ("--hidden", "128", "64", "--data", "mnist-20x20")
    return ("mnist-original", *layers, "--epochs", str(epochs), "--backend", library, *further)


def full(library: str, *further: str) -> Words:
    """40 steps of ex4, each a sum over all 5,000 samples."""
    return ("ex4", "--epochs", "40", "--backend", library, *further)


def same_bits() -> list[Case]:
    """What has equal bits."""
    two, fixed = Place(2), "--deterministic"
    names = LIBRARIES.items()
    stopped, streamed = small("numpy", "--max-time", "1e-9"), small("numpy", "--resident", "no")
    return [
        *(Case(f"once, once more, on two threads: {t}", (full(n),), made=two, again=two) for n, t in names),
        Case("stopped within an epoch and resumed, in one piece", (stopped, ("--max-time", "1e9"))),
        Case("streamed, resident", (streamed,), edit=('resident = "no"', 'resident = "yes"')),
        *(Case(f"chunks of 2 steps, of 32: {t}", (small(n, "--save-every", "2"),)) for n, t in OTHERS.items()),
        *(Case(f"`--deterministic`, two threads, one: {t}", (full(n, fixed),), made=two) for n, t in names),
    ]


def close() -> list[Case]:
    """What adds up in another order."""
    numpy, begun, haswell = (small("numpy"),), small("numpy", epochs=1), Place(kernel="Haswell")
    kernels = {kernel: Place(kernel=kernel) for kernel in ("SkylakeX", "Prescott")}
    on_numpy = ("--backend", "numpy")
    return [
        Case("with numba, without", numpy, again=Place(absent=("numba",))),
        *(Case(f"two threads, one: {title}", (full(name),), made=Place(2)) for name, title in LIBRARIES.items()),
        *(
            Case(f"OpenBLAS for Haswell, for {k}", numpy, made=haswell, again=place)
            for k, place in kernels.items()
        ),
        *(Case(f"NumPy, {title}", numpy, ("--backend", name)) for name, title in OTHERS.items()),
        *(
            Case(f"begun on NumPy, continued on {t}; NumPy", (begun, ("--backend", n, "--epochs", "3")), on_numpy)
            for n, t in OTHERS.items()
        ),
        Case("NumPy, PyTorch: 3,400 steps", (small("numpy", epochs=100),), ("--backend", "torch")),
    ]


def replays(cases: Sequence[Case], bits: bool) -> str:
    """A row a case; SystemExit where the promise fails: equal `bits`, or float64 weights within the bound."""
    with ThreadPoolExecutor(2) as pool:
        found = [list(pool.map(lambda case: case.replay(dtype), cases)) for dtype in ("float32", "float64")]  # noqa: B023
    rows = []
    for case, single, double in zip(cases, *found, strict=True):
        if not (single["exact"] and double["exact"] if bits else largest_difference(double) <= BOUND):
            sys.exit(
                f"{case.arguments}: {difference_text(single)} in float32, {difference_text(double)} in float64."
            )
        rows.append((case.arguments, difference_text(single), accuracy(single), difference_text(double)))
    return table(("trained so, replayed so", "float32", "its accuracy", "float64"), rows)


def largest_difference(found: Mapping[str, Any]) -> float:
    """The largest relative difference of a tensor."""
    return max(tensor["relative"] for tensor in found["tensors"])


def difference_text(found: Mapping[str, Any]) -> str:
    """Largest relative difference of the weights."""
    return "bit for bit" if found["exact"] else f"{largest_difference(found):.1e}"


def accuracy(found: Mapping[str, Any]) -> str:
    """Of the part that judges, once or, where it is another, twice."""
    figure = [row for row in found["metrics"] if row["name"].endswith("accuracy")][-1]
    return ", ".join(f"{value:.2%}" for value in dict.fromkeys((figure["kept"], figure["again"])))


def masks(backend: Backend) -> np.ndarray:
    """The input's dropout masks of the first hundred steps of mnist-original."""
    xp, steps = backend.xp, (backend.asarray(np.asarray(step, np.int32)) for step in range(100))
    drawn = (RngKey(0, step).child(0).dropout_mask(xp, (120, 784), 0.4, xp.float32) for step in steps)
    return np.stack([backend.to_numpy(mask) for mask in drawn])


def measure() -> dict[str, str]:
    """The blocks; SystemExit if anything that the page promises does not hold."""
    drawn = [masks(select(name)) for name in LIBRARIES]
    if not all(np.array_equal(each, drawn[0]) for each in drawn):
        sys.exit("Dropout masks differ between libraries.")
    same_masks = f"100 dropout masks of 120 x 784 have the same bits on {', '.join(LIBRARIES.values())}."
    kernel = f"{blas.library} for {blas.kernel}" if (blas := Blas.loaded()) else "a BLAS of the system's"
    command = "python scripts/make_figures.py --run reproducibility"
    made = f"Made by `{command}` on {machine()}, {kernel}, {today()}."
    reproducible = f"{replays(same_bits(), bits=True)}\n\n{same_masks}\n\n{made}\n"
    return {"reproducible": reproducible, "near": f"{replays(close(), bits=False)}\n\n{made}\n"}
