"""Device names: `cpu`, `cuda` and `cuda:N`."""

from __future__ import annotations

import re

from .base import BackendError


def cuda_index(backend: str, device: str, cpu: bool = True) -> int | None:
    """The number of the CUDA device called `device`, 0 for `cuda` alone; None for the CPU.

    `cpu` says whether the backend works on the CPU. Raises BackendError for every other name.
    """
    if device == "cpu" and cpu:
        return None
    match = re.fullmatch(r"cuda(?::(0|[1-9]\d*))?", device)
    if match is None:
        known = "cpu, cuda or cuda:N" if cpu else "cuda or cuda:N"
        raise BackendError(f"The backend {backend} knows no device {device!r}.", f"Use --device {known}.")
    return int(match[1] or 0)


def check_index(backend: str, index: int, count: int) -> None:
    """Raise BackendError unless CUDA device `index` is among the `count` there are."""
    if index >= count:
        there = "only cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise BackendError(
            f"The backend {backend} has no device cuda:{index}: this machine has {there}.",
            "Use --device cuda, or a number that exists; nvidia-smi lists them.",
        )
