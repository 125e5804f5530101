"""A fused kernel agrees with the plain formula on every backend: integers bit for bit, floats to 2 ulp.

On NumPy: which kernels numba compiles, and which are evaluated operator by operator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from backends import Backend, NumpyBackend, numba_fuse, numpy_backend, select, tree_map
from backends.elementwise import MIN_BLOCKED_SIZE
from nnbackprop.nn.layers.normalization import normalize, normalize_vjp, squared_deviation
from nnbackprop.nn.losses.classification import NAN, softmax_cross_entropy
from nnbackprop.nn.metrics import argmax_matches
from nnbackprop.nn.rng import threefry
from nnbackprop.optim import clipping
from nnbackprop.optim.adaptive import adam_kernel, adamw_kernel

SHAPE = (96, 128)  # 12,288 elements: enough to be compiled


def relu_mask_kernel(xp: Any, z: Any, mask: Any, dy: Any, zero: Any, one: Any, huge: Any) -> Any:
    return dy * mask * xp.minimum(xp.maximum(z * huge, zero), one)


def mix_kernel(xp: Any, a: Any, b: Any, key: Any) -> Any:
    for k in (13, 15, 26, 6):
        a = a + b
        b = ((b << k) | ((b >> (32 - k)) & ((1 << k) - 1))) ^ a
        a = a + key
    return a, b


def sigmoid_kernel(xp: Any, z: Any, one: Any) -> Any:
    return one / (one + xp.exp(-z))


def clipped_update(xp: Any, w: Any, dw: Any, lr: Any, low: Any, high: Any) -> Any:
    return w - lr * xp.minimum(xp.maximum(dw, low), high)


def floats(count: int, dtype: str, shape: tuple[int, ...] = SHAPE) -> list[np.ndarray]:
    """Of size 0.5 to 1.5, so that no difference cancels; of either sign but for the last array."""
    rng = np.random.default_rng(7)
    signs = [rng.choice([-1.0, 1.0], shape) for _ in range(count - 1)] + [np.ones(shape)]
    return [(sign * rng.uniform(0.5, 1.5, shape)).astype(dtype) for sign in signs]


def integers(count: int, shape: tuple[int, ...] = SHAPE) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    return [rng.integers(-(2**31), 2**31, shape, dtype=np.int32) for _ in range(count)]


ADAM_SCALARS = (1e-3, 1.5, 0.9, 0.1, 0.999, 0.001, 1e-8)
FLOAT_KERNELS = [
    pytest.param(relu_mask_kernel, 3, (0.0, 1.0, 1e30), id="relu-mask"),
    pytest.param(adam_kernel, 4, ADAM_SCALARS, id="adam"),
    pytest.param(adamw_kernel, 4, (1e-3, 1.5, 0.99, 0.9, 0.1, 0.999, 0.001, 1e-8), id="adamw"),
    pytest.param(clipping.clip_element, 1, (-0.5, 0.5), id="clip_by_value"),
]
INTEGER_KERNELS = [
    pytest.param(mix_kernel, 2, (-1234567890,), id="mix"),
    pytest.param(threefry, 2, (0x13198A2E, 0x03707344), id="threefry"),
]


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def evaluated_by_numpy(kernel: Any, *numbers: Any) -> tuple[np.ndarray, ...]:
    """The formula, operator by operator."""
    return as_tuple(kernel(np, *numbers))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kernel", "count", "scalars"), FLOAT_KERNELS)
def test_floats_agree_within_2_ulp(backend: Backend, kernel: Any, count: int, scalars: Any, dtype: str) -> None:
    arrays = [backend.asarray(a) for a in floats(count, dtype)]
    for numbers in (scalars, [backend.asarray(np.asarray(s, dtype)) for s in scalars]):
        unfused = as_tuple(kernel(backend.xp, *arrays, *numbers))
        fused = as_tuple(backend.xp.fuse(kernel)(*arrays, *numbers))
        for result, expected in zip(map(backend.to_numpy, fused), map(backend.to_numpy, unfused), strict=True):
            assert result.dtype == dtype
            np.testing.assert_array_max_ulp(result, expected, maxulp=2)


@pytest.mark.parametrize(("kernel", "count", "scalars"), INTEGER_KERNELS)
def test_integers_agree_bit_for_bit(backend: Backend, kernel: Any, count: int, scalars: Any) -> None:
    arrays = integers(count)
    fused = backend.xp.fuse(kernel)(*map(backend.asarray, arrays), *scalars)
    for result, expected in zip(fused, evaluated_by_numpy(kernel, *arrays, *scalars), strict=True):
        np.testing.assert_array_equal(backend.to_numpy(result), expected, strict=True)


def test_integers_wrap_modulo_2_to_the_32(backend: Backend) -> None:
    """Against Python's integers of any width, reduced in the end."""
    key, mask = -1234567890, 2**32 - 1
    a, b = integers(2)
    fused = backend.xp.fuse(mix_kernel)(backend.asarray(a), backend.asarray(b), key)
    for place in ((0, 0), (40, 99), (95, 127)):
        x, y = int(a[place]) & mask, int(b[place]) & mask
        for k in (13, 15, 26, 6):
            x = (x + y) & mask
            y = (((y << k) | (y >> (32 - k))) & mask) ^ x
            x = (x + key) & mask
        assert [int(backend.to_numpy(w)[place]) & mask for w in fused] == [x, y]


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), SHAPE])
def test_inputs_are_not_written_to_without_donation(backend: Backend, shape: tuple[int, ...]) -> None:
    arrays = floats(4, "float32", shape)
    inside = [backend.asarray(a) for a in arrays]
    fused = backend.xp.fuse(adam_kernel)(*inside, *ADAM_SCALARS)
    assert [backend.to_numpy(a).shape for a in fused] == [shape] * 3
    for a, before in zip(inside, arrays, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(a), before)


