"""Importing this makes a later `import cupy` find an emulated CUDA device.

The environment of `make test-cuda` imports it whenever Python starts, so that commands run by tests find it too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class CupyOnEmulatedDevice(Loader):
    """Loads CuPy between the stand-ins for CUDA's libraries and the patches of CuPy's own modules."""

    def __init__(self, cupy: Loader) -> None:
        self.cupy = cupy

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.cupy.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        from . import device, kernels

        device.load()
        os.environ["CUPY_CACHE_DIR"] = str(kernels.folder() / "cupy")
        self.cupy.exec_module(module)
        device.take_over()


class Finder(MetaPathFinder):
    """Finds `cupy`, and nothing else."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == "cupy" else None
        if spec and spec.loader:
            spec.loader = CupyOnEmulatedDevice(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
