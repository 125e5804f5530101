"""The contract of `Backend` on every library: conversions copy, `scan` is a Python loop, trees stay trees."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import backends
from backends import Backend, BackendError, NumpyBackend, device_of
from nnbackprop.nn.rng import RngKey

# asarray and to_numpy


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (2, 3)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "uint8", "bool"])
def test_asarray_and_to_numpy_change_nothing(backend: Backend, dtype: str, shape: tuple[int, ...]) -> None:
    host = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    array = backend.asarray(host)
    assert array.dtype == getattr(backend.xp, dtype)
    assert tuple(array.shape) == shape
    result = backend.to_numpy(array)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, host, strict=True)


def test_asarray_and_to_numpy_copy(backend: Backend) -> None:
    host = np.arange(6.0)
    array = backend.asarray(host)
    host[:] = -1
    first = backend.to_numpy(array)
    first[:] = -1
    np.testing.assert_array_equal(backend.to_numpy(array), np.arange(6.0))


def test_transposed_and_readonly_arrays_come_back_contiguous(backend: Backend) -> None:
    host = np.arange(6.0).reshape(2, 3).T
    host.setflags(write=False)
    array = backend.asarray(host)
    for result, expected in ((array, host), (backend.xp.matrix_transpose(array), host.T)):
        np.testing.assert_array_equal(backend.to_numpy(result), expected)
        assert backend.to_numpy(result).flags.c_contiguous


def test_float64_arithmetic_is_in_float64(backend: Backend) -> None:
    """1/3 in double precision differs from 1/3 in single, 0.3333333432674408, in the 8th digit."""
    third = 1 / backend.asarray(np.asarray([3.0]))
    assert float(backend.to_numpy(third)[0]) == 1 / 3


def test_jax_without_x64_is_refused() -> None:
    jax = pytest.importorskip("jax")
    backend = backends.select("jax")
    with jax.enable_x64(False), pytest.raises(BackendError, match=r"JAX made float32 of float64.*jax_enable_x64"):
        backend.asarray(np.ones(2))


def test_a_backend_describes_itself_and_memory_is_known_on_gpus_alone(backend: Backend) -> None:
    assert backend.name in ("numpy", "cupy", "torch", "jax", "mlx", "strict")
    assert backend.version[0].isdigit()
    assert backend.selection_reason == "asked for by name"
    assert isinstance(backend.fuses_elementwise, bool)
    backend.synchronize()
    memory = backend.memory()
    assert {memory.used is None, memory.free is None} == {backend.device in ("cpu", "device1")}


@pytest.mark.parametrize("copy", [copy.deepcopy, lambda backend: pickle.loads(pickle.dumps(backend))])
def test_pickled_backend_has_the_same_library_and_device(backend: Backend, copy: Any) -> None:
    backend.selection_reason = "auto chose it"
    twin = copy(backend)
    assert (type(twin), twin.device, twin.selection_reason) == (type(backend), backend.device, "auto chose it")
    ones = twin.asarray(np.ones((2, 2)))
    np.testing.assert_array_equal(twin.to_numpy(twin.xp.matmul(ones, ones)), np.full((2, 2), 2.0))


@pytest.mark.parametrize("name", ["torch", "mlx"])
def test_float64_is_refused_where_the_device_has_none(name: str) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed")
    backend = backends.select(name, "cpu")
    backend.device, backend.has_float64 = "mps", False
    with pytest.raises(BackendError, match=rf"{name} on mps has no float64.*dtype='float32', or device='cpu'"):
        backend.asarray(np.ones(2))
    assert backend.asarray(np.ones(2, np.float32)).dtype == backend.xp.float32
    assert backends.with_float64(backend).device == "cpu"


def test_a_backend_with_float64_is_kept(backend: Backend) -> None:
    assert backends.with_float64(backend) is backend


# scan


ROWS = np.random.default_rng(2).standard_normal((10, 4))
BATCHES = np.random.default_rng(3).integers(0, 10, (7, 5), dtype=np.int32)
RATES = np.linspace(0.1, 0.7, 7)


def step_on(xp: Any) -> Any:
    """A step with all that training has: dicts and tuples, a gather of the batch, a scalar of its own."""

    def step(state: Any, data: Any, x: Any) -> Any:
        assert tuple(x["lr"].shape) == ()
        assert x["lr"].dtype == xp.float64
        rows = xp.take(data["rows"], x["batch"], axis=0)
        v = state["v"][0] * data["decay"] + xp.sum(rows, axis=0) * x["lr"]
        return {"w": state["w"] - v, "v": (v,), "count": state["count"] + x["one"]}

    return step


def run(backend: Backend, step: Any, rows: np.ndarray, steps: int = 7) -> Any:
    state = {"w": np.ones(4), "v": (np.zeros(4),), "count": np.asarray(0, np.int32)}
    data = {"rows": rows, "decay": np.asarray(0.9)}
    batches = {"batch": BATCHES, "lr": RATES, "one": np.ones(7, np.int32)}
    inside = [backends.tree_map(backend.asarray, tree) for tree in (state, data)]
    batches = backends.tree_map(lambda a: backend.asarray(a[:steps]), batches)
    return backends.tree_map(backend.to_numpy, backend.scan(step, *inside, batches))


def by_hand(rows: np.ndarray, steps: int = 7) -> tuple[np.ndarray, np.ndarray]:
    w, v = np.ones(4), np.zeros(4)
    for batch, lr in zip(BATCHES[:steps], RATES[:steps], strict=True):
        v = v * 0.9 + rows[batch].sum(axis=0) * lr
        w = w - v
    return w, v


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_scan_agrees_with_a_python_loop(backend: Backend, steps: int) -> None:
    state = run(backend, step_on(backend.xp), ROWS, steps)
    w, v = by_hand(ROWS, steps)
    assert list(state) == ["w", "v", "count"]
    assert isinstance(state["v"], tuple)
    assert (state["count"].dtype, int(state["count"])) == (np.int32, steps)
    np.testing.assert_allclose(state["w"], w, rtol=1e-14)
    np.testing.assert_allclose(state["v"][0], v, rtol=1e-14)


def test_data_is_no_constant_of_the_compiled_step(backend: Backend) -> None:
    step = step_on(backend.xp)
    for rows in (ROWS, 2 * ROWS):
        np.testing.assert_allclose(run(backend, step, rows)["w"], by_hand(rows)[0], rtol=1e-14)


def test_step_may_overwrite_its_state(request: pytest.FixtureRequest, backend: Backend) -> None:
    if "numpy-readonly" in request.node.name:
        pytest.skip("arrays of this backend refuse to be written to, donated or not")

    def step(state: Any, data: Any, x: Any) -> Any:
        (w,) = state
        w *= data
        w += x
        return (w,)

    state = (backend.asarray(np.ones(3)),)
    (w,) = backend.scan(step, state, backend.asarray(np.asarray(2.0)), backend.asarray(np.arange(3.0)))
    np.testing.assert_array_equal(backend.to_numpy(w), [12.0] * 3)  # ((1 2 + 0) 2 + 1) 2 + 2


def test_a_copy_outlives_the_state_that_a_step_overwrites(
    request: pytest.FixtureRequest, backend: Backend
) -> None:
    if "numpy-readonly" in request.node.name:
        pytest.skip("arrays of this backend refuse to be written to, donated or not")

    def step(state: Any, constants: Any, x: Any) -> Any:
        state["w"] += x
        return {**state, "count": state["count"] + 1}

    state = {"w": backend.asarray(np.ones(3)), "count": backend.asarray(np.asarray(0, np.int32))}
    copy = backend.copy(state)
    assert list(copy) == ["w", "count"]
    backend.synchronize()
    backend.scan(step, state, (), backend.asarray(np.arange(3.0)))
    np.testing.assert_array_equal(backend.to_numpy(copy["w"]), [1.0] * 3)
    assert backend.to_numpy(copy["count"]) == 0
    assert backend.to_numpy(copy["count"]).dtype == np.int32


def test_a_single_step_is_a_scan_of_one_batch(backend: Backend) -> None:
    state = {"w": np.ones(4), "v": (np.zeros(4),), "count": np.asarray(0, np.int32)}
    data = {"rows": ROWS, "decay": np.asarray(0.9)}
    batch = {"batch": BATCHES[0], "lr": np.asarray(RATES[0]), "one": np.asarray(1, np.int32)}
    inside = [backends.tree_map(backend.asarray, tree) for tree in (state, data, batch)]
    state = backends.tree_map(backend.to_numpy, backend.run_step(step_on(backend.xp), *inside))
    np.testing.assert_allclose(state["w"], by_hand(ROWS, 1)[0], rtol=1e-14)
    assert int(state["count"]) == 1


def test_numpy_takes_a_single_step_without_a_loop() -> None:
    backend, given = NumpyBackend(), np.arange(3.0)
    assert backend.run_step(lambda state, constants, batch: batch, None, (), given) is given


def test_step_creates_arrays_on_the_device_of_its_state(backend: Backend) -> None:
    xp = backend.xp

    def step(state: Any, data: Any, x: Any) -> Any:
        return state + x * xp.arange(3, dtype=xp.float32, device=device_of(state))

    state = backend.scan(step, backend.asarray(np.zeros(3, np.float32)), (), backend.asarray(RATES.astype("f4")))
    assert state.dtype == xp.float32
    np.testing.assert_allclose(backend.to_numpy(state), [0, 2.8, 5.6], rtol=1e-6)


def test_jax_compiles_once_for_a_length_and_frees_the_donated_state() -> None:
    pytest.importorskip("jax")
    backend, traces = backends.select("jax"), []

    def step(state: Any, data: Any, x: Any) -> Any:
        traces.append(x)
        return state + data * x

    data, batches = backend.asarray(np.ones(3)), backend.asarray(np.arange(4.0))
    first = backend.asarray(np.zeros(3))
    second = backend.scan(step, first, data, batches)
    compiled = len(traces)
    third = backend.scan(step, second, data, batches)
    assert len(traces) == compiled
    assert [a.is_deleted() for a in (first, second, third, data, batches)] == [True, True, False, False, False]
    np.testing.assert_array_equal(backend.to_numpy(third), [12.0] * 3)


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_scan_out_of_memory_raises_memory_error(name: str) -> None:
    """It asks for an eighth of a petabyte."""
    pytest.importorskip(name, reason=f"{name} is not installed")
    backend = backends.select(name)
    xp = backend.xp

    def greedy(state: Any, data: Any, x: Any) -> Any:
        wild = xp.sin(xp.arange(2**44, dtype=xp.float64) * x)  # JAX makes no array it need not, but ...
        return state + xp.sort(wild)[0]  # ... this takes all of it

    state, batches = backend.asarray(np.zeros(())), backend.asarray(np.ones(1))
    with pytest.raises(MemoryError):
        backend.to_numpy(backend.scan(greedy, state, (), batches))


def test_a_compiled_step_on_mlx_is_the_same() -> None:
    """As on its GPU. On a CPU that is a call of g++ for each kernel, and otherwise not used."""
    pytest.importorskip("mlx", reason="mlx is not installed")
    from backends.mlx_backend import _compiled

    backend = backends.select("mlx", "cpu")
    xp, step = backend.xp, step_on(backend.xp)
    expected = run(backend, step, ROWS)
    backend._prepare = _compiled
    for a, b in zip(backends.leaves(run(backend, step, ROWS)), backends.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)

    def mask(state: Any, data: Any, x: Any) -> Any:
        return RngKey(3, x).dropout_mask(xp, (5, 7), 0.3, xp.float32)

    state, steps = backend.asarray(np.zeros((5, 7), np.float32)), backend.asarray(np.asarray([8], np.int32))
    compiled = backend.to_numpy(backend.scan(mask, state, (), steps))
    host = NumpyBackend()
    expected = RngKey(3, np.asarray(8, np.int32)).dropout_mask(host.xp, (5, 7), 0.3, np.float32)
    np.testing.assert_array_equal(compiled, expected)


@pytest.mark.parametrize(("x", "rtol"), [(np.linspace(-700, 700, 2001), 4e-16), (np.array([-800.0, 0, 800]), 0)])
def test_mlx_exp_in_float64_is_numpys(x: np.ndarray, rtol: float) -> None:
    """MLX's own is right to 7 digits."""
    pytest.importorskip("mlx", reason="mlx is not installed")
    backend = backends.select("mlx", "cpu")
    with np.errstate(over="ignore"):
        expected = np.exp(x)
    np.testing.assert_allclose(backend.to_numpy(backend.xp.exp(backend.asarray(x))), expected, rtol=rtol)
    assert np.isnan(backend.to_numpy(backend.xp.exp(backend.asarray(np.array([np.nan]))))).all()


