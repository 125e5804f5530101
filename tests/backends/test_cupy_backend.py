"""The CuPy backend on an emulated CUDA device: which CUDA calls it makes, and their numbers. No GPU is used.

On a GPU, `scripts/gpu_check.py` checks what this cannot.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
from typing import Any

import numpy as np
import pytest

import nnbackprop as nb
from backends import BackendError, NumpyBackend, leaves, select
from tests.support.small_runs import fit_captured

NOT_SUPPORTED = 15
"""A status of cuBLAS's."""


def products(device: Any) -> int:
    return device.counts()["cublasGemmEx"]


def close(actual: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual.get(), expected, rtol=1e-6)


def matrix(rows: int, columns: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(rows + columns).standard_normal((rows, columns)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul_goes_to_cublas_for_any_layout(gpu: Any, emulated_device: Any, dtype: str) -> None:
    xp, before = gpu.xp, products(emulated_device)
    a, b = matrix(3, 4, dtype), matrix(5, 4, dtype)
    inside = [gpu.asarray(x) for x in (a, b)]
    c = xp.matmul(inside[0], xp.matrix_transpose(inside[1]))
    assert (c.dtype, c.shape, products(emulated_device)) == (a.dtype, (3, 5), before + 1)
    close(c, np.einsum("ij,kj->ik", a, b))
    v = gpu.asarray(matrix(1, 4, dtype)[0])
    close(xp.matmul(inside[0], v), np.einsum("ij,j->i", a, v.get()))
    close(xp.matmul(v, xp.matrix_transpose(inside[1])), np.einsum("ij,j->i", b, v.get()))
    close(xp.matmul(v, v), np.einsum("i,i->", v.get(), v.get()))


def test_stacks_and_integers_are_multiplied_by_cupy(gpu: Any) -> None:
    before = gpu._matmul.calls
    stack, whole = gpu.asarray(np.ones((2, 3, 4))), gpu.asarray(np.ones((4, 4), np.int32))
    assert gpu.xp.matmul(stack, gpu.asarray(np.ones((4, 1)))).shape == (2, 3, 1)
    assert gpu.xp.matmul(whole, whole).dtype == np.int32
    with pytest.raises(ValueError, match="mismatch"):
        gpu.xp.matmul(gpu.asarray(np.ones((2, 3))), gpu.asarray(np.ones((2, 3))))
    assert gpu._matmul.calls == before


def test_workspace_is_set_after_each_change_of_stream(gpu: Any, emulated_device: Any) -> None:
    """cuBLAS's manual: cublasSetStream unconditionally resets the workspace."""
    import cupy

    a = gpu.asarray(np.ones((2, 2)))
    emulated_device.forget()
    with cupy.cuda.Stream(non_blocking=True):
        gpu.xp.matmul(a, a)
        gpu.xp.matmul(a, a)
    gpu.xp.matmul(a, a)
    counts = emulated_device.counts()
    assert counts["cublasGemmEx"] == 3
    assert counts["cublasSetStream"] == counts["cublasSetWorkspace"] == 2
    assert not counts["products without a workspace of the caller's"]


def test_tf32_is_used_only_after_use_tf32(gpu: Any, emulated_device: Any) -> None:
    single, double = (gpu.asarray(np.ones((2, 2), dtype)) for dtype in ("float32", "float64"))

    def computed() -> list[tuple[str, int]]:
        emulated_device.forget()
        for a in (single, double):
            gpu.xp.matmul(a, a)
        return sorted((what, often) for what, often in emulated_device.counts().items() if "cublas" in what)

    assert computed() == [("cublasGemmEx", 2)]
    gpu.use_tf32()
    assert computed() == [("cublasGemmEx", 1), ("cublasGemmEx in TF32", 1)]


def test_bfloat16_products_are_summed_in_float32(gpu: Any, emulated_device: Any) -> None:
    """A thousand ones would come to 256 if each sum were rounded; with a Python float, CuPy makes it float32."""
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    xp = gpu.xp
    ones = xp.astype(gpu.asarray(np.ones((1, 1000), np.float32)), xp.bfloat16)
    for left in (ones, ones * 1.0):
        before = products(emulated_device)
        c = xp.matmul(left, xp.matrix_transpose(ones))
        assert (c.dtype.name, float(xp.astype(c, xp.float32)[0, 0])) == ("bfloat16", 1000.0)
        assert products(emulated_device) == before + 1
    assert (ones * 1.0).dtype == np.float32


def test_fused_kernel_of_bfloat16_computes_in_float32_and_rounds_once(gpu: Any) -> None:
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    xp = gpu.xp

    def ends(xp: Any, a: Any, b: Any) -> Any:
        return (a + b) - a, a + b

    x = xp.astype(gpu.asarray(np.array([1.0, 2.0], np.float32)), xp.bfloat16)
    difference, total = xp.fuse(ends)(x, 2.0**-10)
    assert [a.dtype.name for a in (difference, total)] == ["bfloat16"] * 2
    assert xp.astype(difference, xp.float32).tolist() == [2.0**-10] * 2  # 1 + 2^-10 is 1 in bfloat16
    assert xp.astype(total, xp.float32).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("without", ["cuBLAS", "ml_dtypes"])
def test_bfloat16_that_does_not_work_is_refused_by_the_trainer(
    gpu: Any, emulated_device: Any, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    if without == "cuBLAS":
        emulated_device.answer_products(NOT_SUPPORTED)
    else:
        monkeypatch.setattr(sys.modules["backends.cuda.bfloat16"], "BFLOAT16", None)
    assert not hasattr(gpu.xp, "bfloat16")
    with pytest.raises(
        nb.UsageError, match=r"backend cupy has no bfloat16: use dtype='float32'.*where ml_dtypes is"
    ):
        nb.Trainer(
            nb.Sequential(nb.Dense(2)), nb.SoftmaxCrossEntropy(), nb.SGD(), 0.1, backend=gpu, dtype="bfloat16"
        )


def test_cublas_error_names_call_and_status(gpu: Any, emulated_device: Any) -> None:
    emulated_device.answer_products(NOT_SUPPORTED)
    a = gpu.asarray(np.ones((2, 2)))
    with pytest.raises(RuntimeError, match="cublasGemmEx with CUBLAS_STATUS_NOT_SUPPORTED"):
        gpu.xp.matmul(a, a)


def test_missing_cublas_names_the_package_to_install(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise RuntimeError("No such file: libcublas.so.13")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(BackendError, match=r'libcublas\.so\.13\)\. .*pip install "cupy-cuda13x\[ctk\]"'):
        importlib.import_module("backends.cupy_backend").CupyBackend()


@pytest.mark.parametrize("resident", ["auto", "no"])
def test_captured_run_agrees_with_numpy(gpu: Any, resident: str) -> None:
    ours, theirs = (fit_captured(b, dtype="float64", resident=resident) for b in (gpu, NumpyBackend()))
    assert [row.train.accuracy for row in ours.history] == [row.train.accuracy for row in theirs.history]
    for mine, expected in zip(leaves(ours.params), leaves(theirs.params), strict=True):
        np.testing.assert_allclose(mine.get(), expected, rtol=1e-12)
    graph = max(gpu.graphs, key=lambda graph: (graph.steps, graph.products))
    assert graph.steps == 16
    assert graph.products == 16 * 7  # two forward, four gradients of weights and biases, one of a layer's input
    assert graph.nodes > graph.products
    assert all(graph.pool_bytes for graph in gpu.graphs)


@pytest.mark.parametrize("order", ["late", "drawn"])
def test_bits_do_not_depend_on_when_the_device_works(gpu: Any, emulated_device: Any, order: str) -> None:
    """Streamed chunks, evaluations and graphs; each wait that is missing could show here."""
    expected = fit_captured(gpu, resident="no").params
    for seed in range(5):
        if order == "late":
            emulated_device.run_late()
        else:
            emulated_device.run_in_random_order(seed)
        for mine, theirs in zip(leaves(fit_captured(gpu, resident="no").params), leaves(expected), strict=True):
            np.testing.assert_array_equal(mine.get(), theirs.get())


def test_memory_of_dropped_graphs_is_given_back(gpu: Any, emulated_device: Any) -> None:
    """CuPy 14.2's pools keep their free blocks for good when they are dropped: the two hold each other."""

    def used() -> int:
        gpu.empty_cache()
        gc.collect()
        gpu.empty_cache()
        return emulated_device.used_memory(1)

    fit_captured(gpu)
    before = used()
    for _ in range(2):
        fit_captured(gpu)
    assert used() == before


def test_step_with_cupys_own_matmul_is_not_captured(gpu: Any, emulated_device: Any) -> None:
    import cupy

    def step(state: Any, data: Any, x: Any) -> Any:
        return state + gpu.xp.matmul(data, data)

    data, batches = gpu.asarray(np.ones((2, 2, 2))), gpu.asarray(np.zeros(40))
    with pytest.warns(RuntimeWarning, match="NotImplementedError: calling cuBLAS API during stream capture"):
        state = gpu.scan(step, gpu.asarray(np.zeros((2, 2, 2))), data, batches)
    np.testing.assert_array_equal(state.get(), np.full((2, 2, 2), 80.0))
    assert not cupy.cuda.get_current_stream().is_capturing()
    assert cupy.cuda.get_current_stream().ptr == 0


@pytest.mark.parametrize(
    ("waits", "message"),
    [
        (lambda a: float(a.sum()), "the current stream is capturing"),
        (lambda a: a.device.synchronize(), "cudaErrorStreamCapture"),
    ],
    ids=["a number read back", "a wait for the device"],
)
def test_step_that_waits_for_the_device_is_not_captured(gpu: Any, waits: Any, message: str) -> None:
    def step(state: Any, data: Any, x: Any) -> Any:
        waits(state)
        return state + x

    with pytest.warns(RuntimeWarning, match=message):
        state = gpu.scan(step, gpu.asarray(np.zeros(2)), (), gpu.asarray(np.ones(40)))
    np.testing.assert_array_equal(state.get(), [40.0, 40.0])


def test_new_scalar_of_a_fused_kernel_prevents_capture(gpu: Any) -> None:
    """It would be copied from the host once, and the copy's source be gone at the next replay."""
    seen: list[float] = []

    def add(xp: Any, a: Any, b: Any) -> Any:
        return a + b

    def step(state: Any, data: Any, x: Any) -> Any:
        seen.append(float(len(seen)))
        return gpu.xp.fuse(add)(state, seen[-1] + 0.123)

    with pytest.warns(RuntimeWarning, match=r"the constant full\(\(\), 16\.123\) is new"):
        gpu.scan(step, gpu.asarray(np.zeros(2)), (), gpu.asarray(np.zeros(20)))


def test_constants_are_cached(gpu: Any) -> None:
    xp = gpu.xp
    for make in (lambda: xp.arange(2, 7, dtype=xp.int32, device=0), lambda: xp.ones((1, 3), dtype=xp.float32)):
        assert make() is make()
    np.testing.assert_array_equal(xp.arange(2, 7, dtype=xp.int32).get(), np.arange(2, 7))
    assert xp.full((2,), 1.5, dtype=xp.float32).dtype == xp.ones((1, 3), dtype=xp.float32).dtype == np.float32
    assert xp.ones((1, 3), dtype=xp.float64).dtype == np.float64


def test_sign_keeps_nan_and_zero(gpu: Any) -> None:
    x = np.array([-np.inf, -2.0, -0.0, 0.0, 3.0, np.nan])
    np.testing.assert_array_equal(gpu.xp.sign(gpu.asarray(x)).get(), [-1, -1, 0, 0, 1, np.nan])


@pytest.mark.parametrize(("axis", "expected"), [(None, False), (0, [False, True]), (1, [True, False])])
def test_all_uses_no_cub_and_restores_it(gpu: Any, emulated_device: Any, axis: Any, expected: Any) -> None:
    from cupy._core import get_reduction_accelerators

    before, x = get_reduction_accelerators(), gpu.asarray(np.array([[True, True], [False, True]]))
    assert gpu.xp.all(x, axis=axis).tolist() == expected
    assert not [kernel for kernel in emulated_device.counts() if "cub_" in kernel]
    assert get_reduction_accelerators() == before != []


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 4, 11])
def test_concat_and_stack_agree_with_numpy(gpu: Any, count: int, axis: int) -> None:
    arrays = [k + matrix(2, 3) for k in range(count)]
    inside = [gpu.asarray(a) for a in arrays]
    np.testing.assert_array_equal(gpu.xp.concat(inside, axis=axis).get(), np.concatenate(arrays, axis=axis))
    np.testing.assert_array_equal(gpu.xp.stack(inside, axis=axis).get(), np.stack(arrays, axis=axis))
    np.testing.assert_array_equal(gpu.xp.stack([a[0, 0] for a in inside]).get(), [a[0, 0] for a in arrays])
    wider = gpu.xp.concat([*inside, gpu.asarray(np.ones((4, 3)))])  # of several shapes
    np.testing.assert_array_equal(wider.get(), np.concatenate([*arrays, np.ones((4, 3))]))


def test_fused_kernel_writes_over_donated_arrays_alone(gpu: Any) -> None:
    def descend(xp: Any, w: Any, dw: Any, v: Any, lr: Any) -> Any:
        v = v + dw
        return w - lr * v, v

    w, dw, v = (gpu.asarray(np.full(3, value)) for value in (1.0, 2.0, 3.0))
    new = gpu.xp.fuse(descend, donate_argnums=(0, 2))(w, dw, v, 0.5)
    assert new[0] is w
    assert new[1] is v
    assert [a.tolist() for a in (w, dw, v)] == [[-1.5] * 3, [2.0] * 3, [5.0] * 3]
    fresh = gpu.xp.fuse(descend)(w, dw, v, 0.5)
    assert [a.tolist() for a in (w, v, *fresh)] == [[-1.5] * 3, [5.0] * 3, [-5.0] * 3, [7.0] * 3]


def test_fused_kernel_without_ml_dtypes_keeps_float64(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy takes None for the dtype float64, which must not be taken for a bfloat16 that is not there."""
    monkeypatch.setattr(sys.modules["backends.cuda.bfloat16"], "BFLOAT16", None)
    w, dw = (gpu.asarray(np.full(3, value)) for value in (1.0, 2.0))
    assert gpu.xp.fuse(lambda xp, w, dw: w - dw, donate_argnums=(0,))(w, dw) is w
    assert (w.dtype, w.tolist()) == (np.float64, [-1.0] * 3)


def test_memory_is_limited_and_freed(gpu: Any, emulated_device: Any) -> None:
    import cupy

    trainer = fit_captured(gpu)
    pool = cupy.get_default_memory_pool()
    with cupy.cuda.Device(1):
        gpu.limit_memory(pool.used_bytes() + 2**20)
        with pytest.raises(MemoryError):
            cupy.zeros(2**28, dtype=cupy.uint8)
        assert gpu.graphs
        before = emulated_device.used_memory(1)
        gpu.empty_cache()
        assert gpu.graphs == ()
        assert emulated_device.used_memory(1) < before
    assert trainer.params


def test_a_device_that_is_full_raises_memory_error(gpu: Any, emulated_device: Any) -> None:
    emulated_device.set_memory(emulated_device.used_memory(1) + 2**20)
    with pytest.raises(MemoryError):
        gpu.asarray(np.zeros(2**28, np.uint8))


def test_description_names_gpu_and_versions(gpu: Any) -> None:
    assert gpu.description == (
        "emulated CUDA device, compute capability 9.0, driver up to CUDA 13.0, CuPy for CUDA 13.0, "
        "products by cuBLAS 13.1.0"
    )


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_tf32_off_nvidia_gpus_is_refused(name: str) -> None:
    if name != "numpy":
        pytest.importorskip(name, reason=f"{name} is not installed")
    gpu = select(name, "cpu")
    with pytest.raises(
        BackendError, match=f"TF32 needs an NVIDIA GPU, and the backend {name} computes on cpu.*dtype='float32'"
    ):
        gpu.use_tf32()
    gpu.empty_cache()
    assert gpu.description == ""
