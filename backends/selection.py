"""Which array library to use: by name, or the fastest one that really works here."""

from __future__ import annotations

from importlib import import_module

from .base import Backend, BackendError

_CLASSES = {
    "numpy": "NumpyBackend",
    "cupy": "CupyBackend",
    "torch": "TorchBackend",
    "jax": "JaxBackend",
    "strict": "StrictBackend",
}


def select(name: str = "auto", device: str | None = None) -> Backend:
    """Return the backend called `name` on `device`."""
    if name == "auto":
        name = "numpy"
    try:
        module = import_module(f".{name}_backend", __package__)
    except ImportError as error:
        raise BackendError(
            f"{name} is not installed.", f'Install it: pip install "nnbackprop[{name}]".'
        ) from error
    return getattr(module, _CLASSES[name])(device)
