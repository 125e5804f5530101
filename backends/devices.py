"""Device names: `cpu`, `cuda`, `cuda:N`, and those of single libraries, such as `mps`."""

from __future__ import annotations

import re

from .base import BackendError

_NUMBERED = ("cuda", "xpu")


def parse_device(backend: str, device: str, kinds: tuple[str, ...]) -> tuple[str, int]:
    """The kind and number of a device: ("cuda", 1) of `cuda:1`, and 0 where there is no number.

    Raises BackendError unless the kind is among `kinds`, those that `backend` works on.
    """
    match = re.fullmatch(r"([a-z]+)(?::(0|[1-9]\d*))?", device)
    if match is None or match[1] not in kinds or (match[2] and match[1] not in _NUMBERED):
        words = [word for kind in kinds for word in ([kind, f"{kind}:N"] if kind in _NUMBERED else [kind])]
        known = " or ".join(", ".join(words).rsplit(", ", 1))
        raise BackendError(f"The backend {backend} knows no device {device!r}.", f"Use device {known}.")
    return match[1], int(match[2] or 0)


def check_index(backend: str, index: int, count: int, kind: str = "cuda") -> None:
    """Raise BackendError unless device `index` of its kind is among the `count` there are."""
    if index >= count:
        there = f"only {kind}:0" if count == 1 else f"{kind}:0 to {kind}:{count - 1}"
        listed = "; nvidia-smi lists them" if kind == "cuda" else ""
        raise BackendError(
            f"The backend {backend} has no device {kind}:{index}: this machine has {there}.",
            f"Use device='{kind}', or a number that exists{listed}.",
        )
