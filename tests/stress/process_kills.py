"""`kill -9` of one of several processes at random moments: all end, and a resumed run has lost nothing."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from nnbackprop.runs.checkpoint_manager import CheckpointManager
from tests.support import mpi, sharded_runs

from . import child_run
from .kills import LONGEST_LIFE

MAX_SECONDS = 10.0  # from the kill of one process to the end of all


@dataclass
class ProcessKills:
    """Kills, and what they cost."""

    kills: int = 0
    longest: float = 0.0  # seconds from a kill to the end of all processes
    runs: int = 0  # that ended as the one of a single process


def kill_one_of(folder: Path, processes: int, epochs: int, kills: int, rng: random.Random) -> ProcessKills:
    """Kill one of `processes` again and again, `kills` times in all, and resume until the run ends.

    AssertionError where a process is left, a checkpoint is damaged, or the run ends with other bits than that of
    one process with as many shards.
    """
    figures, run = ProcessKills(), folder / "runs" / "killed"
    child_run.write_clouds(folder)
    child_run.run_to_end(folder, *child_run.train_words("alone", epochs), "--shards=4")
    while figures.kills < kills:
        while not _run_once(folder, processes, epochs, figures, rng, kills):
            pass
        child_run.assert_same_outcome(run, folder / "runs" / "alone")
        figures.runs += 1
        shutil.rmtree(run)
    return figures


def _run_once(
    folder: Path, processes: int, epochs: int, figures: ProcessKills, rng: random.Random, kills: int
) -> bool:
    """Start or resume the run; whether it ended before one of its processes was killed."""
    run = folder / "runs" / "killed"
    resumes = (run / "checkpoints" / "last.safetensors").is_file()
    if not resumes:
        shutil.rmtree(run, ignore_errors=True)
    words = ("--resume", "killed") if resumes else (*child_run.train_words("killed", epochs), "--shards=4")
    with child_run.start(folder, *words, processes=processes) as mpiexec:
        assert mpiexec.stdout is not None
        mpiexec.stdout.readline()
        child_run.wait_for_step(mpiexec, 1)
        started = mpi.ranks(psutil.Process(mpiexec.pid))
        if figures.kills < kills and len(started) == processes:
            time.sleep(rng.uniform(0, LONGEST_LIFE))
            begin = time.monotonic()
            try:
                rng.choice(sorted(started.items()))[1].kill()
                figures.kills += 1
            except psutil.NoSuchProcess:  # it had ended
                pass
            _, errors = mpiexec.communicate(timeout=60)
            left = psutil.wait_procs(list(started.values()), timeout=60)[1]
            seconds = time.monotonic() - begin
            assert not left, f"{left} have not ended"
            if mpiexec.returncode:
                assert seconds < MAX_SECONDS, f"the other processes took {seconds:.1f} s to end"
                figures.longest = max(figures.longest, seconds)
        else:
            _, errors = mpiexec.communicate()
    if mpiexec.returncode == 0:
        return True
    assert mpiexec.returncode == 9, f"exit {mpiexec.returncode}: {errors}"
    _, _, damaged = CheckpointManager(run / "checkpoints").load_newest()
    assert not damaged, damaged
    return False


def same_bits(numbers: Sequence[int], libraries: list[str]) -> int:
    """How many trainings have the bits of one process in each number of them; AssertionError names the others."""
    words = ("-m", "tests.support.sharded_runs", *libraries)
    expected = _outcomes([sys.executable, *words])
    assert expected["processes"] == 1
    assert len(expected["found"]) == sum(1 for _ in sharded_runs.cases(libraries))
    for processes in numbers:
        found = _outcomes(mpi.command(processes, *words))
        assert found["processes"] == processes
        assert found["found"].keys() == expected["found"].keys()
        differing = [name for name, bits in expected["found"].items() if found["found"][name] != bits]
        assert not differing, f"{processes} processes have other bits: {differing}"
    return len(expected["found"])


def _outcomes(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, cwd=mpi.ROOT, env=mpi.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, Any] = json.loads(done.stdout)
    return outcomes
