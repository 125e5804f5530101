"""An emulated CUDA device for tests of CuPy on machines without a GPU; README.md says what it shows."""

import sys

ACTIVE = f"{__name__}.on_import" in sys.modules
"""Whether CuPy in this process is on the emulated device: in the environment of `make test-cuda`."""
