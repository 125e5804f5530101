"""Which array library to use: by name, or the fastest one that really works here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from .base import Backend, BackendError, Memory
from .devices import cuda_index

_CUPY_WHEELS = '"cupy-cuda12x[ctk]", or "cupy-cuda13x[ctk]" with a driver for CUDA 13'

# name -> (the library's own name, its module, the backend's class, what pip installs)
_LIBRARIES = {
    "numpy": ("NumPy", "numpy", "NumpyBackend", '"numpy>=2.1"'),
    "cupy": ("CuPy", "cupy", "CupyBackend", _CUPY_WHEELS),
    "torch": ("PyTorch", "torch", "TorchBackend", "torch"),
    "jax": ("JAX", "jax", "JaxBackend", "jax"),
    "strict": ("array-api-strict", "array_api_strict", "StrictBackend", "array-api-strict"),
}


@dataclass(frozen=True)
class BackendStatus:
    """Whether a backend works here, with its device; or the reason why not, and the fix."""

    name: str
    usable: bool
    reason: str = ""
    fix: str = ""
    version: str | None = None
    device: str | None = None
    memory: Memory | None = None
    fused: bool = False
    description: str = ""


def select(name: str = "auto", device: str | None = None) -> Backend:
    """Return the backend called `name` on `device`: None is the library's best, else `cpu`, `cuda`, `cuda:N`.

    `auto` is CuPy where a CUDA device works, else NumPy; `device` narrows that down. `Backend.why` says
    in one line what was chosen and why. A backend asked for by name never falls back.

    Raises:
        BackendError: the backend cannot be used; it holds the reason and the fix.
    """
    if name != "auto":
        return _create(name, device)
    if device is not None and cuda_index(name, device) is None:
        backend, why = _create("numpy", device), "auto chose NumPy: the device cpu was asked for."
    else:
        try:
            backend = _create("cupy", device)
            why = f"auto chose CuPy: {backend.device} works."
        except BackendError as error:
            if device is not None:
                raise
            backend, why = _create("numpy", device), f"auto chose NumPy: {error.reason}"
    backend.why = why
    return backend


def available(names: tuple[str, ...] = ("numpy", "cupy", "torch", "jax")) -> list[BackendStatus]:
    """Try each backend; any error that its library raises becomes the reason why it is not usable."""
    statuses = []
    for name in names:
        try:
            b = _create(name, None)
            status = BackendStatus(name, True, "", "", b.version, b.device, b.memory(), b.fused, b.description)
        except BackendError as error:
            status = BackendStatus(name, False, error.reason, error.fix)
        statuses.append(status)
    return statuses


def _create(name: str, device: str | None) -> Backend:
    if name not in _LIBRARIES:
        raise BackendError(f"There is no backend {name!r}.", f"Use one of auto, {', '.join(_LIBRARIES)}.")
    title, module, class_name, packages = _LIBRARIES[name]
    if find_spec(module) is None:
        raise BackendError(f"{title} is not installed.", f"Install it: pip install {packages}")
    try:
        return getattr(import_module(f".{name}_backend", __package__), class_name)(device)
    except BackendError:
        raise
    except Exception as error:  # a library can break in any way while it loads or looks for its device
        lines = [line.strip() for line in str(error).splitlines() if line.strip(" =-")]  # CuPy frames its text
        raise BackendError(
            f"{title} is installed but does not work: {': '.join([type(error).__name__, *lines[:1]])}",
            f"Install it anew: pip install --force-reinstall {packages}",
        ) from error
