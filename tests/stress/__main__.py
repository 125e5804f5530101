"""Stress tests at full size, as a table: crashes, damage, hostile files, long training. `make stress`, two cores.

Anything that does not hold is a line with FAULT, and an exit status that is not 0.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from nnbackprop._system_info import cores, processor

from . import child_run, damage, fuzz, kills, process_kills

ROOT = Path(__file__).parents[2]
HALVES = 2  # of the kills, one a core
PROCESSES = (2, 4)
KINDS = ("kills", "damage", "hostile", "soak", "processes")
LIBRARIES = ("numpy", "torch", "jax")

Trial = Callable[[], str]


def main() -> int:
    """Try everything; the number of trials with a fault."""
    parser = argparse.ArgumentParser(prog="make stress", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="some of it")
    parser.add_argument("--kills", type=int, default=200, help="at random moments")
    parser.add_argument("--epochs", type=int, default=300, help="of a run that is killed again and again")
    parser.add_argument("--process-kills", type=int, default=50, help="of one of 2 processes, and of one of 4")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for each reader")
    parser.add_argument("--seconds", type=int, default=0, help="at most, for each reader; 0 for no limit")
    parser.add_argument("--minutes", type=float, default=10, help="of training, for the soak")
    parser.add_argument("--json", type=Path, help="write the figures to this file, unless something did not hold")
    asked = parser.parse_args()
    machine = f"{processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()}"
    print(f"{datetime.date.today()}, {machine}", flush=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        running = [(what, pool.submit(_run_trial, trial)) for what, trial in _trials(Path(folder), asked)]
        faults, results = 0, []
        for what, trial in running:
            passed, result = trial.result()
            faults += not passed
            results.append((what, result))
            print(f"{what:<22} {result if passed else 'FAULT: ' + result}", flush=True)
    if asked.json and not faults:
        command = " ".join(["python -m tests.stress", *sys.argv[1:]])
        made = {"command": command, "date": str(datetime.date.today()), "machine": machine, "trials": results}
        asked.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return faults


def _trials(folder: Path, asked: argparse.Namespace) -> list[tuple[str, Trial]]:
    """Each by its name; the soak first, which keeps one core busy longest."""
    flags = "--inputs", str(asked.inputs), "--seconds", str(asked.seconds)
    halves = range(HALVES)
    kinds: dict[str, list[tuple[str, Trial]]] = {
        "soak": [("soak", partial(_module, "soak", str(asked.minutes)))],
        "kills": [("kill -9", partial(_kills, folder, n, asked.epochs, asked.kills // HALVES)) for n in halves],
        "damage": [("bits and cuts", partial(_damage, folder / "damaged"))],
        "processes": [
            ("bits of processes", _same_bits),
            *(
                (f"{n} processes", partial(_process_kills, folder, n, asked.epochs, asked.process_kills))
                for n in PROCESSES
            ),
        ],
        "hostile": [(f"hostile {name}", partial(_module, "fuzz", name, *flags)) for name in fuzz.NAMES],
    }
    return [trial for kind, trials in kinds.items() if kind in asked.only for trial in trials]


def _run_trial(trial: Trial) -> tuple[bool, str]:
    """Whether it passed, and its figures or its error."""
    try:
        return True, trial()
    except Exception as error:
        return False, str(error) or repr(error)


def _kills(folder: Path, seed: int, epochs: int, count: int) -> str:
    place = folder / f"killed-{seed}"
    place.mkdir()
    found = kills.kill_and_resume(place, epochs, count, random.Random(seed))
    return (
        f"{found.kills} survived, {found.resumes} resumes, at most {found.lost} of {child_run.SAVE_EVERY} steps "
        f"lost; {found.runs} runs ended bit for bit as one that was not killed"
    )


def _same_bits() -> str:
    libraries = [name for name in LIBRARIES if find_spec(name)]
    same = process_kills.same_bits(PROCESSES, libraries)
    numbers = " and ".join(map(str, PROCESSES))
    return f"{same} trainings on {', '.join(libraries)} with the bits of one process in {numbers}"


def _process_kills(folder: Path, processes: int, epochs: int, count: int) -> str:
    place = folder / f"processes-{processes}"
    place.mkdir()
    found = process_kills.kill_one_of(place, processes, epochs, count, random.Random(processes))
    ended = f"{found.runs} runs ended bit for bit as that of one process"
    return f"{found.kills} kills of one, after which all ended within {found.longest:.1f} s; {ended}"


def _damage(place: Path) -> str:
    """On a checkpoint of a run as it is written."""
    caught = 0
    place.mkdir()
    child_run.write_clouds(place)
    child_run.run_to_end(place, *child_run.train_words("run", 2))
    whole = (place / "runs" / "run" / "checkpoints" / "last.safetensors").read_bytes()
    for content in damage.all_damaged(whole):
        damage.assert_refused(place / "last.safetensors", content)
        caught += 1
    return f"{caught:,} caught: every bit of {len(whole):,} bytes flipped, and the file cut at every one"


def _module(name: str, *words: str) -> str:
    """The last line that a module of this package says in a process of its own, which is to end with 0."""
    command = [sys.executable, "-m", f"tests.stress.{name}", *words]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    said = done.stdout.strip() or done.stderr.strip()
    if done.returncode:
        raise RuntimeError(said)
    return said.removeprefix(words[0]).strip()


if __name__ == "__main__":
    sys.exit(main())
