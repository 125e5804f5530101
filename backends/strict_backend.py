"""array-api-strict: refuses whatever the Array API standard does not promise. For tests, not for speed."""

from __future__ import annotations

import array_api_strict
import numpy as np

from .base import Backend, BackendError
from .namespace import Namespace
from .tree import Array

_DEVICE = "device1"  # not its default device: an array created without `device=` is caught when it meets another


class StrictBackend(Backend):
    """array-api-strict arrays on its pretended second device; none but its own arrays may enter."""

    name = "strict"

    def __init__(self, device: str | None = None) -> None:
        if device not in (None, _DEVICE):
            raise BackendError(
                f"The backend strict knows no device {device!r}.", f"Use device='{_DEVICE}', its only one."
            )
        self.device = _DEVICE
        self.version = array_api_strict.__version__
        self.xp = Namespace(array_api_strict)
        self._device = array_api_strict.Device(_DEVICE)

    def asarray(self, array: np.ndarray, copy: bool = True) -> Array:
        return array_api_strict.asarray(np.array(array, order="C"), device=self._device)

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array back through the library's host device, the only one it converts from."""
        return np.array(array.to_device(array_api_strict.Device("CPU_DEVICE")), order="C")
