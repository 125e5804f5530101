"""The machine and the libraries of a run, without which figures mean nothing."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass

from nnbackprop._system_info import Blas, cores, processor, versions

PACKAGES = (
    *("nnbackprop", "numpy", "numba", "cupy-cuda12x", "cupy-cuda13x"),
    *("torch", "jax", "keras", "scikit-learn"),
)


@dataclass(frozen=True)
class Machine:
    """Processor, threads, memory in bytes, system and versions.

    `kernel` is the processor whose kernels OpenBLAS chose; `gpu` describes a GPU, its name first.
    """

    processor: str
    cores: int
    threads: int
    memory: int
    system: str
    python: str
    packages: dict[str, str]
    kernel: str | None = None
    gpu: str | None = None

    @classmethod
    def here(cls, threads: int | None = None, gpu: str | None = None) -> Machine:
        """This one."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
        system, kernel = f"{platform.system()} {platform.release()}", None
        with suppress(OSError):
            system = platform.freedesktop_os_release()["PRETTY_NAME"]
        with suppress(ImportError):  # threadpoolctl is not among what a GPU's check needs
            kernel = getattr(Blas.loaded(), "kernel", None)
        python, packages = platform.python_version(), versions(PACKAGES)
        return cls(processor(), cores(), threads or cores(), memory, system, python, packages, kernel, gpu)

    @property
    def name(self) -> str:
        """The GPU, or the processor with its cores and kernels."""
        if self.gpu:
            return self.gpu.partition(",")[0]
        return f"{self.processor} {self.cores} cores {self.kernel or ''}".rstrip()

    @property
    def file_name(self) -> str:
        """Where its results are kept: one file a name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") + ".json"

    def __str__(self) -> str:
        host = f"{self.processor}, {self.cores} cores, {self.threads} thread{'s' * (self.threads != 1)}"
        blas = f", OpenBLAS for {self.kernel}" if self.kernel else ""
        packages = ", ".join(f"{name} {number}" for name, number in self.packages.items())
        gpu = f"{self.gpu}; " if self.gpu else ""
        return f"{gpu}{host}, {self.memory / 2**30:.1f} GiB, {self.system}{blas}. Python {self.python}, {packages}"
