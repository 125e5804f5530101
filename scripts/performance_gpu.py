"""What was measured on GPUs, for the documents, or that nothing was: from what scripts/gpu_check.py kept."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.gpu.page import page, steps
from benchmarks.gpu.results import Check, kept
from benchmarks.results import RESULTS

NEVER = """\
**Never measured: anything on a GPU.** Every figure here is of a CPU. What runs on CUDA alone (CuPy's arrays, steps
captured as CUDA graphs, TF32, the PyTorch and JAX backends there) has been tested on CPUs only, with stand-ins for
CUDA. Hoped for on an H200, and not once seen: W1 at most 60 µs a step in float32, ahead of PyTorch's CUDA graph
and JAX's scan; W4 with 90% of its time in the products; 98% on MNIST within a second of training; weights within
1e-12 of NumPy's after 100 steps in float64. `python scripts/gpu_check.py` checks and measures all of it.
"""

NEVER_SUMMARY = """\
**What has been measured, and what not.** NumPy, PyTorch and JAX arrays are tested and timed on CPUs. **Nothing has
run on a GPU yet**: the CuPy backend, its captured CUDA graphs, and PyTorch and JAX on CUDA have been tested on
CPUs only, with stand-ins for CUDA. `python scripts/gpu_check.py` checks and measures all of it on a machine with a
GPU in eight minutes at most; its result will stand here and in [docs/performance.md](docs/performance.md).
"""


def blocks() -> dict[str, str]:
    """The documents' blocks about GPUs."""
    assert RESULTS, "benchmarks/results is in a checkout"
    checks = kept(RESULTS)
    if not checks:
        return {"gpu": NEVER, "gpu-summary": NEVER_SUMMARY}
    return {"gpu": everything(checks), "gpu-summary": summary(checks[0])}


def everything(checks: Sequence[Check]) -> str:
    """All GPUs. What failed or was left out is said before any figure."""
    parts = [f"Measured on {', '.join(gpus(checks))}. On no other GPU has anything been measured."]
    for check in checks:
        parts += [f"### {check.gpu}", page(check).rstrip()]
    return "\n\n".join(parts) + "\n"


def gpus(checks: Sequence[Check]) -> list[str]:
    """Their names."""
    return [check.gpu for check in checks if check.gpu]


def summary(check: Check) -> str:
    """W1's step on the GPU that was checked last."""
    said = f"W1 on {check.gpu}; all that was checked there stands in [docs/performance.md](docs/performance.md)."
    return f"{steps(check)}\n\n{said} {check.made}\n"
