"""The CuPy backend from end to end over a fake of CuPy's names: what is asked of CUDA, and in what order.

None of this has seen a GPU. What CUDA makes of it is for `scripts/gpu_check.py`, on one.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import nnbackprop as nb
from backends import BackendError, NumpyBackend, Status, leaves, select
from nnbackprop.data.dataset import Dataset
from nnbackprop.report.tables import backends_table
from tests.support import fake_cupy


@pytest.fixture
def blas() -> fake_cupy.Blas:
    return fake_cupy.Blas()


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch, blas: fake_cupy.Blas) -> Iterator[SimpleNamespace]:
    with fake_cupy.installed(monkeypatch, blas) as cupy:
        yield cupy


@pytest.fixture
def gpu(cupy: Any) -> Any:
    return fake_cupy.backend()


def products(blas: fake_cupy.Blas) -> list[tuple]:
    return [asked for asked in blas.asked if asked[0] == "cublasGemmEx"]


def matrix(rows: int, columns: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(rows + columns).standard_normal((rows, columns)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_go_to_cublas_however_their_operands_lie(gpu: Any, blas: Any, dtype: str) -> None:
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


def test_what_cublas_is_not_asked_is_cupys_to_multiply_or_refuse(gpu: Any, blas: Any) -> None:
    before = len(products(blas))
    stack, whole = gpu.asarray(np.ones((2, 3, 4))), gpu.asarray(np.ones((4, 4), np.int32))
    assert gpu.xp.matmul(stack, gpu.asarray(np.ones((4, 1)))).shape == (2, 3, 1)
    assert gpu.xp.matmul(whole, whole).dtype == np.int32
    with pytest.raises(ValueError, match="mismatch"):
        gpu.xp.matmul(gpu.asarray(np.ones((2, 3))), gpu.asarray(np.ones((2, 3))))
    assert len(products(blas)) == before


def test_the_workspace_is_set_anew_after_each_change_of_stream(gpu: Any, blas: Any, cupy: Any) -> None:
    """cuBLAS's manual: cublasSetStream unconditionally resets the workspace."""
    a = gpu.asarray(np.ones((2, 2)))
    blas.asked.clear()
    with cupy.cuda.Stream(non_blocking=True, ptr=99):
        gpu.xp.matmul(a, a)
        gpu.xp.matmul(a, a)
    gpu.xp.matmul(a, a)
    stream, workspace, gemm = "cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasGemmEx"
    assert [asked[0] for asked in blas.asked] == [stream, workspace, gemm, gemm, stream, workspace, gemm]
    assert [asked[2] for asked in blas.asked if asked[0] == stream] == [99, 0]


def test_float32_is_computed_in_float32_until_tf32_is_asked_for(gpu: Any, blas: Any) -> None:
    single, double = (gpu.asarray(np.ones((2, 2), dtype)) for dtype in ("float32", "float64"))

    def computed(a: Any) -> int:
        gpu.xp.matmul(a, a)
        return products(blas)[-1][-2]

    assert (computed(single), computed(double)) == (68, 70)  # CUBLAS_COMPUTE_32F, _64F
    gpu.use_tf32()
    assert (computed(single), computed(double)) == (77, 70)  # CUBLAS_COMPUTE_32F_FAST_TF32


def test_bfloat16_is_multiplied_by_cublas_with_sums_in_float32(gpu: Any, blas: Any) -> None:
    """A thousand ones would come to 256 if each sum were rounded; with a Python float, CuPy makes it float32."""
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    xp = gpu.xp
    ones = xp.astype(gpu.asarray(np.ones((1, 1000), np.float32)), xp.bfloat16)
    for left in (ones, ones * 1.0):
        c = xp.matmul(left, xp.matrix_transpose(ones))
        assert (c.dtype.name, float(c[0, 0])) == ("bfloat16", 1000.0)
        asked = products(blas)[-1]
        assert [asked[i] for i in (9, 12, 16, 18)] == [14, 14, 14, 68]  # CUDA_R_16BF, CUBLAS_COMPUTE_32F
    assert (ones * 1.0).dtype == np.float32


