"""--deterministic has one order of additions on every library; env.json names the threads and the BLAS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends import BackendError, select
from nnbackprop import _system_info
from nnbackprop._system_info import Blas, cores
from nnbackprop.errors import UsageError
from nnbackprop.runs.config_checks import check_config
from nnbackprop.runs.config_files import resolve
from nnbackprop.runs.run_dir import environment
from nnbackprop.runs.train import open_backend

ROOT = Path(__file__).parents[2]

DIGEST = """
import hashlib, os, sys
threads, deterministic, library = sys.argv[1:]
names = "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"
os.environ.update(dict.fromkeys(names, threads))
import numpy as np
from nnbackprop.runs.config import Config
from nnbackprop.runs.train import open_backend
backend = open_backend(Config(backend=library, device="cpu", deterministic=deterministic == "yes"))
draw = np.random.default_rng(0).normal
x, dz = (backend.asarray(draw(size=(5000, n)).astype(np.float32)) for n in (400, 26))
sums = backend.xp.matmul(backend.xp.matrix_transpose(x), dz), backend.xp.sum(x)
print(*(hashlib.sha256(backend.to_numpy(a).tobytes()).hexdigest() for a in sums))
"""
"""A full batch's gradient, a sum over 5,000 samples, and one of 2 million numbers: two threads may halve them."""


def digests(library: str, *ways: tuple[str, str]) -> list[str]:
    """What DIGEST prints with each number of threads in the environment, and asked for one order or not."""
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "0"}  # XLA compiles for a number of threads
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "cwd": ROOT, "env": environment}
    started = [subprocess.Popen([sys.executable, "-c", DIGEST, *way, library], **pipes) for way in ways]
    return [process.communicate()[0] for process in started]


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_a_long_sum_has_the_same_bits_whatever_the_threads(library: str) -> None:
    if library != "numpy":
        pytest.importorskip(library, reason=f"{library} is not installed")
    alone, asked = digests(library, ("1", "no"), ("2", "yes"))
    assert len(alone.split()) == 2
    assert asked == alone


def test_two_threads_and_one_are_refused_together() -> None:
    with pytest.raises(UsageError, match=r"--deterministic is one thread.*--threads 2"):
        check_config(resolve("mnist", {"deterministic": True, "threads": 2}))
    check_config(resolve("mnist", {"deterministic": True, "threads": 1}))


def test_pytorch_uses_its_deterministic_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        select("torch", "cpu").use_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)


def test_jax_on_a_gpu_asks_for_a_flag_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jax", reason="jax is not installed")
    backend = select("jax", "cpu")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    backend.use_deterministic()
    monkeypatch.setattr(backend, "device", "cuda:0")
    with pytest.raises(BackendError, match="Start with XLA_FLAGS=--xla_gpu_deterministic_ops=true"):
        backend.use_deterministic()
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x --xla_gpu_deterministic_ops=true")
    backend.use_deterministic()


def test_env_json_names_threads_and_blas() -> None:
    found = environment(open_backend(resolve("mnist", {"backend": "numpy"})))
    assert (found["backend"], found["cores"]) == ("numpy", cores())
    assert found["threads"] >= 1
    if found["blas"] is not None:
        assert sorted(found["blas"]) == ["kernel", "library", "threads", "version"]


def test_of_two_blas_libraries_that_of_numpy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def pool(place: str, kernel: str) -> dict[str, object]:
        shared = {"internal_api": "openblas", "version": "0.3", "num_threads": 4}
        return {"user_api": "blas", "filepath": f"/lib/{place}/libopenblas.so", "architecture": kernel, **shared}

    openmp = {"user_api": "openmp", "filepath": "/lib/libgomp.so", "num_threads": 8}
    pools = [openmp, pool("scipy.libs", "Zen"), pool("numpy.libs", "Haswell")]
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: pools)
    assert Blas.loaded() == Blas("openblas", "0.3", "Haswell", 4)
    assert _system_info.get_num_threads() == 8
    monkeypatch.setattr("threadpoolctl.threadpool_info", list)
    assert Blas.loaded() is None
    assert _system_info.get_num_threads() == cores()