def test_torch_scan_runs_without_autograd() -> None:
    torch = pytest.importorskip("torch")
    backend = backends.select("torch")

    def step(state: Any, data: Any, x: Any) -> Any:
        assert not torch.is_grad_enabled()
        return state * data

    weights = torch.ones(3, requires_grad=True)
    assert not backend.scan(step, backend.asarray(np.ones(3, np.float32)), weights, torch.ones(2)).requires_grad
    assert torch.is_grad_enabled()


def test_numpy_scan_does_not_warn_of_overflow() -> None:
    """Warnings are errors here: this one would be raised."""
    backend = NumpyBackend()
    state = backend.scan(lambda s, data, x: s * x, np.full(2, 1e300), (), np.full(3, 1e300))
    assert np.isinf(state).all()


# Functions that a backend overrides


def test_maximum_and_minimum_take_numbers_and_keep_nan(backend: Backend) -> None:
    x = backend.asarray(np.array([-1.0, np.nan, 2.0]))
    for numbers in ((x, 0.5), (0.5, x)):
        np.testing.assert_array_equal(backend.to_numpy(backend.xp.maximum(*numbers)), [0.5, np.nan, 2.0])
        np.testing.assert_array_equal(backend.to_numpy(backend.xp.minimum(*numbers)), [-1.0, np.nan, 0.5])


