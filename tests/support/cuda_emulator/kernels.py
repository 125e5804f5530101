"""Compiles each kernel that CuPy generates twice: by NVRTC, to see that it compiles, and by g++, to execute it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from .build import CACHE, GXX, HERE, compile_with, digest, site_packages, write

Names = dict[str, str] | None
"""Instances of templates, such as `f<int>`, and the symbols that NVRTC gives them."""

IMAGE = b"EMULATED:%s\0"
"""What the emulated driver loads as a module: the path of a shared library."""

FLAGS = ["-O1", "-ffp-contract=off", "-w", "-fpermissive"]

_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(")
_SYNCHRONISES = re.compile(r"__syncthreads|__syncwarp|__shfl|BlockReduce")


@cache
def folder() -> Path:
    """Kernels of this state of the headers, and CuPy's cache of what the emulator made of them."""
    own = [file for file in (HERE / "kernel").rglob("*") if file.is_file()]
    return CACHE / f"kernels-{digest([*own, *_cupy_headers().glob('cupy/*.cuh')], *FLAGS)}"


def compiler(nvrtc: Callable[..., tuple[bytes, Names]]) -> Callable[..., tuple[bytes, Names]]:
    """The function of CuPy's that compiles a source, which is `nvrtc`, with g++ after it."""

    def compile_twice(
        source: str,
        options: tuple[str, ...] = (),
        arch: str | None = None,
        filename: str = "kern.cu",
        name_expressions: tuple[str, ...] | None = None,
        *rest: Any,
    ) -> tuple[bytes, Names]:
        key = digest([], source, *options, *(name_expressions or ()))
        checked = folder() / f"{key}.nvrtc.json"
        if not checked.exists():
            _, names = nvrtc(source, options, arch, filename, name_expressions, *rest)
            write(checked, json.dumps(names))
        names = json.loads(checked.read_text(encoding="utf-8"))
        return IMAGE % bytes(host_library(source, key, options, names)), names

    return compile_twice


def host_library(source: str, key: str, options: tuple[str, ...], names: Names) -> Path:
    """A shared library with the source's kernels, as the emulated driver calls them."""
    library = folder() / f"{key}.so"
    if not library.exists():
        kernels = names or {kernel: kernel for kernel in _KERNEL.findall(source)}
        one_thread = "CUPY_FOR" in source and not _SYNCHRONISES.search(source)
        lines = [
            '#include "cupy_headers.h"',
            "#define EMULATOR_ONE_THREAD" if one_thread else "",
            '#include "launch.h"',
            source,
            *(f"EMULATOR_EXPORT({symbol}, {kernel})" for kernel, symbol in kernels.items()),
        ]
        cpp = write(library.with_suffix(".cpp"), "\n".join(lines))
        defined = [option for option in options if option.startswith("-D")]
        command = [*GXX, *FLAGS, f"-I{precompiled().parent}", *_include(), *defined]
        compile_with(command, library, cpp, log=f"g++ does not compile {', '.join(kernels)} ({cpp})")
    return library


@cache
def precompiled() -> Path:
    """CuPy's headers, compiled once: g++ finds them beside the name that kernels include."""
    header = HERE / "kernel" / "cupy_headers.h"
    command = ["g++", "-std=c++17", "-fPIC", *FLAGS, *_include(), "-x", "c++-header"]
    return compile_with(command, folder() / "precompiled" / f"{header.name}.gch", header)


def _include() -> list[str]:
    return [f"-I{HERE / 'kernel'}", f"-I{_cupy_headers()}"]


def _cupy_headers() -> Path:
    return site_packages() / "cupy" / "_core" / "include"
