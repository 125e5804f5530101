"""Check and measure everything on a GPU: about eight minutes, with NumPy, CuPy and array-api-compat installed.

python scripts/gpu_check.py                    and keep the result in benchmarks/results, as JSON and Markdown
python scripts/gpu_check.py --backend numpy    a rehearsal on a CPU, shortened; nothing is kept

PyTorch and JAX are timed too where they are installed. Exit status 1 if a part failed, or if the backend cannot be
used.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, which need not be installed
from backends import BackendError
from benchmarks.gpu import PARTS, GpuCheck
from benchmarks.machine import Machine
from benchmarks.report import page
from benchmarks.results import RESULTS, Absent, Part, Result, Timing
from benchmarks.rivals import RIVALS
from benchmarks.suite import run_suite
from nnbackprop._files import write_atomically
from nnbackprop.errors import NnbackpropError

SECONDS = 8 * 60.0
"""No part is begun later than this."""

PART_SECONDS = 150.0
"""A part is ended after this."""


def main() -> int:
    """Run every part and the suite, print the page, and keep the result of a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="cupy", help="numpy, cupy, torch, jax or strict (default: cupy)")
    parser.add_argument("--device", help="such as cuda:1 (default: the backend's first)")
    parser.add_argument("--data", default="mnist", help="a folder with MNIST (default: the package's own)")
    options = parser.parse_args()
    check = GpuCheck(options.backend, options.device, options.data)
    try:
        backend = check.backend
    except BackendError as error:
        print(f"The backend {options.backend} cannot be used here. {error}")
        return 1
    gpu = (backend.description or backend.device) if check.on_gpu else None
    result = run_all(check, backend.device if gpu else "cpu", gpu)
    print(f"\n{page(result)}")
    if not gpu:
        print("Nothing is kept: no part of it ran on a GPU.")
        return int(not result.passed)
    path = RESULTS / result.machine.file_name
    write_atomically(path, result.to_json().encode())
    write_atomically(path.with_suffix(".md"), page(result).encode())
    print(f"Wrote {path}")
    return int(not result.passed)


def run_all(check: GpuCheck, device: str, gpu: str | None) -> Result:
    """The parts and the suite, in the order of what matters, until the time is up."""
    until, timings, absent = time.monotonic() + SECONDS, list[Timing](), dict[str, Absent]()

    def suite(name: str, workloads: Sequence[str], tf32: bool = False) -> Part:
        if tf32 and not gpu:
            return Part(name, "skipped", reason="TF32 is a precision of NVIDIA GPUs")
        names = tuple(RIVALS) if gpu else ("numpy", "products")
        try:
            timed, missing = run_suite(workloads, device, tf32=tf32, quick=True, names=names, until=until)
        except NnbackpropError as error:
            return Part(name, "failed", reason=str(error))
        timings.extend(timed)
        absent.update({one.rival: one for one in missing})
        return Part(name, "passed")

    parts = list[Part]()
    for name in ("parity", "gradients", "captures", "times in float32", "times in TF32", "streaming", "memory"):
        left = until - time.monotonic()
        if left <= 0:
            part = Part(name, "skipped", reason=f"{SECONDS / 60:.0f} minutes were over")
        elif name in PARTS:
            part = check.run_in_process(name, min(left, PART_SECONDS))
        elif name == "times in TF32":
            part = suite(name, ("W1", "W4"), tf32=True)
        else:
            part = suite(name, ("W1", "W4", "W1n", "W2", "W3") if gpu else ("W2",))
        parts.append(part)
        print(f"{part.status:<8} {name} {part.reason}".rstrip(), flush=True)
    command = " ".join(["python", "scripts/gpu_check.py", *sys.argv[1:]])
    today = datetime.now(UTC).date().isoformat()
    return Result(command, today, Machine.here(gpu=gpu), tuple(timings), tuple(absent.values()), tuple(parts))


if __name__ == "__main__":
    sys.exit(main())
