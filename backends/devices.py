"""What a device word means: `cpu`, `cuda` or `cuda:N`, and the errors of those that mean nothing here."""

from __future__ import annotations

import re

from .base import BackendError

_CUDA = re.compile(r"cuda(?::(0|[1-9]\d*))?")


def cuda_index(backend: str, word: str, words: str = "cpu, cuda or cuda:N") -> int | None:
    """The CUDA device `word` asks for, None for the CPU; `cuda` alone is device 0.

    `words` is what `backend` understands, for the error.
    """
    if word == "cpu" and "cpu" in words:
        return None
    match = _CUDA.fullmatch(word)
    if match is None or "cuda" not in words:
        raise BackendError(f"The backend {backend} knows no device {word!r}.", f"Use --device {words}.")
    return int(match[1] or 0)


def check_index(backend: str, index: int, count: int) -> None:
    """Raise BackendError unless CUDA device `index` is among the `count` there are."""
    if index >= count:
        there = "only cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise BackendError(
            f"The backend {backend} has no device cuda:{index}: this machine has {there}.",
            "Use --device cuda:0, or a number that exists.",
        )
