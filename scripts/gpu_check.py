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
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, which need not be installed
from backends import BackendError, select
from benchmarks import gpu
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

say = partial(print, flush=True)


def main() -> int:
    """Run every part and the suite, print the page, and keep what a GPU did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="cupy", help="numpy, cupy, torch, jax or strict (default: cupy)")
    parser.add_argument("--device", help="such as cuda:1 (default: the backend's first)")
    parser.add_argument("--data", default="mnist", help="a folder with MNIST (default: the package's own)")
    setting = gpu.Setting(**vars(parser.parse_args()))
    try:
        backend = select(setting.backend, setting.device)
    except BackendError as error:
        say(f"The backend {setting.backend} cannot be used here. {error}")
        return 1
    on_gpu = setting.on_gpu
    result = check(
        setting, backend.device if on_gpu else "cpu", (backend.description or backend.device) if on_gpu else None
    )
    say(f"\n{page(result)}")
    if on_gpu:
        path = RESULTS / result.machine.file_name
        write_atomically(path, result.to_json().encode())
        write_atomically(path.with_suffix(".md"), page(result).encode())
    say(f"Kept: {path}" if on_gpu else "Nothing is kept: no part of it ran on a GPU.")
    return int(not result.passed)


def check(setting: gpu.Setting, device: str, about: str | None) -> Result:
    """The parts and the suite, in the order of what matters, until the time is up."""
    until, timings, absent = time.monotonic() + SECONDS, list[Timing](), dict[str, Absent]()

    def suite(name: str, seconds: float, workloads: Sequence[str], tf32: bool = False) -> Part:
        if tf32 and device == "cpu":
            return Part(name, "skipped", 0.0, reason="TF32 is a precision of NVIDIA GPUs")
        names = ("numpy", "products") if device == "cpu" else tuple(RIVALS)
        begin = time.monotonic()
        try:
            found, gone = run_suite(workloads, device, tf32=tf32, quick=True, names=names, say=say, until=until)
        except NnbackpropError as error:
            return Part(name, "failed", time.monotonic() - begin, reason=str(error))
        timings.extend(found)
        absent.update({one.rival: one for one in gone})
        return Part(name, "passed", time.monotonic() - begin)

    part = {name: partial(gpu.run, setting=setting) for name in gpu.PARTS}
    calls: dict[str, Callable[..., Part]] = {
        **{name: part.pop(name) for name in ("parity", "gradients", "captures")},
        "times in float32": partial(suite, workloads=("W1", "W4", "W1n", "W2", "W3") if about else ("W2",)),
        "times in TF32": partial(suite, workloads=("W1", "W4"), tf32=True),
        **part,
    }
    parts = list[Part]()
    for name, call in calls.items():
        left = until - time.monotonic()
        late = Part(name, "skipped", 0.0, reason=f"{SECONDS / 60:.0f} minutes were over")
        parts.append(call(name, seconds=min(left, PART_SECONDS)) if left > 0 else late)
        say(f"{parts[-1].status:<8} {name} ({parts[-1].seconds:.1f} s) {parts[-1].reason}".rstrip())
    command = " ".join(["python", "scripts/gpu_check.py", *sys.argv[1:]])
    today = datetime.now(UTC).date().isoformat()
    machine = Machine.here(gpu=about)
    return Result(command, today, machine, tuple(timings), tuple(absent.values()), tuple(parts))


if __name__ == "__main__":
    sys.exit(main())
