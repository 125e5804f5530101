"""Builds the stand-ins for CUDA's libraries by g++, once for each state of their sources."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("CUDA_EMULATOR_CACHE", HERE.parents[2] / "build" / "cuda_emulator"))
"""Where all that is compiled is kept between processes; it may be deleted at any time."""

GXX = ["g++", "-std=c++17", "-shared", "-fPIC"]


class BuildError(RuntimeError):
    """A compiler refused a source; the message is what it said."""


@cache
def site_packages() -> Path:
    """Where the packages `cupy` and `nvidia` lie; CuPy is not imported."""
    spec = find_spec("cupy")
    if spec is None or spec.origin is None:
        raise BuildError(
            "CuPy is not installed here. `make test-cuda` installs it into an environment of its own."
        )
    return Path(spec.origin).parents[1]


def headers() -> Path:
    """CUDA's headers, of the packages nvidia-cuda-runtime and nvidia-cuda-crt."""
    (found,) = sorted(site_packages().glob("nvidia/*/include/driver_types.h"))
    return found.parent


def digest(files: Iterable[Path], *words: str) -> str:
    """A name for what is made of these files and words."""
    state = hashlib.sha256("\0".join(words).encode())
    for file in sorted(files):
        state.update(file.read_bytes())
    return state.hexdigest()[:20]


def compile_with(command: list[str], target: Path, *inputs: Path, log: str = "") -> Path:
    """`target` by the command, unless it is there; processes may do this at the same time."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}")
        done = subprocess.run([*command, *map(str, inputs), "-o", str(part)], capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"{log or inputs[0]}: {done.stderr[:4000]}")
        part.replace(target)
    return target


def libraries() -> tuple[Path, Path, Path]:
    """libcuda.so.1, which has the stand-ins for the runtime too, libcublasLt.so.13 and libcublas.so.13."""
    source = HERE / "device"
    state = digest(source.rglob("*.*"), version("cupy-cuda13x"), sys.implementation.cache_tag or "")
    cuda, lt, cublas = (CACHE / state / name for name in ("libcuda.so.1", "libcublasLt.so.13", "libcublas.so.13"))
    if not cublas.exists():
        _link(cuda, "{ global: cu*; emulat*; local: *; };", sorted(source.glob("*.cpp")))
        _link(lt, "{ global: cublas*; local: *; };", [source / "cublas" / "cublaslt.cpp"])
        refusals = write(cublas.with_name(f"refusals.{os.getpid()}.cpp"), _refusals())
        versioned = f"{cublas.name} {{ global: cublas*; local: *; }};"  # CuPy asks for symbols of this version
        _link(cublas, versioned, [source / "cublas" / "cublas.cpp", refusals, cuda])
    return cuda, lt, cublas


def _link(library: Path, exported: str, sources: list[Path]) -> None:
    """Build a library under the name that programs look for, with the symbols that they find there."""
    script = write(library.with_suffix(f".{os.getpid()}.map"), exported)
    options = ["-O3", f"-I{headers()}", f"-Wl,-soname,{library.name}", f"-Wl,--version-script={script}"]
    compile_with([*GXX, *options], library, *sources)


def write(path: Path, text: str) -> Path:
    """A file with this text, whole whenever another process sees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    return part.replace(path)


def _refusals() -> str:
    """Functions that CuPy asks of cuBLAS and that have no stand-in: each answers that it is not supported."""
    (module,) = (site_packages() / "cupy_backends/cuda/libs").glob("cublas.*.so")
    listed = subprocess.run(["nm", "-D", "--undefined-only", module], capture_output=True, text=True, check=True)
    wanted = {word for word in listed.stdout.split() if word.startswith("cublas")}
    own = (HERE / "device" / "cublas" / "cublas.cpp").read_text(encoding="utf-8")
    missing = sorted(name for name in (word.split("@")[0] for word in wanted) if f" {name}(" not in own)
    declaration = 'extern "C" int emulator_refuse_cublas(const char*);'
    refusal = 'extern "C" int {0}() {{ return emulator_refuse_cublas("{0}"); }}'
    return "\n".join([declaration, *map(refusal.format, missing)])
