"""Which array library to use: by name, or the fastest one that really works here."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from .base import Backend, BackendError, Memory
from .devices import parse_device

_CUPY_WHEELS = '"cupy-cuda12x[ctk]", or "cupy-cuda13x[ctk]" with a driver for CUDA 13'

_MLX_PACKAGE = "mlx" if sys.platform == "darwin" else '"mlx[cpu]"'

# name -> (the library's own name, its module, the backend's class, what pip installs)
_LIBRARIES = {
    "numpy": ("NumPy", "numpy", "NumpyBackend", '"numpy>=2.1"'),
    "cupy": ("CuPy", "cupy", "CupyBackend", _CUPY_WHEELS),
    "torch": ("PyTorch", "torch", "TorchBackend", "torch"),
    "jax": ("JAX", "jax", "JaxBackend", "jax"),
    "mlx": ("MLX", "mlx", "MlxBackend", _MLX_PACKAGE),
    "strict": ("array-api-strict", "array_api_strict", "StrictBackend", "array-api-strict"),
}

# devices that a single library knows -> the backend that `auto` takes there
_OF_DEVICE = {"cpu": "numpy", "mps": "torch", "xpu": "torch", "gpu": "mlx"}


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

    PyTorch knows `mps` and `xpu` too, MLX `gpu`. `auto` is CuPy where a CUDA device works, else NumPy; `device`
    narrows that down. `Backend.selection_reason` says in one line what was chosen and why. A backend asked for by
    name never falls back.

    Raises:
        BackendError: the backend cannot be used; it holds the reason and the fix.
    """
    if name != "auto":
        return _create(name, device)
    kind = "cuda" if device is None else parse_device(name, device, ("cpu", "cuda", "mps", "xpu", "gpu"))[0]
    if kind != "cuda":
        backend = _create(_OF_DEVICE[kind], device)
        reason = f"auto chose {_LIBRARIES[backend.name][0]}: the device {device} was asked for."
    else:
        try:
            backend = _create("cupy", device)
            reason = f"auto chose CuPy: {backend.device} works."
        except BackendError as error:
            if device is not None:
                raise
            backend, reason = _create("numpy", device), f"auto chose NumPy: {error.reason}{_mac_gpu()}"
    backend.selection_reason = reason
    return backend


def with_float64(backend: Backend) -> Backend:
    """The backend itself; where its device has no float64 its library on the CPU, with a `selection_reason`."""
    if backend.has_float64:
        return backend
    on_cpu = _create(backend.name, "cpu")
    on_cpu.selection_reason = (
        f"{backend.name} computes on the CPU: float64 is needed, and {backend.device} has none."
    )
    return on_cpu


def available(names: tuple[str, ...] = ("numpy", "cupy", "torch", "jax", "mlx")) -> list[BackendStatus]:
    """Try each backend; any error that its library raises becomes the reason why it is not usable."""
    statuses = []
    for name in names:
        try:
            b = _create(name, None)
            status = BackendStatus(
                name, True, "", "", b.version, b.device, b.memory(), b.fuses_elementwise, b.description
            )
        except BackendError as error:
            status = BackendStatus(name, False, error.reason, error.fix)
        statuses.append(status)
    return statuses


def _mac_gpu() -> str:
    """How an Apple chip's GPU can be used, with what is installed; "" on other machines."""
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return ""
    ways = {"mlx": "backend='mlx'", "torch": "backend='torch' and device='mps'"}
    there = [words for module, words in ways.items() if find_spec(module)]
    ways_there = " or ".join(there) or "MLX: pip install mlx, then backend='mlx'"
    return f" For its GPU use {ways_there}."


def _create(name: str, device: str | None) -> Backend:
    if name not in _LIBRARIES:
        raise BackendError(f"There is no backend {name!r}.", f"Use one of auto, {', '.join(_LIBRARIES)}.")
    title, module, class_name, packages = _LIBRARIES[name]
    if name == "cupy" and sys.platform == "darwin":
        raise BackendError("CuPy needs an NVIDIA GPU, and a Mac has none.", "Use backend='mlx' for a Mac's GPU.")
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
