"""The CuPy backend over a fake CuPy: which CUDA calls it makes, and in what order. No GPU is used.

On a GPU, `scripts/gpu_check.py` checks what this cannot.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from typing import Any

import numpy as np
import pytest

import nnbackprop as nb
from backends import BackendError, NumpyBackend, leaves, select
from tests.support import fake_cupy
from tests.support.fake_cupy import trained


def products(blas: fake_cupy.Blas) -> list[tuple]:
    return [call for call in blas.calls if call[0] == "cublasGemmEx"]


def matrix(rows: int, columns: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(rows + columns).standard_normal((rows, columns)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul_goes_to_cublas_for_any_layout(gpu: Any, blas: Any, dtype: str) -> None:
    xp, before = gpu.xp, len(products(blas))
    a, b = matrix(3, 4, dtype), matrix(5, 4, dtype)
    inside = [gpu.asarray(x) for x in (a, b)]
    c = xp.matmul(inside[0], xp.matrix_transpose(inside[1]))
    assert (c.dtype, c.shape, len(products(blas))) == (a.dtype, (3, 5), before + 1)
    np.testing.assert_allclose(c, np.einsum("ij,kj->ik", a, b), rtol=1e-6)
    v = gpu.asarray(matrix(1, 4, dtype)[0])
    np.testing.assert_allclose(xp.matmul(inside[0], v), np.einsum("ij,j->i", a, v), rtol=1e-6)
    np.testing.assert_allclose(xp.matmul(v, xp.matrix_transpose(inside[1])), np.einsum("ij,j->i", b, v), rtol=1e-6)
    np.testing.assert_allclose(xp.matmul(v, v), np.einsum("i,i->", v, v), rtol=1e-6)


def test_stacks_and_integers_are_multiplied_by_cupy(gpu: Any, blas: Any) -> None:
    before = len(products(blas))
    stack, whole = gpu.asarray(np.ones((2, 3, 4))), gpu.asarray(np.ones((4, 4), np.int32))
    assert gpu.xp.matmul(stack, gpu.asarray(np.ones((4, 1)))).shape == (2, 3, 1)
    assert gpu.xp.matmul(whole, whole).dtype == np.int32
    with pytest.raises(ValueError, match="mismatch"):
        gpu.xp.matmul(gpu.asarray(np.ones((2, 3))), gpu.asarray(np.ones((2, 3))))
    assert len(products(blas)) == before


def test_workspace_is_set_after_each_change_of_stream(gpu: Any, blas: Any, cupy: Any) -> None:
    """cuBLAS's manual: cublasSetStream unconditionally resets the workspace."""
    a = gpu.asarray(np.ones((2, 2)))
    blas.calls.clear()
    with cupy.cuda.Stream(non_blocking=True, ptr=99):
        gpu.xp.matmul(a, a)
        gpu.xp.matmul(a, a)
    gpu.xp.matmul(a, a)
    stream, workspace, gemm = "cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx"
    assert [call[0] for call in blas.calls] == [stream, workspace, gemm, gemm, stream, workspace, gemm]
    assert [call[2] for call in blas.calls if call[0] == stream] == [99, 0]


def test_tf32_is_used_only_after_use_tf32(gpu: Any, blas: Any) -> None:
    single, double = (gpu.asarray(np.ones((2, 2), dtype)) for dtype in ("float32", "float64"))

    def computed(a: Any) -> int:
        gpu.xp.matmul(a, a)
        return products(blas)[-1][-2]

    assert (computed(single), computed(double)) == (68, 70)  # CUBLAS_COMPUTE_32F, _64F
    gpu.use_tf32()
    assert (computed(single), computed(double)) == (77, 70)  # CUBLAS_COMPUTE_32F_FAST_TF32


def test_bfloat16_products_are_summed_in_float32(gpu: Any, blas: Any) -> None:
    """A thousand ones would come to 256 if each sum were rounded; with a Python float, CuPy makes it float32."""
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    xp = gpu.xp
    ones = xp.astype(gpu.asarray(np.ones((1, 1000), np.float32)), xp.bfloat16)
    for left in (ones, ones * 1.0):
        c = xp.matmul(left, xp.matrix_transpose(ones))
        assert (c.dtype.name, float(c[0, 0])) == ("bfloat16", 1000.0)
        call = products(blas)[-1]
        assert [call[i] for i in (9, 12, 16, 18)] == [14, 14, 14, 68]  # CUDA_R_16BF, CUBLAS_COMPUTE_32F
    assert (ones * 1.0).dtype == np.float32