DONATED = (0, 2, 3)
"""Adam's w, m and v."""


@pytest.mark.parametrize("size", [100, numba_fuse.MIN_COMPILED_SIZE, MIN_BLOCKED_SIZE + 7])
def test_donation_changes_no_number_and_no_other_array(backend: Backend, size: int) -> None:
    arrays = floats(4, "float32", (size,))
    inside = [backend.asarray(a) for a in arrays]
    unfused = evaluated_by_numpy(adam_kernel, *arrays, *ADAM_SCALARS)
    fused = without_autograd(backend, lambda: backend.xp.fuse(adam_kernel, DONATED)(*inside, *ADAM_SCALARS))
    for result, expected in zip(fused, unfused, strict=True):
        np.testing.assert_array_max_ulp(backend.to_numpy(result), expected, maxulp=2)
    np.testing.assert_array_equal(backend.to_numpy(inside[1]), arrays[1])


@pytest.mark.parametrize("size", [MIN_BLOCKED_SIZE, MIN_BLOCKED_SIZE + 7])
def test_blockwise_agrees_with_the_whole_array(backend: Backend, size: int) -> None:
    """With an exponential, which numba does not compile; the last block is shorter."""
    (z,) = floats(1, "float32", (size,))
    result = without_autograd(backend, lambda: backend.xp.fuse(sigmoid_kernel)(backend.asarray(z), 1.0))
    expected = without_autograd(backend, lambda: sigmoid_kernel(backend.xp, backend.asarray(z), 1.0))
    np.testing.assert_array_equal(backend.to_numpy(result), backend.to_numpy(expected))


def test_donated_read_only_array_is_not_written_to() -> None:
    arrays = floats(4, "float32")
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    NumpyBackend().xp.fuse(adam_kernel, DONATED)(*arrays, *ADAM_SCALARS)
    for a, was in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, was)