def test_a_rule_of_bfloat16_is_computed_in_float32_and_rounded_once(gpu: Any) -> None:
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
def test_bfloat16_is_refused_before_a_run_where_it_does_not_work(
    gpu: Any, blas: Any, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    if without == "cuBLAS":
        blas.status = 15
    else:
        monkeypatch.setattr(sys.modules["backends.cuda.cupy_bfloat16"], "BFLOAT16", None)
    assert not hasattr(gpu.xp, "bfloat16")
    with pytest.raises(
        nb.UsageError, match=r"backend cupy has no bfloat16: use --dtype float32.*where ml_dtypes is"
    ):
        nb.Trainer(
            nb.Sequential(nb.Dense(2)), nb.SoftmaxCrossEntropy(), nb.SGD(), 0.1, backend=gpu, compute="bfloat16"
        )


def test_a_refusal_of_cublas_names_itself(gpu: Any, blas: Any) -> None:
    blas.status = 15
    a = gpu.asarray(np.ones((2, 2)))
    with pytest.raises(RuntimeError, match="cublasGemmEx with CUBLAS_STATUS_NOT_SUPPORTED"):
        gpu.xp.matmul(a, a)


def test_a_missing_cublas_is_said_with_what_to_install(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise RuntimeError("No such file: libcublas.so.13")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(BackendError, match=r'libcublas\.so\.13\)\. .*pip install "nnbackprop\[cuda13\]"'):
        importlib.import_module("backends.cupy_backend").CupyBackend()


def trained(gpu: Any, resident: str = "auto") -> nb.Trainer:
    rng = np.random.default_rng(5)
    data = Dataset(
        rng.integers(0, 255, (83, 5), dtype=np.uint8), rng.integers(0, 3, 83).astype("i4"), tuple("abc")
    )
    network = nb.Sequential(nb.Dense(6), nb.ReLU(), nb.Dropout(0.3), nb.Dense(3))
    options: dict = {"epochs": 3, "batch_size": 4, "dtype": "float64", "backend": gpu, "resident": resident}
    trainer = nb.Trainer(network, nb.SoftmaxCrossEntropy(), nb.Adam(), lr=0.01, **options)
    trainer.fit(data, test=data)
    return trainer


def test_a_run_is_captured_and_agrees_with_numpy(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = sys.modules["backends.cuda.cupy_graph"]
    monkeypatch.setattr(graph, "_nodes", lambda address: 321)
    with np.errstate(all="ignore"):
        ours, theirs = trained(gpu), trained(NumpyBackend())
    assert [row.train.accuracy for row in ours.history] == [row.train.accuracy for row in theirs.history]
    for mine, judge in zip(ours.params, theirs.params, strict=True):
        for name in judge:
            np.testing.assert_allclose(mine[name], judge[name], rtol=1e-12)
    capture = max(gpu.captures, key=lambda c: (c.steps, c.products))
    assert (capture.steps, capture.nodes, capture.pool_bytes) == (16, 321, fake_cupy.BLOCK)
    assert capture.products == 16 * 7  # two forward, four gradients of weights and biases, one of a layer's input


def test_a_streamed_run_agrees_with_numpy(gpu: Any) -> None:
    with np.errstate(all="ignore"):
        ours, theirs = trained(gpu, "no"), trained(NumpyBackend(), "no")
    assert [row.train.accuracy for row in ours.history] == [row.train.accuracy for row in theirs.history]
    for mine, judge in zip(ours.params, theirs.params, strict=True):
        for name in judge:
            np.testing.assert_allclose(mine[name], judge[name], rtol=1e-12)


def chunks() -> Iterator[tuple[int, Any]]:
    for k in range(6):
        steps = (3, 4, 1)[k % 3]
        yield (
            k,
            {"inputs": np.full((steps, 5), k, np.uint8), "step": (np.arange(steps, dtype=np.int32), matrix(k, 2))},
        )


def streamed_whole(gpu: Any, cupy: Any, seed: int) -> bool:
    cupy.cuda.Stream.machine.random.seed(seed)
    pairs = zip(gpu.stream(chunks()), chunks(), strict=True)
    return all(
        np.array_equal(mine, theirs) and (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        for (_, xs), (_, host) in pairs
        for mine, theirs in zip(leaves(xs), leaves(host), strict=True)
    )


def test_chunks_are_streamed_whole_by_copies_in_their_own_stream(
    gpu: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread's current device is not the backend's, until it is made so; the fake refuses to go on else."""
    asked: list[Any] = []
    stream = cupy.cuda.Stream
    monkeypatch.setattr(stream, "ask", lambda self, *w: (asked.append(self), super(stream, self).ask(*w))[1])
    assert all(streamed_whole(gpu, cupy, seed) for seed in range(20))
    assert {s.non_blocking for s in asked if s.ptr} == {True}
    monkeypatch.setattr(stream, "wait_event", lambda self, event: None)
    assert not all(streamed_whole(gpu, cupy, seed) for seed in range(20))


def test_a_pool_is_emptied_once_it_was_captured_in(gpu: Any) -> None:
    """CuPy 14.2's pools keep their free blocks for good when they are dropped: the two hold each other."""
    trained(gpu)
    recordings = list(gpu._replays.recordings())
    assert recordings
    assert [pool.freed for pool in fake_cupy.Pool.drawn] == [1] * len(recordings)
    assert all(recording.blocks for _, recording in recordings)


def test_a_step_that_cupy_would_multiply_itself_is_not_captured(gpu: Any, cupy: Any) -> None:
    def step(state: Any, data: Any, x: Any) -> Any:
        return state + gpu.xp.matmul(data, data)

    data, xs = gpu.asarray(np.ones((2, 2, 2))), gpu.asarray(np.zeros(40))
    with pytest.warns(RuntimeWarning, match="NotImplementedError: calling cuBLAS API during stream capture"):
        state = gpu.scan(step, gpu.asarray(np.zeros((2, 2, 2))), data, xs)
    np.testing.assert_array_equal(state, np.full((2, 2, 2), 80.0))
    assert [pool.freed for pool in fake_cupy.Pool.drawn] == [1]
    assert not cupy.cuda.get_current_stream().is_capturing()
    assert cupy.cuda.get_current_stream().ptr == 0


def test_a_scalar_of_a_rule_that_is_new_while_capturing_is_no_part_of_a_graph(gpu: Any) -> None:
    """It would be copied from the host once, and the copy's source be gone at the next replay."""
    seen: list[float] = []

    def add(xp: Any, a: Any, b: Any) -> Any:
        return a + b

    def step(state: Any, data: Any, x: Any) -> Any:
        seen.append(float(len(seen)))
        return gpu.xp.fuse(add)(state, seen[-1] + 0.123)

    with pytest.warns(RuntimeWarning, match=r"the constant full\(\(\), 16\.123\) is new"):
        gpu.scan(step, gpu.asarray(np.zeros(2)), (), gpu.asarray(np.zeros(20)))


def test_constants_are_made_once(gpu: Any) -> None:
    xp = gpu.xp
    for make in (lambda: xp.arange(2, 7, dtype=xp.int32, device=0), lambda: xp.ones((1, 3), dtype=xp.float32)):
        assert make() is make()
    np.testing.assert_array_equal(xp.arange(2, 7, dtype=xp.int32), np.arange(2, 7))
    assert xp.full((2,), 1.5, dtype=xp.float32).dtype == xp.ones((1, 3), dtype=xp.float32).dtype == np.float32
    assert xp.ones((1, 3), dtype=xp.float64).dtype == np.float64


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shapes", [[(2, 3)] * 4, [(2, 3)] * 11, [(2, 3), (2, 3)], [(2, 3)]])
def test_arrays_are_joined_as_numpy_joins_them(gpu: Any, shapes: list, axis: int) -> None:
    arrays = [k + matrix(*shape) for k, shape in enumerate(shapes)]
    inside = [gpu.asarray(a) for a in arrays]
    np.testing.assert_array_equal(gpu.xp.concat(inside, axis=axis), np.concatenate(arrays, axis=axis))
    np.testing.assert_array_equal(gpu.xp.stack(inside, axis=axis), np.stack(arrays, axis=axis))
    numbers = [a[0, 0] for a in inside]
    np.testing.assert_array_equal(gpu.xp.stack(numbers), np.stack([a[0, 0] for a in arrays]))


def test_arrays_of_several_shapes_are_cupys_to_join(gpu: Any) -> None:
    arrays = [matrix(2, 3), matrix(4, 3)]
    inside = [gpu.asarray(a) for a in arrays]
    np.testing.assert_array_equal(gpu.xp.concat(inside), np.concatenate(arrays))


def test_a_rule_writes_over_what_is_donated_and_only_over_that(gpu: Any) -> None:
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


def test_without_ml_dtypes_rules_take_float64_as_it_is(monkeypatch: pytest.MonkeyPatch, blas: Any) -> None:
    """NumPy takes None for the dtype float64, which must not be taken for a bfloat16 that is not there."""
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with fake_cupy.installed(monkeypatch, blas):
        gpu = fake_cupy.backend()
        assert not hasattr(gpu.xp, "bfloat16")
        w, dw = (gpu.asarray(np.full(3, value)) for value in (1.0, 2.0))
        assert gpu.xp.fuse(lambda xp, w, dw: w - dw, (0,))(w, dw) is w
        assert (w.dtype, w.tolist()) == (np.float64, [-1.0] * 3)


def test_memory_is_limited_and_given_back(gpu: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = cupy.get_default_memory_pool()
    gpu.limit_memory(10**9)
    trained(gpu)
    assert gpu._replays._known
    gpu.free_memory()
    assert (pool.limit, pool.freed, gpu.captures) == (10**9, 1, ())
    assert cupy.get_default_pinned_memory_pool().freed == 1


def test_the_backend_says_what_it_stands_on(gpu: Any) -> None:
    assert gpu.about() == (
        "NVIDIA H200, compute capability 9.0, driver up to CUDA 13.0, CuPy for CUDA 13.2, "
        "products by cuBLAS 13.1.0"
    )


def test_the_table_of_backends_says_it_too() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(backends_table([Status("cupy", True, device="cuda:0", about="NVIDIA H200, cuBLAS 13.1.0")]))
    assert "works: NVIDIA H200, cuBLAS 13.1.0" in console.export_text()


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_tf32_off_nvidia_gpus_is_refused_in_plain_words(name: str) -> None:
    if name != "numpy":
        pytest.importorskip(name, reason=f"{name} is not installed")
    gpu = select(name, "cpu")
    with pytest.raises(
        BackendError, match=f"TF32 is a way .* the backend {name} computes on cpu.*--dtype float32"
    ):
        gpu.use_tf32()
    gpu.free_memory()
    assert gpu.about() == ""
