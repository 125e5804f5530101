"""The emulated CUDA device itself: when work is done, what a capture records and refuses, which kernels run."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.support.cuda_emulator import nodes


@pytest.fixture
def cupy(emulated_device: Any) -> Any:
    import cupy

    return cupy


def in_memory(array: Any) -> np.ndarray:
    """What an array's memory holds now, without a wait for the device: it is memory of the host."""
    return np.ctypeslib.as_array((ctypes.c_float * array.size).from_address(array.data.ptr)).reshape(array.shape)


def non_blocking(cupy: Any) -> Any:
    return cupy.cuda.Stream(non_blocking=True)


@contextmanager
def captured(cupy: Any, graphs: list[Any]) -> Iterator[Any]:
    """A stream that is captured; its graph is appended to `graphs`."""
    with non_blocking(cupy) as stream:
        stream.begin_capture()
        yield stream
        graphs.append(stream.end_capture())


# When work is done


def test_late_work_is_done_when_the_host_waits(cupy: Any, emulated_device: Any) -> None:
    x = cupy.zeros(4, cupy.float32)
    emulated_device.run_late()
    x += 1
    assert in_memory(x).tolist() == [0.0] * 4
    assert x.get().tolist() == [1.0] * 4


def test_streams_are_done_in_any_order_and_events_in_theirs(cupy: Any, emulated_device: Any) -> None:
    """Two streams write to one array; where the second waits for the first, its number stays."""
    found: dict[bool, set[float]] = {False: set(), True: set()}
    for waits in found:
        for seed in range(20):
            x, done = cupy.zeros(4, cupy.float32), cupy.cuda.Event()
            cupy.cuda.Device().synchronize()
            emulated_device.run_in_random_order(seed)
            first, second = non_blocking(cupy), non_blocking(cupy)
            with first:
                x.fill(1)
            first.record(done)
            if waits:
                second.wait_event(done)
            with second:
                x.fill(2)
            cupy.cuda.Device().synchronize()
            found[waits].add(float(in_memory(x)[0]))
    assert found == {False: {1.0, 2.0}, True: {2.0}}


def test_blocking_streams_wait_for_the_null_stream(cupy: Any, emulated_device: Any) -> None:
    for seed in range(10):
        x = cupy.zeros(4, cupy.float32)
        emulated_device.run_in_random_order(seed)
        x.fill(1)
        with cupy.cuda.Stream():
            x.fill(2)
        x += 1
        assert x.get().tolist() == [3.0] * 4


# Captures


def test_a_capture_records_nodes_by_kernel_and_executes_none(cupy: Any, emulated_device: Any) -> None:
    x, graphs = cupy.ones(4, cupy.float32), list[Any]()
    x *= 1
    x += 1
    with captured(cupy, graphs):
        x += 1
        x *= 3
        x += 1
    assert in_memory(x).tolist() == [2.0] * 4
    names = Counter(name.split("__")[0] for name in emulated_device.nodes(graphs[0]))
    assert names == {"cupy_add": 2, "cupy_multiply": 1}
    assert emulated_device.edges(graphs[0]) == [(0, 1), (1, 2)]
    for _ in range(2):
        graphs[0].launch()
    assert x.get().tolist() == [34.0] * 4


def test_a_forked_stream_is_a_branch_that_replays_in_any_order(cupy: Any, emulated_device: Any) -> None:
    x, y, graphs = cupy.ones(4, cupy.float32), cupy.ones(4, cupy.float32), list[Any]()
    z, side = x + y, non_blocking(cupy)
    with captured(cupy, graphs) as stream:
        x += 1
        side.wait_event(stream.record())
        with side:
            y *= x
        x += 1
        stream.wait_event(side.record())
        cupy.add(x, y, out=z)
    assert sorted(emulated_device.edges(graphs[0])) == [(0, 1), (0, 2), (1, 3), (2, 3)]
    results = set()
    for seed in range(20):
        x.fill(1)
        y.fill(1)
        emulated_device.run_in_random_order(seed)
        graphs[0].launch()
        results.add(float(z.get()[0]))
    assert results == {5.0, 6.0}  # y reads x while the other branch writes to it: a race, which shows


def test_a_fork_that_is_not_joined_is_refused(cupy: Any) -> None:
    x, side = cupy.ones(4, cupy.float32), non_blocking(cupy)
    x += 1
    with non_blocking(cupy) as stream:
        stream.begin_capture()
        side.wait_event(stream.record())
        with side:
            x += 1
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="StreamCaptureUnjoined"):
            stream.end_capture()


def ask_whether_done(cupy: Any, stream: Any) -> None:
    cupy.cuda.runtime.check_status(cupy.cuda.runtime.streamQuery(stream.ptr))


def wait_for_work_outside(cupy: Any, stream: Any) -> None:
    with non_blocking(cupy) as other:
        event = other.record()
    stream.wait_event(event)


