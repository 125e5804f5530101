"""Puts the stand-ins in the place of the CUDA runtime that CuPy's modules contain."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from types import ModuleType

RUNTIME = "emulated_"
"""How the stand-in for a function of the runtime is called: this, and its name."""

REDUCTIONS = {
    "cub_device_reduce": "emulated_reduce",
    "cub_device_reduce_get_workspace_size": "emulated_reduce_workspace",
    "cub_device_segmented_reduce": "emulated_segmented_reduce",
    "cub_device_segmented_reduce_get_workspace_size": "emulated_segmented_reduce_workspace",
}
"""Functions of CuPy's module `cub`, which launch kernels that were compiled for GPUs, and their stand-ins."""


def patch(module: ModuleType, device: ctypes.CDLL) -> None:
    """Replace the runtime's functions in a loaded module; those without a stand-in say so when they are called."""
    path = Path(str(module.__file__)).resolve()
    base = _base(path)
    for name, at in _functions(path).items():
        stand_in = REDUCTIONS.get(name, RUNTIME + name)
        if hasattr(device, stand_in):
            failed = device.emulator_patch(ctypes.c_void_p(base + at), getattr(device, stand_in))
        elif name.startswith("cuda") and name[4:5].isupper():
            failed = device.emulator_patch_refusal(ctypes.c_void_p(base + at), name.encode())
        else:
            continue
        if failed:
            raise OSError(f"The memory of {path.name} could not be written to, for {name}.")


def _base(path: Path) -> int:
    """Where a library lies in this process's memory."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[5:] == [str(path)] and int(words[2], 16) == 0:
            return int(words[0].split("-")[0], 16)
    raise LookupError(f"{path} is not loaded.")


def _functions(path: Path) -> dict[str, int]:
    """The functions of a library by their C name, and where each begins."""
    listed = subprocess.run(["nm", "--defined-only", "-C", str(path)], capture_output=True, text=True, check=True)
    lines = (line.split(maxsplit=2) for line in listed.stdout.splitlines())
    return {name.split("(")[0]: int(at, 16) for at, kind, name in lines if kind in "tT" and "[clone" not in name}
