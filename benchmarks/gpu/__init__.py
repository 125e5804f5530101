"""Everything this project claims of a GPU, checked and measured there by one command: scripts/gpu_check.py.

A machine with a GPU is often cut off from package registries, so what is here needs NumPy, CuPy and
array-api-compat alone, and runs whatever else it finds installed.
"""
