"""An emulated CUDA device for tests of CuPy on machines without a GPU; README.md says what it shows."""

import sys


def active() -> bool:
    """Whether CuPy in this process is on the emulated device: in the environment of `make test-cuda`."""
    return f"{__name__}.on_import" in sys.modules