def copy_from_pageable_memory(cupy: Any, stream: Any) -> None:
    host, device = np.ones(4, np.float32), cupy.empty(4, np.float32)
    cupy.cuda.runtime.memcpyAsync(device.data.ptr, host.ctypes.data, host.nbytes, 1, stream.ptr)


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (lambda cupy, stream: cupy.cuda.Device().synchronize(), "StreamCaptureUnsupported"),
        (lambda cupy, stream: cupy.cuda.runtime.streamSynchronize(stream.ptr), "StreamCaptureUnsupported"),
        (ask_whether_done, "StreamCaptureUnsupported"),
        (wait_for_work_outside, "StreamCaptureIsolation"),
        (copy_from_pageable_memory, "StreamCaptureUnsupported"),
    ],
    ids=["device", "stream", "query", "outside", "pageable"],
)
def test_what_cuda_refuses_in_a_capture_ends_it(cupy: Any, refused: Callable[..., None], error: str) -> None:
    runtime_error = cupy.cuda.runtime.CUDARuntimeError
    with non_blocking(cupy) as stream:
        stream.begin_capture()
        with pytest.raises(runtime_error, match=error):
            refused(cupy, stream)
        with pytest.raises(runtime_error, match="StreamCaptureInvalidated"):
            stream.end_capture()


def test_a_captured_event_cannot_be_waited_for(cupy: Any) -> None:
    with captured(cupy, []) as stream:
        event = stream.record()
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="CapturedEvent"):
            event.synchronize()


def test_the_nodes_of_w1_are_listed_by_kernel(emulated_device: Any) -> None:
    found = [(steps, emulated_device.nodes(graph.graph)) for steps, graph in nodes.graphs()]
    assert {steps for steps, _ in found} == {1, 16}
    for steps, names in found:
        assert names.count("cublasGemmEx") == 11 * steps  # z, dW and db of three layers, dx of two
        assert names.count("foreach_sgd_kernel") == steps
        assert names.count("softmax_cross_entropy") == names.count("argmax_matches") == steps
        assert names.count("bias_relu_dropout") == names.count("relu_dropout_vjp") == 2 * steps
        assert names.count("threefry") == names.count("scaled_mask") == 3  # of all steps at once
        assert names.count("cupy_take") == 2
    assert min(len(names) for steps, names in found if steps == 16) <= 16 * 24  # the other takes norms


# Memory and kernels


def test_memory_of_another_device_is_an_illegal_address(cupy: Any) -> None:
    """Its address goes in as a number: CuPy would refuse the array."""
    x = cupy.ones(4, cupy.float32)
    kernel = cupy.RawKernel('extern "C" __global__ void other(float* x) { x[0] = 1; }', "other")
    with cupy.cuda.Device(1), pytest.raises(cupy.cuda.driver.CUDADriverError, match="memory of another device"):
        kernel((1,), (1,), (np.uint64(x.data.ptr),))


def test_new_memory_is_nan(cupy: Any) -> None:
    address = cupy.cuda.runtime.malloc(16)
    found = np.ctypeslib.as_array((ctypes.c_float * 4).from_address(address)).copy()
    cupy.cuda.runtime.free(address)
    assert np.isnan(found).all()


def test_threads_of_a_block_meet_at_syncthreads(cupy: Any) -> None:
    code = """
    extern "C" __global__ void reversed(const int* x, int* y) {
        __shared__ int shared[64];
        unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
        shared[threadIdx.x] = x[i];
        __syncthreads();
        y[i] = shared[blockDim.x - 1 - threadIdx.x];
    }"""
    x = cupy.arange(128, dtype=cupy.int32)
    y = cupy.empty_like(x)
    cupy.RawKernel(code, "reversed")((2,), (64,), (x, y))
    np.testing.assert_array_equal(y.get(), np.arange(128).reshape(2, 64)[:, ::-1].ravel())


def test_a_kernel_that_nvrtc_refuses_is_not_run(cupy: Any) -> None:
    """`std::hypot` of three numbers is one of the host's."""
    code = 'extern "C" __global__ void host_only(double* x) { x[0] = std::hypot(3.0, 4.0, 12.0); }'
    with pytest.raises(cupy.cuda.compiler.CompileException):
        cupy.RawKernel(code, "host_only")((1,), (1,), (cupy.ones(1),))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "bool"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_reductions_are_numpys(cupy: Any, dtype: str, axis: int | None) -> None:
    x = np.random.default_rng(0).integers(0, 3, (37, 53)).astype(dtype)
    for name in ("sum", "max", "argmax", "any"):
        actual, expected = getattr(cupy, name)(cupy.asarray(x), axis=axis), getattr(np, name)(x, axis=axis)
        np.testing.assert_array_equal(actual.get(), expected)
