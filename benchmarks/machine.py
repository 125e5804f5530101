"""The machine and the libraries of a run: figures mean nothing without them."""

from __future__ import annotations

import os
import platform
import re

import numpy  # noqa: F401 (so that its BLAS is loaded)
import psutil
from msgspec import Struct

from nnbackprop._system_info import Blas, cores, processor, versions
from nnbackprop.report.formatting import plural, size

PACKAGES = ("nnbackprop", "numpy", "numba", "torch", "jax", "keras", "scikit-learn", "thinc", "array-api-compat")


class Machine(Struct, frozen=True):
    """Processor, memory in bytes, system and versions; `kernel` is what OpenBLAS takes the processor for.

    `coretype` is OPENBLAS_CORETYPE where it is set, which makes OpenBLAS take it for another.
    """

    processor: str
    cores: int
    threads: int
    memory: int
    system: str
    python: str
    packages: dict[str, str]
    coretype: str | None
    kernel: str | None

    @classmethod
    def here(cls, threads: int) -> Machine:
        """This one."""
        blas = Blas.loaded()
        return cls(
            processor=processor(),
            cores=cores(),
            threads=threads,
            memory=psutil.virtual_memory().total,
            system=system(),
            python=platform.python_version(),
            packages=versions(PACKAGES),
            coretype=os.environ.get("OPENBLAS_CORETYPE"),
            kernel=blas.kernel if blas else None,
        )

    @property
    def slug(self) -> str:
        """The processor as part of a file's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.processor.lower()).strip("-")

    @property
    def title(self) -> str:
        """Processor, threads, and the kernels of another processor where these were asked for."""
        kernels = f", OPENBLAS_CORETYPE={self.coretype}" if self.coretype else ""
        return f"{self.processor}, {plural(self.threads, 'thread')}{kernels}"

    @property
    def words(self) -> str:
        """In a line."""
        blas = f", OpenBLAS for {self.kernel}" if self.kernel else ""
        blas += " by OPENBLAS_CORETYPE" if self.coretype else ""
        return (
            f"{self.processor}, {plural(self.cores, 'core')}, {plural(self.threads, 'thread')}, "
            f"{size(self.memory)}, {self.system}{blas}"
        )

    @property
    def versions(self) -> str:
        """Python and the libraries, in a line."""
        return ", ".join(f"{name} {number}" for name, number in {"Python": self.python, **self.packages}.items())


def system() -> str:
    """The operating system's name and version."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return f"{platform.system()} {platform.release()}"
