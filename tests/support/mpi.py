"""Commands in several processes, by the mpiexec that belongs to mpi4py."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


def mpiexec() -> str:
    """Its path; skips the test where it or mpi4py is missing."""
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install mpi4py mpich")
    found = shutil.which("mpiexec", path=sysconfig.get_path("scripts")) or shutil.which("mpiexec")
    if found is None:
        pytest.skip("mpi4py has no mpiexec: pip install mpich")
    return found


def environment(**variables: str) -> dict[str, str]:
    """One thread a process, and this checkout."""
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NPROC": "1"}
    return os.environ | threads | {"PYTHONPATH": str(ROOT), "COLUMNS": "300"} | variables


def command(processes: int, *words: str) -> list[str]:
    """mpiexec and what it runs: Python with `words`."""
    return [mpiexec(), "-n", str(processes), sys.executable, *words]


def ranks(launcher: psutil.Process) -> dict[int, psutil.Process]:
    """The processes that a launcher has started, by their number."""
    found = {}
    for child in launcher.children(recursive=True):
        try:
            variables = child.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if "PMI_RANK" in variables:
            found[int(variables["PMI_RANK"])] = child
    return found