SHAPES = [(3, 5), (7,), (), (2, 1), *[(4,)] * 30]
"""More arrays than CuPy updates by one launch."""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("kernel", "count", "scalars"),
    [
        pytest.param(adam_kernel, 4, ADAM_SCALARS, id="adam"),
        pytest.param(clipped_update, 2, (0.1, -0.5, 0.5), id="with a function that CuPy does not trace"),
    ],
)
def test_foreach_is_the_kernel_on_each_parameter(
    backend: Backend, kernel: Any, count: int, scalars: Any, dtype: str
) -> None:
    trees = [tuple(arrays) for arrays in zip(*(floats(count, dtype, shape) for shape in SHAPES), strict=True)]
    params, grads, *states = [tree_map(backend.asarray, tree) for tree in trees]
    numbers = backend.asarray(np.asarray(scalars[0], dtype)), *scalars[1:]
    new_params, new_states = without_autograd(
        backend, lambda: backend.xp.foreach(kernel, params, grads, tuple(states), numbers)
    )
    expected = [evaluated_by_numpy(kernel, *arrays, *scalars) for arrays in zip(*trees, strict=True)]
    for tree, numbers in zip((new_params, *new_states), zip(*expected, strict=True), strict=True):
        for a, wanted in zip(tree, numbers, strict=True):
            assert a.shape == wanted.shape
            np.testing.assert_array_max_ulp(backend.to_numpy(a), wanted.astype(dtype), maxulp=2)
    for a, unchanged in zip(grads, trees[1], strict=True):
        np.testing.assert_array_equal(backend.to_numpy(a), unchanged)


def test_foreach_leaves_what_has_no_gradient(backend: Backend) -> None:
    w, dw, m, v = ({"W": a, "mean": a[0, :]} for a in floats(4, "float64", (4, 3)))
    params, grads, *states = (tree_map(backend.asarray, tree) for tree in (w, {"W": dw["W"]}, m, v))
    new_params, new_states = backend.xp.foreach(adam_kernel, params, grads, tuple(states), ADAM_SCALARS)
    expected = evaluated_by_numpy(adam_kernel, *(tree["W"] for tree in (w, dw, m, v)), *ADAM_SCALARS)
    for result, moved, before in zip((new_params, *new_states), expected, (w, m, v), strict=True):
        np.testing.assert_array_max_ulp(backend.to_numpy(result["W"]), moved, maxulp=2)
        np.testing.assert_array_equal(backend.to_numpy(result["mean"]), before["mean"])


def heavy_ball(xp: Any, w: Any, dw: Any, before: Any, lr: Any, beta: Any) -> Any:
    """Polyak's own form, whose state is the w before the update."""
    return w - lr * dw + beta * (w - before), w


def signed_heavy_ball(xp: Any, w: Any, dw: Any, before: Any, lr: Any, beta: Any) -> Any:
    """With a function that numba does not compile and CuPy does not trace."""
    return w - lr * xp.sign(dw) + beta * (w - before), w


@pytest.mark.parametrize("size", [3, numba_fuse.MIN_COMPILED_SIZE, MIN_BLOCKED_SIZE])
@pytest.mark.parametrize("kernel", [heavy_ball, signed_heavy_ball])
def test_a_new_state_may_be_the_parameter_before_the_update(backend: Backend, kernel: Any, size: int) -> None:
    """By hand, dw = 1, lr 0.1, beta 0.5: w = 1, 0.9, 0.9 - 0.1 - 0.05 = 0.75, 0.75 - 0.1 - 0.075 = 0.575."""
    w, before = ({"w": backend.asarray(np.ones(size))} for _ in range(2))
    for _ in range(3):
        dw = {"w": backend.asarray(np.ones(size))}
        w, (before,) = without_autograd(
            backend, lambda update=(w, dw, (before,)): backend.xp.foreach(kernel, *update, (0.1, 0.5))
        )
    for tree, expected in ((w, 0.575), (before, 0.75)):
        np.testing.assert_allclose(backend.to_numpy(tree["w"]), np.full(size, expected), rtol=1e-15)


