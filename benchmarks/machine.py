"""The machine and the libraries of a run, without which figures mean nothing; what other processes do on it."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass

from nnbackprop._system_info import Blas, CpuTimes, cores, load_of_others, processor, versions

PACKAGES = (
    "nnbackprop",
    "numpy",
    "numba",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "torch",
    "jax",
    "keras",
    "scikit-learn",
)


@dataclass(frozen=True)
class Machine:
    """Processor, memory in bytes, system and versions.

    `kernel` is the processor whose kernels OpenBLAS chose, `coretype` OPENBLAS_CORETYPE where that is set, `gpu`
    the words of a GPU, its name first.
    """

    processor: str
    cores: int
    threads: int
    memory: int
    system: str
    python: str
    packages: dict[str, str]
    coretype: str | None = None
    kernel: str | None = None
    gpu: str | None = None

    @classmethod
    def here(cls, threads: int | None = None, gpu: str | None = None) -> Machine:
        """This one."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        python, coretype = platform.python_version(), os.environ.get("OPENBLAS_CORETYPE")
        count, kernel = threads or cores(), None
        with suppress(ImportError):  # threadpoolctl is not among what a GPU's check needs
            kernel = getattr(Blas.loaded(), "kernel", None)
        return cls(
            processor(), cores(), count, memory, _system(), python, versions(PACKAGES), coretype, kernel, gpu
        )

    @property
    def name(self) -> str:
        """The GPU, or the processor with its cores, and kernels of another processor where they were asked for."""
        kernels = f" {self.coretype}" if self.coretype else ""
        return self.gpu.partition(",")[0] if self.gpu else f"{self.processor} {self.cores} cores{kernels}"

    @property
    def file_name(self) -> str:
        """Where its results are kept: one file a name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") + ".json"

    @property
    def words(self) -> str:
        """In two sentences."""
        host = f"{self.processor}, {self.cores} cores, {self.threads} thread{'s' * (self.threads != 1)}"
        blas = f", OpenBLAS for {self.kernel}" if self.kernel else ""
        blas += " by OPENBLAS_CORETYPE" if self.coretype else ""
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        gpu = f"{self.gpu}; " if self.gpu else ""
        return f"{gpu}{host}, {self.memory / 2**30:.1f} GiB, {self.system}{blas}. Python {self.python}, {packages}"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return f"{platform.system()} {platform.release()}"


def others_share(before: CpuTimes, after: CpuTimes, cpu: float, cores: int, threads: int) -> float:
    """How many of our `threads` cores other processes kept busy between two moments, on average.

    `cpu` is the CPU time of the process that was timed, in seconds. Others cost nothing while they find room on
    the rest of the machine's `cores`.
    """
    others = load_of_others(before, after) - cpu / (after.clock - before.clock)
    return max(0.0, others - (cores - threads))
