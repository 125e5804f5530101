"""Measure what has the same bits and what is merely close: runs trained in one way and replayed in another.

python scripts/reproducibility.py    two minutes; writes the figures of docs/reproducibility.md

Exit status 1 if anything that the page promises does not hold.
"""

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
from pages import ROOT, machine, write

from backends import Backend, select
from nnbackprop._system_info import POOLS, Blas
from nnbackprop.diagnostics.replay import TOLERANCE
from nnbackprop.nn.rng import RngKey

COMMANDS = """
import contextlib, io, json, sys
absent, commands = json.load(sys.stdin)
sys.modules.update(dict.fromkeys(absent))  # what is None there is not found
from nnbackprop import experiment
experiment.draw = lambda *_: None  # pictures would take longer than these runs
from nnbackprop.cli import main
shown = []
for words in commands:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            main(words)
        except SystemExit as end:
            if end.code not in (0, 1):  # 1 says that runs are apart, which is what is asked
                raise
    shown.append(said.getvalue())
json.dump(shown, sys.stdout)
"""

LIBRARIES = {"numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}
OTHERS = {name: title for name, title in LIBRARIES.items() if name != "numpy"}
KERNELS = ("SkylakeX", "Prescott")
DTYPES = ("float32", "float64")

Words = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where commands run: in a process with so many threads, kernels of OpenBLAS, and packages it cannot find.

    What trains there is `asked` further flags. Each is a process of its own, since threads stay as they were set.
    """

    threads: int = 1
    kernel: str | None = None
    absent: Words = ()
    asked: Words = ()

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
    """A run as some commands train it, the place where, and how and where it is replayed.

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


def same() -> list[Case]:
    """What has equal bits."""
    stopped = (*small("numpy"), "--max-time", "1e-9"), ("--max-time", "1e9")
    streamed = ((*small("numpy"), "--resident", "no"),)
    fixed = Place(threads=2, asked=("--deterministic",))
    return [
        *(
            Case(f"once, once more, on two threads: {title}", (full(name),), made=Place(2), again=Place(2))
            for name, title in LIBRARIES.items()
        ),
        Case("stopped within an epoch and resumed, in one piece", stopped),
        Case("streamed, resident", streamed, edit=('resident = "no"', 'resident = "yes"')),
        *(
            Case(f"chunks of 2 steps, of 32: {title}", ((*small(name), "--save-every", "2"),))
            for name, title in OTHERS.items()
        ),
        *(
            Case(f"`--deterministic`, two threads, one: {title}", (full(name),), made=fixed)
            for name, title in LIBRARIES.items()
        ),
    ]


def near() -> list[Case]:
    """What adds up in another order."""
    begun = small("numpy", epochs=1)
    haswell = Place(kernel="Haswell")
    return [
        Case("with numba, without", (small("numpy"),), again=Place(absent=("numba",))),
        *(Case(f"two threads, one: {title}", (full(name),), made=Place(2)) for name, title in LIBRARIES.items()),
        *(
            Case(
                f"OpenBLAS for Haswell, for {kernel}", (small("numpy"),), made=haswell, again=Place(kernel=kernel)
            )
            for kernel in KERNELS
        ),
        *(Case(f"NumPy, {title}", (small("numpy"),), ("--backend", name)) for name, title in OTHERS.items()),
        *(
            Case(
                f"begun on NumPy and gone on with on {title}, NumPy",
                (begun, ("--backend", name, "--epochs", "3")),
                ("--backend", "numpy"),
            )
            for name, title in OTHERS.items()
        ),
        Case("NumPy, PyTorch: 3,400 steps", (small("numpy", epochs=100),), ("--backend", "torch")),
    ]


def measure(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What `nnbackprop replay --json` finds of each case in each dtype; a process a place, two at a time."""
    with tempfile.TemporaryDirectory() as runs, ThreadPoolExecutor(2) as pool:
        where = ("--runs-dir", runs, "--progress", "off")
        trains, replays = defaultdict(list), defaultdict(list)
        rows = [(case, dtype, f"{n}-{dtype}") for n, case in enumerate(cases) for dtype in DTYPES]
        for case, dtype, name in rows:
            first, *more = case.train
            trains[case.made].append(("train", *first, "--dtype", dtype, "--name", name, *case.made.asked, *where))
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


def table(cases: Sequence[Case], bits: bool) -> tuple[str, bool]:
    """A row a case, and whether what is promised holds: equal `bits`, or float64 weights within the bound."""
    lines = ["| trained so, replayed so | float32 | its accuracy | float64 |", "|---|---|---|---|"]
    good, found = True, measure(cases)
    for case, single, double in zip(cases, found[::2], found[1::2], strict=True):
        lines.append(f"| {case.words} | {apart(single)} | {accuracy(single)} | {apart(double)} |")
        good = good and (single["exact"] and double["exact"] if bits else distance(double) <= TOLERANCE)
    return "\n".join(lines), good


def distance(found: Mapping[str, Any]) -> float:
    """The largest relative distance of a tensor."""
    return max(tensor["relative"] for tensor in found["tensors"])


def apart(found: Mapping[str, Any]) -> str:
    """How far apart weights and figures are, in a word."""
    return "bit for bit" if found["exact"] else f"{distance(found):.1e}"


def accuracy(found: Mapping[str, Any]) -> str:
    """Of the part that judges, once or, where it is another, twice."""
    figure = [row for row in found["metrics"] if row["name"].endswith("accuracy")][-1]
    return ", ".join(f"{100 * value:.2f}%" for value in dict.fromkeys((figure["kept"], figure["again"])))


def masks() -> tuple[str, bool]:
    """Whether dropout's masks are the same on every library."""
    drawn = [mask_of(select(name)) for name in LIBRARIES]
    good = all(np.array_equal(mask, drawn[0]) for mask in drawn)
    words = "the same bits" if good else "NOT the same bits"
    return f"100 dropout masks of 120 x 784 have {words} on {', '.join(LIBRARIES.values())}.", good


def mask_of(backend: Backend) -> np.ndarray:
    """The input's masks of the first hundred steps of the default recipe."""
    xp = backend.xp
    steps = (backend.asarray(np.asarray(step, np.int32)) for step in range(100))
    return np.stack(
        [backend.to_numpy(RngKey(0, step).at(0).dropout_mask(xp, (120, 784), 0.4, xp.float32)) for step in steps]
    )


def main() -> int:
    """Measure all of it, print it, and write it where the page shows it."""
    (bits, equal), (order, close), (words, alike) = table(same(), bits=True), table(near(), bits=False), masks()
    blas = Blas.loaded()
    kernel = f"{blas.library} for {blas.kernel}" if blas else "a BLAS of the system's"
    made = f"Made by `python scripts/reproducibility.py` on {machine()}, {kernel}, {datetime.now(UTC).date()}."
    blocks = {"reproducible": f"{bits}\n\n{words}\n\n{made}\n", "near": f"{order}\n\n{made}\n"}
    print("\n".join(blocks.values()))
    (ROOT / "docs" / "reproducibility.json").write_text(json.dumps(blocks, indent=2) + "\n")
    write(blocks)
    return int(not (equal and close and alike))


if __name__ == "__main__":
    sys.exit(main())