def with_options(xp: Any, w: Any, dw: Any, lr: Any, clip: Any, mode: Any, shares: Any, doubled: Any) -> Any:
    if clip is not None:
        dw = xp.minimum(xp.maximum(dw, -clip), clip)
    direction = xp.abs(dw) if mode == "abs" else dw
    old, new = shares
    return old * w - new * lr * (2 * direction if doubled else direction)


@pytest.mark.parametrize("size", [2, numba_fuse.MIN_COMPILED_SIZE])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((None, "plain", (1, 1), False), 1.2),
        ((None, "abs", (1, 1), True), 0.6),
        ((1.0, "plain", (0.5, 1), False), 0.6),
    ],
)
def test_scalars_that_are_no_numbers_reach_the_kernel_as_they_are(
    backend: Backend, size: int, options: tuple[Any, ...], expected: float
) -> None:
    """From w = 1 by dw = -2 and lr 0.1."""
    w, dw = ({"w": backend.asarray(np.full(size, a))} for a in (1.0, -2.0))
    w, _ = without_autograd(backend, lambda: backend.xp.foreach(with_options, w, dw, (), (0.1, *options)))
    np.testing.assert_allclose(backend.to_numpy(w["w"]), np.full(size, expected), rtol=1e-15)


class Descent:
    def __call__(self, xp: Any, w: Any, dw: Any, lr: Any) -> Any:
        return w - lr * dw

    def method(self, xp: Any, w: Any, dw: Any, lr: Any) -> Any:
        return self(xp, w, dw, lr)


@pytest.mark.parametrize(
    "kernel",
    [Descent(), Descent().method, partial(clipped_update, low=-1.0, high=1.0)],
    ids=["object", "method", "partial"],
)
def test_callables_that_are_no_functions_are_kernels_too(backend: Backend, kernel: Any) -> None:
    w, dw = (backend.asarray(np.full(numba_fuse.MIN_COMPILED_SIZE, a)) for a in (1.0, 0.5))
    result = without_autograd(backend, lambda: backend.xp.fuse(kernel)(w, dw, 0.1))
    np.testing.assert_allclose(backend.to_numpy(result), np.full(w.shape, 0.95), rtol=1e-15)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 10), (7, 2), (7, 10), (7, 30)])
def test_softmax_cross_entropy_by_rows_is_its_formula(
    backend: Backend, shape: tuple[int, int], dtype: str, weighted: bool
) -> None:
    """p, q and log p of about 1, so that 4 eps are 4 ulp; a label that is no class gives NaN."""
    (n, k), rng = shape, np.random.default_rng(3)
    y, labels = rng.standard_normal(shape).astype(dtype), rng.integers(0, k, (n, 1), dtype=np.int32)
    labels[-1] = k if n > 1 else 0
    weight = rng.uniform(0.5, 1, (n, 1)).astype(dtype) if weighted else 1.0
    arrays = (y, labels, np.arange(k, dtype=np.int32).reshape(1, k))
    numbers = (k, 0.01, 0.9, backend.asarray(weight) if weighted else weight, NAN)
    inside = [*map(backend.asarray, arrays), *numbers]
    terms = backend.xp.fuse_rowwise(softmax_cross_entropy)(*inside)
    for a, expected in zip(terms, softmax_cross_entropy(backend.xp, *inside), strict=True):
        actual, expected = backend.to_numpy(a), backend.to_numpy(expected)
        assert (actual.dtype, actual.shape) == (dtype, shape)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(actual, expected, rtol=4 * eps, atol=4 * eps)
    assert np.isnan(backend.to_numpy(terms[0])).any(axis=1).tolist() == [False] * (n - 1) + [n > 1]


