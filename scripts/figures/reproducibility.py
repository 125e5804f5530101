"""What has the same bits and what is merely close: runs trained in one way and replayed in another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from backends import Backend, select
from nnbackprop._system_info import POOLS, Blas
from nnbackprop.diagnostics.replay import TOLERANCE
from nnbackprop.nn.rng import RngKey

from . import machine
from . import table as markdown

COMMANDS = """
import contextlib, io, json, sys
absent, commands = json.load(sys.stdin)
sys.modules.update(dict.fromkeys(absent))  # what is None there is not found
from nnbackprop.report import plots
plots.draw_run = lambda *_: None  # plots would take longer than these runs
from nnbackprop.cli import main
shown = []
for words in commands:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            main(words)
        except SystemExit as end:
            if end.code not in (0, 1):  # 1 says that runs differ, which is what is asked
                raise
    shown.append(said.getvalue())
json.dump(shown, sys.stdout)
"""

LIBRARIES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}
OTHERS = {name: title for name, title in LIBRARIES.items() if name != "numpy"}
DTYPES = ("float32", "float64")

Words = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A process with its threads, kernels of OpenBLAS, packages it cannot find, and flags for `train`."""

    threads: int = 1
    kernel: str | None = None
    absent: Words = ()
    flags: Words = ()

    def run(self, commands: Sequence[Words]) -> list[str]:
        """What each of our commands prints, one after the other."""
        environment = {**os.environ, **dict.fromkeys(POOLS, str(self.threads))}
        if self.kernel:
            environment["OPENBLAS_CORETYPE"] = self.kernel
        given = json.dumps([self.absent, commands])
        code = [sys.executable, "-c", COMMANDS]
        done = subprocess.run(code, input=given, stdout=subprocess.PIPE, text=True, env=environment, check=True)
        return json.loads(done.stdout)


@dataclass(frozen=True)
class Case:
    """A run as some commands train it, where, and how and where it is replayed.

    `edit` replaces words of its config.toml in between.
    """

    words: str
    train: tuple[Words, ...]
    flags: Words = ()
    made: Place = Place()
    again: Place = Place()
    edit: tuple[str, str] = ("", "")


def small(library: str, epochs: int = 3) -> Words:
    """784-128-64-10 with the default recipe's ReLU and dropout; 34 steps an epoch, the last of fewer samples."""
    layers = ("--hidden", "128", "64", "--data", "mnist-20x20")
    return ("mnist", *layers, "--epochs", str(epochs), "--backend", library)


def full(library: str) -> Words:
    """40 steps of ex4, each a sum over all 5,000 samples."""
    return ("ex4", "--epochs", "40", "--backend", library)


def same_bits() -> list[Case]:
    """What has equal bits."""
    stopped = (*small("numpy"), "--max-time", "1e-9"), ("--max-time", "1e9")
    streamed = ((*small("numpy"), "--resident", "no"),)
    fixed = Place(threads=2, flags=("--deterministic",))
    libraries, others = LIBRARIES.items(), OTHERS.items()
    return [
        *(
            Case(f"once, once more, on two threads: {t}", (full(n),), made=Place(2), again=Place(2))
            for n, t in libraries
        ),
        Case("stopped within an epoch and resumed, in one piece", stopped),
        Case("streamed, resident", streamed, edit=('resident = "no"', 'resident = "yes"')),
        *(Case(f"chunks of 2 steps, of 32: {t}", ((*small(n), "--save-every", "2"),)) for n, t in others),
        *(Case(f"`--deterministic`, two threads, one: {t}", (full(n),), made=fixed) for n, t in libraries),
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


def replays(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What `nnbackprop replay --json` finds of each case in each dtype; a process a place, two at a time."""
    with tempfile.TemporaryDirectory() as runs, ThreadPoolExecutor(2) as pool:
        where = ("--runs-dir", runs, "--progress", "off")
        trains, replays = defaultdict(list), defaultdict(list)
        rows = [(case, dtype, f"{n}-{dtype}") for n, case in enumerate(cases) for dtype in DTYPES]
        for case, dtype, name in rows:
            first, *more = case.train
            trains[case.made].append(("train", *first, "--dtype", dtype, "--name", name, *case.made.flags, *where))
            trains[case.made] += [("train", "--resume", f"{runs}/{name}", *words, *where) for words in more]
            replays[case.again].append((name, ("replay", name, "--json", *case.flags, *where)))
        list(pool.map(Place.run, trains, trains.values()))
        for case, _, name in rows:
            config = Path(runs, name, "config.toml")
            config.write_text(config.read_text().replace(*case.edit))
        shown = pool.map(Place.run, replays, ([words for _, words in named] for named in replays.values()))
        found: dict[str, dict[str, Any]] = {}
        for named, said in zip(replays.values(), shown, strict=True):
            found |= {name: json.loads(words) for (name, _), words in zip(named, said, strict=True)}
        return [found[name] for _, _, name in rows]


def table(cases: Sequence[Case], bits: bool) -> str:
    """A row a case; SystemExit where the promise fails: equal `bits`, or float64 weights within the bound."""
    rows, found = [], replays(cases)
    for case, single, double in zip(cases, found[::2], found[1::2], strict=True):
        if not (single["exact"] and double["exact"] if bits else distance(double) <= TOLERANCE):
            sys.exit(f"{case.words}: {apart(single)} in float32, {apart(double)} in float64.")
        rows.append((case.words, apart(single), accuracy(single), apart(double)))
    return markdown(("trained so, replayed so", "float32", "its accuracy", "float64"), rows)


def distance(found: Mapping[str, Any]) -> float:
    """The largest relative distance of a tensor."""
    return max(tensor["relative"] for tensor in found["tensors"])


def apart(found: Mapping[str, Any]) -> str:
    """How far apart weights and figures are, in a word."""
    return "bit for bit" if found["exact"] else f"{distance(found):.1e}"


def accuracy(found: Mapping[str, Any]) -> str:
    """Of the part that judges, once or, where it is another, twice."""
    figure = [row for row in found["metrics"] if row["name"].endswith("accuracy")][-1]
    return ", ".join(f"{value:.2%}" for value in dict.fromkeys((figure["kept"], figure["again"])))


def masks(backend: Backend) -> np.ndarray:
    """The input's dropout masks of the first hundred steps of the default recipe."""
    keys = [RngKey(0, backend.asarray(np.asarray(step, np.int32))).at(0) for step in range(100)]
    return np.stack(
        [backend.to_numpy(key.dropout_mask(backend.xp, (120, 784), 0.4, backend.xp.float32)) for key in keys]
    )


def measure() -> dict[str, str]:
    """The blocks; SystemExit if anything that the page promises does not hold."""
    drawn = [masks(select(name)) for name in LIBRARIES]
    if not all(np.array_equal(each, drawn[0]) for each in drawn):
        sys.exit("Dropout masks differ between libraries.")
    equal, words = table(same_bits(), bits=True), f"have the same bits on {', '.join(LIBRARIES.values())}."
    blas = Blas.loaded()
    kernel = f"{blas.library} for {blas.kernel}" if blas else "a BLAS of the system's"
    command = "python scripts/make_figures.py --run reproducibility"
    made = f"Made by `{command}` on {machine()}, {kernel}, {datetime.now(UTC).date()}."
    return {
        "reproducible": f"{equal}\n\n100 dropout masks of 120 x 784 {words}\n\n{made}\n",
        "near": f"{table(close(), bits=False)}\n\n{made}\n",
    }