def test_torch_makes_no_tensor_of_a_number() -> None:
    """It would copy the number from the host, which a CUDA graph cannot capture."""
    pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    called = []

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.append(str(function))
            return function(*args, **(kwargs or {}))

    backend = backends.select("torch", "cpu")
    x = backend.asarray(np.ones(3))
    with Calls():
        backend.xp.maximum(x, 0.5)
        backend.xp.minimum(x, 0.5)
    assert called == ["aten.clamp.default"] * 2


@pytest.mark.parametrize(
    "shapes", [((784, 1), (1, 100)), ((1, 1), (1, 1)), ((5, 1), (1, 1)), ((3, 4, 1), (3, 1, 2))]
)
def test_matmul_with_inner_size_one_agrees_with_einsum(
    backend: Backend, shapes: tuple[tuple[int, ...], ...]
) -> None:
    """NumPy's namespace multiplies element by element there."""
    a, b = (np.random.default_rng(k).standard_normal(shape) for k, shape in enumerate(shapes))
    product = backend.to_numpy(backend.xp.matmul(backend.asarray(a), backend.asarray(b)))
    assert np.array_equal(product, np.einsum("...ij,...jk->...ik", a, b))


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.int8])
def test_matmul_of_a_column_by_a_row_in_any_dtype(dtype: Any) -> None:
    """numba has no float16, which one sample's gradient in a large layer is too."""
    a, b = (np.arange(784) % 50).astype(dtype).reshape(784, 1), np.arange(3, 103).astype(dtype).reshape(1, 100)
    np.testing.assert_array_equal(NumpyBackend().xp.matmul(a, b), np.matmul(a, b), strict=True)


def test_matmul_of_a_column_by_a_vector_of_one_is_a_vector(backend: Backend) -> None:
    a, b = np.arange(5.0).reshape(5, 1), np.array([2.0])
    assert np.array_equal(backend.to_numpy(backend.xp.matmul(backend.asarray(a), backend.asarray(b))), a @ b)


def test_matmul_of_mismatched_shapes_is_refused(backend: Backend) -> None:
    a, b = backend.asarray(np.ones((4, 1))), backend.asarray(np.ones((4, 2)))
    with pytest.raises((ValueError, RuntimeError, TypeError)):
        backend.xp.matmul(a, b)


# Trees


def test_trees_keep_their_structure() -> None:
    tree = ({"W": 1, "b": (2, 3)}, {}, 4)
    assert backends.leaves(tree) == [1, 2, 3, 4]
    assert backends.tree_map(lambda leaf: 10 * leaf, tree) == ({"W": 10, "b": (20, 30)}, {}, 40)