@pytest.mark.parametrize("k", [2, 10, 30])
def test_argmax_by_rows_is_the_first_of_the_largest_and_nan_above_all(backend: Backend, k: int) -> None:
    y = np.random.default_rng(4).integers(0, 3, (60, k)).astype(np.float32)
    y[::7, -1] = np.inf
    y[::5, k // 2] = np.nan
    labels = np.where(np.arange(60) % 4, y.argmax(axis=1), 0).astype(np.int32)
    like = backend.asarray(np.zeros((), np.float32))
    matches = backend.xp.fuse_rowwise(argmax_matches)(backend.asarray(y), backend.asarray(labels), like)
    expected = (y.argmax(axis=1) == labels).astype(np.float32)
    np.testing.assert_array_equal(backend.to_numpy(matches), expected, strict=True)


def without_autograd(backend: Backend, work: Callable[[], Any]) -> Any:
    """PyTorch's fused kernels are blockwise only under no_grad, as in training."""
    if backend.name != "torch":
        return work()
    with sys.modules["torch"].no_grad():
        return work()


def test_fuse_is_cached(backend: Backend) -> None:
    assert backend.xp.fuse(adam_kernel) is backend.xp.fuse(adam_kernel)


W, DW, DOUBLE = *floats(2, "float32"), floats(1, "float64")[0]


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param((W, DW[0, :]), id="broadcast row"),
        pytest.param((W, DW[:, :1]), id="broadcast column"),
        pytest.param((W.T, DW.T), id="transposed"),
        pytest.param((np.concatenate([W, W])[::2, :], DW), id="strided"),
        pytest.param((W, DOUBLE), id="float32 and float64"),
        pytest.param((W > 1, DW), id="bool and float32"),
        pytest.param((W.astype("float16"), DW.astype("float16")), id="float16"),
        pytest.param((np.broadcast_to(DW[0, 0], SHAPE), W), id="first repeats one number"),
        pytest.param((W, np.broadcast_to(DW[0, 0], (2, *SHAPE))), id="repeated in a larger shape"),
        pytest.param((W[:2, :], DW[:2, :]), id="small"),
        pytest.param((integers(1)[0], integers(1)[0]), id="integers and a float"),
    ],
)
def test_arrays_that_one_loop_cannot_cover_are_evaluated_operator_by_operator(
    numbers: tuple[np.ndarray, ...],
) -> None:
    def kernel(xp: Any, w: Any, dw: Any, lr: Any) -> Any:
        return w - lr * dw

    result = NumpyBackend().xp.fuse(kernel)(*numbers, 0.1)
    (expected,) = evaluated_by_numpy(kernel, *numbers, 0.1)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(result, expected)


def test_broadcast_number_is_a_scalar(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(numpy_backend, "compile_loop", lambda kernel, is_array, *_: calls.append(is_array))
    step = np.broadcast_to(np.asarray(5, np.int32), SHAPE)
    NumpyBackend().xp.fuse(threefry)(integers(1)[0], step, 1, 2)
    assert calls == [(True, False, False, False)]


def test_small_arrays_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_backend, "compile_loop", lambda *_: pytest.fail("compiled"))
    arrays = floats(4, "float32", (numba_fuse.MIN_COMPILED_SIZE - 1,))
    NumpyBackend().xp.fuse(adam_kernel)(*arrays, *ADAM_SCALARS)


def test_without_numba_kernels_are_evaluated_operator_by_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    numba_fuse.compiler.cache_clear()
    numba_fuse.compile_loop.cache_clear()
    try:
        backend, (z,) = NumpyBackend(), floats(1, "float32")
        assert not backend.fuses_elementwise
        np.testing.assert_array_equal(backend.xp.fuse(clipping.clip_element)(z, -1.0, 1.0), np.clip(z, -1, 1))
    finally:
        numba_fuse.compiler.cache_clear()
        numba_fuse.compile_loop.cache_clear()