def test_fused_kernel_of_bfloat16_computes_in_float32_and_rounds_once(gpu: Any) -> None:
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    xp = gpu.xp

    def ends(xp: Any, a: Any, b: Any) -> Any:
        return (a + b) - a, a + b

    x = xp.astype(gpu.asarray(np.array([1.0, 2.0], np.float32)), xp.bfloat16)
    difference, total = xp.fuse(ends)(x, 2.0**-10)
    assert [a.dtype.name for a in (difference, total)] == ["bfloat16"] * 2
    assert difference.tolist() == [2.0**-10] * 2  # 1 + 2^-10 is 1 in bfloat16
    assert total.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("without", ["cuBLAS", "ml_dtypes"])
def test_bfloat16_that_does_not_work_is_refused_by_the_trainer(
    gpu: Any, blas: Any, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    if without == "cuBLAS":
        blas.status = 15
    else:
        monkeypatch.setattr(sys.modules["backends.cuda.bfloat16"], "BFLOAT16", None)
    assert not hasattr(gpu.xp, "bfloat16")
    with pytest.raises(
        nb.UsageError, match=r"backend cupy has no bfloat16: use --dtype float32.*where ml_dtypes is"
    ):
        nb.Trainer(
            nb.Sequential(nb.Dense(2)), nb.SoftmaxCrossEntropy(), nb.SGD(), 0.1, backend=gpu, dtype="bfloat16"
        )


def test_cublas_error_names_call_and_status(gpu: Any, blas: Any) -> None:
    blas.status = 15
    a = gpu.asarray(np.ones((2, 2)))
    with pytest.raises(RuntimeError, match="cublasGemmEx with CUBLAS_STATUS_NOT_SUPPORTED"):
        gpu.xp.matmul(a, a)


def test_missing_cublas_names_the_package_to_install(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise RuntimeError("No such file: libcublas.so.13")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(BackendError, match=r'libcublas\.so\.13\)\. .*pip install "cupy-cuda13x\[ctk\]"'):
        importlib.import_module("backends.cupy_backend").CupyBackend()


@pytest.mark.parametrize("resident", ["auto", "no"])
def test_captured_run_agrees_with_numpy_and_empties_its_pools(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, resident: str
) -> None:
    monkeypatch.setattr(sys.modules["backends.cuda.cupy_graph_recorder"], "_nodes", lambda address: 321)
    with np.errstate(all="ignore"):
        ours, theirs = (trained(b, dtype="float64", resident=resident) for b in (gpu, NumpyBackend()))
    assert [row.train.accuracy for row in ours.history] == [row.train.accuracy for row in theirs.history]
    for mine, expected in zip(leaves(ours.params), leaves(theirs.params), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-12)
    graph = max(gpu.graphs, key=lambda graph: (graph.steps, graph.products))
    assert (graph.steps, graph.nodes, graph.pool_bytes) == (16, 321, fake_cupy.BLOCK)
    assert graph.products == 16 * 7  # two forward, four gradients of weights and biases, one of a layer's input
    # CuPy 14.2's pools keep their free blocks for good when they are dropped: the two hold each other
    assert [pool.freed for pool in fake_cupy.Pool.drawn] == [1] * len(ours.backend.graphs)
    assert all(graph.pool_bytes for graph in ours.backend.graphs)


def test_step_with_cupys_own_matmul_is_not_captured(gpu: Any, cupy: Any) -> None:
    def step(state: Any, data: Any, x: Any) -> Any:
        return state + gpu.xp.matmul(data, data)

    data, xs = gpu.asarray(np.ones((2, 2, 2))), gpu.asarray(np.zeros(40))
    with pytest.warns(RuntimeWarning, match="NotImplementedError: calling cuBLAS API during stream capture"):
        state = gpu.scan(step, gpu.asarray(np.zeros((2, 2, 2))), data, xs)
    np.testing.assert_array_equal(state, np.full((2, 2, 2), 80.0))
    assert [pool.freed for pool in fake_cupy.Pool.drawn] == [1]
    assert not cupy.cuda.get_current_stream().is_capturing()
    assert cupy.cuda.get_current_stream().ptr == 0


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
    np.testing.assert_array_equal(xp.arange(2, 7, dtype=xp.int32), np.arange(2, 7))
    assert xp.full((2,), 1.5, dtype=xp.float32).dtype == xp.ones((1, 3), dtype=xp.float32).dtype == np.float32
    assert xp.ones((1, 3), dtype=xp.float64).dtype == np.float64


def test_sign_keeps_nan_and_zero(gpu: Any) -> None:
    x = np.array([-np.inf, -2.0, -0.0, 0.0, 3.0, np.nan])
    np.testing.assert_array_equal(gpu.xp.sign(gpu.asarray(x)), [-1, -1, 0, 0, 1, np.nan])


def test_all_uses_no_cub_and_restores_it(gpu: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used = cupy._core.get_reduction_accelerators
    seen, real = [], cupy.all
    monkeypatch.setattr(cupy, "all", lambda x: (seen.append(used()), real(x))[1])
    assert [bool(gpu.xp.all(gpu.asarray(np.array([True, last])))) for last in (True, False)] == [True, False]
    assert (seen, used()) == ([[], []], ["cub"])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 4, 11])
def test_concat_and_stack_agree_with_numpy(gpu: Any, count: int, axis: int) -> None:
    arrays = [k + matrix(2, 3) for k in range(count)]
    inside = [gpu.asarray(a) for a in arrays]
    np.testing.assert_array_equal(gpu.xp.concat(inside, axis=axis), np.concatenate(arrays, axis=axis))
    np.testing.assert_array_equal(gpu.xp.stack(inside, axis=axis), np.stack(arrays, axis=axis))
    np.testing.assert_array_equal(gpu.xp.stack([a[0, 0] for a in inside]), [a[0, 0] for a in arrays])
    wider = gpu.xp.concat([*inside, gpu.asarray(np.ones((4, 3)))])  # of several shapes
    np.testing.assert_array_equal(wider, np.concatenate([*arrays, np.ones((4, 3))]))


def test_fused_kernel_writes_over_donated_arrays_alone(gpu: Any) -> None:
    def descend(xp: Any, w: Any, dw: Any, v: Any, lr: Any) -> Any:
        v = v + dw
        return w - lr * v, v

    w, dw, v = (gpu.asarray(np.full(3, value)) for value in (1.0, 2.0, 3.0))
    new = gpu.xp.fuse(descend, (0, 2))(w, dw, v, 0.5)
    assert new[0] is w
    assert new[1] is v
    assert [a.tolist() for a in (w, dw, v)] == [[-1.5] * 3, [2.0] * 3, [5.0] * 3]
    fresh = gpu.xp.fuse(descend)(w, dw, v, 0.5)
    assert [a.tolist() for a in (w, v, *fresh)] == [[-1.5] * 3, [5.0] * 3, [-5.0] * 3, [7.0] * 3]


def test_fused_kernel_without_ml_dtypes_keeps_float64(monkeypatch: pytest.MonkeyPatch, blas: Any) -> None:
    """NumPy takes None for the dtype float64, which must not be taken for a bfloat16 that is not there."""
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with fake_cupy.installed(monkeypatch, blas):
        gpu = fake_cupy.backend()
        assert not hasattr(gpu.xp, "bfloat16")
        w, dw = (gpu.asarray(np.full(3, value)) for value in (1.0, 2.0))
        assert gpu.xp.fuse(lambda xp, w, dw: w - dw, (0,))(w, dw) is w
        assert (w.dtype, w.tolist()) == (np.float64, [-1.0] * 3)


def test_memory_is_limited_and_freed(gpu: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = cupy.get_default_memory_pool()
    gpu.limit_memory(10**9)
    trained(gpu)
    assert list(gpu._captured.graphs())
    gpu.empty_cache()
    assert (pool.limit, pool.freed, gpu.graphs) == (10**9, 1, ())
    assert cupy.get_default_pinned_memory_pool().freed == 1


def test_description_names_gpu_and_versions(gpu: Any) -> None:
    assert gpu.description == (
        "NVIDIA H200, compute capability 9.0, driver up to CUDA 13.0, CuPy for CUDA 13.2, "
        "products by cuBLAS 13.1.0"
    )


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_tf32_off_nvidia_gpus_is_refused(name: str) -> None:
    if name != "numpy":
        pytest.importorskip(name, reason=f"{name} is not installed")
    gpu = select(name, "cpu")
    with pytest.raises(
        BackendError, match=f"TF32 needs an NVIDIA GPU, and the backend {name} computes on cpu.*--dtype float32"
    ):
        gpu.use_tf32()
    gpu.empty_cache()
    assert gpu.description == ""
