"""Why CuPy does not work here, and the command that fixes it. Imports no CuPy."""

from __future__ import annotations

from backends.base import BackendError


def cuda_version(number: int) -> str:
    """12040, as CUDA gives it, as 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def no_device(driver: int, built: int, cause: Exception) -> BackendError:
    """Why CuPy, `built` for a CUDA version, sees no device under a `driver` for one.

    Versions as CUDA gives them; 0 is no driver at all.
    """
    if driver == 0:
        return BackendError(
            "CuPy finds no NVIDIA driver.",
            "Install the driver of your GPU (nvidia-smi must list it), or use backend='numpy'.",
        )
    if driver // 1000 < built // 1000:
        return BackendError(
            f"CuPy is built for CUDA {built // 1000}, and the NVIDIA driver supports up to CUDA "
            f"{cuda_version(driver)}.",
            f"Update the driver, or take the other build: pip uninstall -y cupy-cuda{built // 1000}x && "
            f'pip install "cupy-cuda{driver // 1000}x[ctk]"',
        )
    return BackendError(
        f"The NVIDIA driver shows CuPy no CUDA device ({cause}).",
        "See what nvidia-smi lists and CUDA_VISIBLE_DEVICES holds, or use backend='numpy'.",
    )


def no_product(device: str, built: int, cause: Exception) -> BackendError:
    """Why a first product on `device` failed: most often CUDA's own libraries are missing."""
    return BackendError(
        f"CuPy sees {device} but cannot multiply two matrices there ({type(cause).__name__}: {cause}).",
        f'Install CUDA\'s libraries with it: pip install "cupy-cuda{built // 1000}x[ctk]"',
    )