class TestCompiled:
    @pytest.fixture(autouse=True)
    def _numba(self) -> None:
        pytest.importorskip("numba", reason="numba is not installed: pip install numba")

    @pytest.mark.parametrize(("kernel", "count", "scalars"), FLOAT_KERNELS + INTEGER_KERNELS)
    def test_kernels_of_the_library_are_compiled(self, kernel: Any, count: int, scalars: Any) -> None:
        is_array = (True,) * count + (False,) * len(scalars)
        for dtype in ("int32",) if isinstance(scalars[0], int) else ("float32", "float64"):
            assert numba_fuse.compile_loop(kernel, is_array, np.dtype(dtype)) is not None
        assert NumpyBackend().fuses_elementwise

    @pytest.mark.parametrize("donated", [(), (0, 2, 3)])
    def test_pytorch_tensors_get_the_bits_of_numpys_loop_in_the_same_memory(
        self, donated: tuple[int, ...]
    ) -> None:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        arrays = floats(4, "float32", (numba_fuse.MIN_COMPILED_SIZE,))
        tensors = [torch.from_numpy(a.copy()) for a in arrays]
        with torch.no_grad():
            results = select("torch", "cpu").xp.fuse(adam_kernel, donated)(*tensors, *ADAM_SCALARS)
        expected = NumpyBackend().xp.fuse(adam_kernel)(*arrays, *ADAM_SCALARS)
        for k, (result, numbers) in enumerate(zip(results, expected, strict=True)):
            np.testing.assert_array_equal(result.numpy(), numbers)
            assert not donated or result.data_ptr() == tensors[donated[k]].data_ptr()

    @pytest.mark.parametrize(
        ("kernel", "matrices", "rows"), [(normalize, 1, 4), (normalize_vjp, 2, 3), (squared_deviation, 1, 1)]
    )
    def test_rows_go_with_every_row_of_a_matrix_and_give_numpys_bits(
        self, kernel: Any, matrices: int, rows: int
    ) -> None:
        operands = (*floats(matrices, "float32"), *floats(rows, "float32", (1, SHAPE[1])))
        assert numba_fuse.compile_loop(kernel, (2,) * matrices + (1,) * rows, np.dtype("float32")) is not None
        found = as_tuple(NumpyBackend().xp.fuse(kernel)(*operands))
        for result, expected in zip(found, evaluated_by_numpy(kernel, *operands), strict=True):
            np.testing.assert_array_equal(result, expected, strict=True)

    def test_kernel_with_exp_is_not_compiled(self) -> None:
        """numba's is slower than NumPy's and rounds differently."""
        assert numba_fuse.compile_loop(sigmoid_kernel, (True, False), np.dtype("float32")) is None
        (z,) = floats(1, "float32")
        np.testing.assert_array_equal(
            NumpyBackend().xp.fuse(sigmoid_kernel)(z, 1.0), *evaluated_by_numpy(sigmoid_kernel, z, 1.0)
        )

    def test_kernel_that_numba_cannot_type_is_not_compiled(self) -> None:
        def kernel(xp: Any, w: Any, lr: Any) -> Any:
            terms = (w, lr, 2)  # numbers of different types, which numba cannot index by a variable
            total = w
            for k in range(len(terms)):
                total = total + terms[k]
            return total

        assert numba_fuse.compile_loop(kernel, (True, False), np.dtype("float32")) is None
        (w,) = floats(1, "float32")
        np.testing.assert_array_equal(NumpyBackend().xp.fuse(kernel)(w, 0.5), *evaluated_by_numpy(kernel, w, 0.5))

    def test_kernel_that_returns_a_scalar_is_not_compiled(self) -> None:
        assert numba_fuse.compile_loop(lambda xp, w, lr: (w, lr), (True, False), np.dtype("float32")) is None

    def test_division_by_zero_is_infinite(self) -> None:
        def kernel(xp: Any, w: Any, zero: Any) -> Any:
            return w / (w * zero)

        (w,) = floats(1, "float32")
        assert numba_fuse.compile_loop(kernel, (True, False), np.dtype("float32")) is not None
        assert np.isposinf(NumpyBackend().xp.fuse(kernel)(w, 0.0)).all()

    def test_maximum_keeps_nan(self) -> None:
        w = np.full(SHAPE, np.nan, np.float32)
        assert numba_fuse.compile_loop(clipping.clip_element, (True, False, False), w.dtype) is not None
        assert np.isnan(NumpyBackend().xp.fuse(clipping.clip_element)(w, -1.0, 1.0)).all()
