"""Captured scans have the bits of an eager loop, on CuPy on an emulated CUDA device."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import numpy as np
import pytest

import nnbackprop as nb
from backends import leaves, tree_map
from backends.cuda.captured_scan import GRAPH_STEPS, MAX_GRAPHS
from tests.support.small_runs import fit_captured


def host(backend: Any, tree: Any) -> Any:
    return tree_map(backend.to_numpy, tree)


def values(array: Any) -> np.ndarray:
    """Of a CuPy array."""
    return array.get()


def captured(gpu: Any) -> int:
    return len(list(gpu._captured.graphs()))


def same(a: Any, b: Any) -> None:
    assert len(leaves(a)) == len(leaves(b))
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


@pytest.mark.parametrize("optimizer", [nb.SGD(), nb.Momentum(), nb.Adam()], ids=["sgd", "momentum", "adam"])
def test_training_run_has_the_bits_of_the_eager_loop(gpu: Any, eager: Any, optimizer: Any) -> None:
    """Dropout's masks, scalars by step, an epoch's ragged batch of 3 and chunks of other lengths are in it."""
    a, b = fit_captured(gpu, optimizer), fit_captured(eager, optimizer)
    same(host(gpu, a.state), host(eager, b.state))
    assert [row.train for row in a.history] == [row.train for row in b.history]
    assert [row.test for row in a.history] == [row.test for row in b.history]
    assert {steps for steps, _ in gpu._captured.graphs()} == {GRAPH_STEPS, 1}


def test_streamed_and_clipped_run_has_the_bits_of_the_eager_loop(gpu: Any, eager: Any) -> None:
    options = {
        "resident": "no",
        "optimizer": nb.GradientClipping(nb.SGD(), norm=0.1),
        "penalty": nb.WeightPenalty(l2=1e-3),
    }
    a, b = fit_captured(gpu, **options), fit_captured(eager, **options)
    same(host(gpu, a.state), host(eager, b.state))
    assert captured(gpu)


# What a scan may be given


def count(state: Any, data: Any, x: Any) -> Any:
    """A step that keeps, replaces and swaps arrays of its state, and adds to one in place."""
    total = state["total"]
    total += x["a"] * data["scale"]
    return {"right": state["left"] + x["a"], "left": state["right"], "kept": state["kept"], "total": total}


def initial_state(gpu: Any) -> Any:
    values = {"left": 1.0, "right": 2.0, "kept": 3.0, "total": 4.0}
    return {name: gpu.asarray(np.full(2, value)) for name, value in values.items()}


def make_batches(gpu: Any, steps: int, first: float = 0.0) -> Any:
    return {"a": gpu.asarray(first + np.arange(steps, dtype=float))}


def check_state(state: Any, numbers: np.ndarray, scale: float = 0.5) -> None:
    """That `count` makes of the initial state by steps with these numbers."""
    left, right, total = 1.0, 2.0, 4.0
    for a in numbers:
        left, right, total = right, left + a, total + a * scale
    for name, value in {"left": left, "right": right, "kept": 3.0, "total": total}.items():
        np.testing.assert_array_equal(values(state[name]), [value] * 2)


def data(gpu: Any, scale: float = 0.5) -> Any:
    return {"scale": gpu.asarray(np.asarray(scale))}


@pytest.mark.parametrize(
    "lengths", [(1, 1, 1, 1), (GRAPH_STEPS, GRAPH_STEPS), (100, 3, 64, 64, 1), (0, 5, 47, 33)]
)
def test_state_arrays_may_swap_and_chunk_lengths_may_change(gpu: Any, lengths: tuple[int, ...]) -> None:
    state, given, seen = initial_state(gpu), data(gpu), [np.zeros(0)]
    for length in lengths:
        numbers = make_batches(gpu, length, first=len(seen))
        seen.append(values(numbers["a"]))
        state = gpu.scan(count, dict(reversed(state.items())), given, numbers)
        np.testing.assert_array_equal(values(numbers["a"]), seen[-1])
    assert captured(gpu)
    check_state(state, np.concatenate(seen))


def test_step_is_captured_once_and_then_replayed(gpu: Any) -> None:
    calls = []

    def step(state: Any, given: Any, x: Any) -> Any:
        calls.append(x)
        return count(state, given, x)

    state, given = initial_state(gpu), data(gpu)
    state = gpu.scan(step, state, given, make_batches(gpu, 2 * GRAPH_STEPS))
    assert (len(calls), captured(gpu)) == (2 * GRAPH_STEPS, 1)  # eagerly, then while it is captured
    for _ in range(3):
        state = gpu.scan(step, state, given, make_batches(gpu, 10 * GRAPH_STEPS))
    assert (len(calls), captured(gpu)) == (2 * GRAPH_STEPS, 1)


def test_last_makes_the_last_step_alone(gpu: Any) -> None:
    def add(state: Any, given: Any, x: Any) -> Any:
        return (state[0] + x["a"], state[1])

    def note(state: Any, given: Any, x: Any) -> Any:
        return (state[0] + x["a"], state[1] + x["a"] * 10)

    state = tuple(gpu.asarray(np.asarray(0.0)) for _ in range(2))
    for first in (0.0, 100.0, 200.0):
        before, noted = float(state[0]), float(state[1])
        state = gpu.scan(add, state, (), make_batches(gpu, 3 * GRAPH_STEPS + 2, first), note)
        numbers = first + np.arange(3 * GRAPH_STEPS + 2)
        assert [float(a) for a in state] == [before + numbers.sum(), noted + 10 * numbers[-1]]


def test_copies_of_a_state_stay_and_replaced_arrays_are_read(gpu: Any, eager: Any) -> None:
    """A trainer keeps snapshots, sets the sums to zero between chunks, and may restore its best weights."""
    given = data(gpu)
    state = gpu.scan(count, initial_state(gpu), given, make_batches(gpu, 3 * GRAPH_STEPS))
    snapshot = tree_map(lambda a: gpu.xp.asarray(a, copy=True), state)
    kept = host(gpu, snapshot)
    for _ in range(2):
        state = gpu.scan(
            count, {**state, "total": gpu.asarray(np.full(2, 7.0))}, given, make_batches(gpu, GRAPH_STEPS)
        )
    same(host(gpu, snapshot), kept)
    np.testing.assert_array_equal(values(state["total"]), [7.0 + sum(range(GRAPH_STEPS)) / 2] * 2)
    again = gpu.scan(count, snapshot, given, make_batches(gpu, GRAPH_STEPS))
    expected = eager.scan(count, tree_map(eager.asarray, kept), data(eager), make_batches(eager, GRAPH_STEPS))
    same(host(gpu, {k: again[k] for k in sorted(again)}), host(eager, {k: expected[k] for k in sorted(expected)}))


def test_each_data_argument_is_read_at_its_own_address(gpu: Any) -> None:
    for scale in (0.5, 2.0, 0.5):
        state = gpu.scan(count, initial_state(gpu), data(gpu, scale), make_batches(gpu, 3 * GRAPH_STEPS))
        check_state(state, np.arange(3 * GRAPH_STEPS), scale)


def test_changed_data_is_read_anew(gpu: Any) -> None:
    """Parameters are among the data of an evaluation, and training writes to them in between."""
    given, state = data(gpu), initial_state(gpu)
    state = gpu.scan(count, state, given, make_batches(gpu, 3 * GRAPH_STEPS))
    given["scale"][...] = 0.0
    before = host(gpu, state)["total"]
    state = gpu.scan(count, state, given, make_batches(gpu, 3 * GRAPH_STEPS))
    np.testing.assert_array_equal(values(state["total"]), before)


def test_one_array_in_two_places_of_a_state_becomes_two(gpu: Any) -> None:
    def step(state: Any, given: Any, x: Any) -> Any:
        first, second = state
        first += x["a"]
        return first, second * 1.0

    for steps in (2 * GRAPH_STEPS, 2 * GRAPH_STEPS):
        zero = gpu.asarray(np.zeros(2))
        state = gpu.scan(step, (zero, gpu.asarray(np.zeros(2))), (), make_batches(gpu, GRAPH_STEPS))
        shared = state[1]
        state = gpu.scan(step, (shared, shared), (), make_batches(gpu, steps))
    np.testing.assert_array_equal(
        values(state[0]), [sum(range(GRAPH_STEPS)) + sum(range(GRAPH_STEPS, 2 * GRAPH_STEPS))] * 2
    )
    np.testing.assert_array_equal(values(state[1]), [0.0, 0.0])


# Several states of one step


def test_two_states_take_turns_in_one_captured_step(gpu: Any) -> None:
    """Each has the numbers that it has by itself, and neither overwrites the other."""
    given = data(gpu)
    states, numbers = [initial_state(gpu), initial_state(gpu)], [np.zeros(0), np.zeros(0)]
    for chunk in range(5):
        for k in range(2):
            new = make_batches(gpu, GRAPH_STEPS + chunk % 2, first=100 * chunk + 7 * k)
            numbers[k] = np.concatenate([numbers[k], values(new["a"])])
            states[k] = gpu.scan(count, states[k], given, new)
    assert captured(gpu)
    for state, seen in zip(states, numbers, strict=True):
        check_state(state, seen)


def test_a_result_that_is_kept_is_not_overwritten(gpu: Any) -> None:
    """An evaluation starts from new sums each time; the caller may read the results later, or keep one array."""
    given = data(gpu)
    kept = [
        gpu.scan(count, initial_state(gpu), given, make_batches(gpu, GRAPH_STEPS, first))["total"]
        for first in range(5)
    ]
    for first, total in enumerate(kept):
        np.testing.assert_array_equal(values(total), [4.0 + (first + np.arange(GRAPH_STEPS)).sum() / 2] * 2)


def test_buffers_of_a_dropped_state_are_reused(gpu: Any) -> None:
    given = data(gpu)
    for _ in range(6):
        gpu.scan(count, initial_state(gpu), given, make_batches(gpu, GRAPH_STEPS))
    assert captured(gpu) == 1


def test_captured_data_does_not_count_as_a_held_state(gpu: Any) -> None:
    """An evaluation captured on the parameters keeps their memory; the training step may reuse it all the same."""
    given = data(gpu)

    def evaluate(state: Any, params: Any, x: Any) -> Any:
        return {"sum": state["sum"] + params["total"]}

    for _ in range(4):
        state = gpu.scan(count, initial_state(gpu), given, make_batches(gpu, GRAPH_STEPS))
        result = gpu.scan(evaluate, {"sum": gpu.asarray(np.zeros(2))}, state, make_batches(gpu, GRAPH_STEPS))
        np.testing.assert_array_equal(values(result["sum"]), GRAPH_STEPS * values(state["total"]))
        del state, result
    assert captured(gpu) == 2


# Steps that cannot be captured


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("record", MemoryError("no block of 512 bytes")),
        ("record", RuntimeError("is capturing.")),
        ("copy", MemoryError("no block of 512 bytes")),
    ],
)
def test_step_that_cannot_be_captured_warns_once_and_runs_eagerly(
    gpu: Any, eager: Any, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    def refuse(self: Any, argument: Any) -> Any:
        raise error

    monkeypatch.setattr(type(gpu._captured._recorder), method, refuse)
    state, expected = initial_state(gpu), initial_state(eager)
    with warnings.catch_warnings(record=True, action="always") as caught:
        for _ in range(3):
            state = gpu.scan(count, state, data(gpu), make_batches(gpu, 40))
            expected = eager.scan(count, expected, data(eager), make_batches(eager, 40))
    same(host(gpu, state), host(eager, expected))
    assert [str(w.message) for w in caught] == [
        f"A step cannot be captured as a CUDA graph ({type(error).__name__}: {str(error).rstrip('.')}). "
        "It goes on kernel by kernel, with the same numbers and more slowly."
    ]
    assert caught[0].filename == __file__


def test_an_error_of_the_step_is_raised_without_a_warning(gpu: Any) -> None:
    def step(state: Any, given: Any, x: Any) -> Any:
        raise ValueError("shapes do not fit")

    with pytest.raises(ValueError, match="shapes do not fit"):  # and no warning, which here would be an error
        gpu.scan(step, initial_state(gpu), data(gpu), make_batches(gpu, 40))


# Lifetime of graphs


def test_graphs_are_bounded_cleared_and_freed_with_their_step(gpu: Any) -> None:
    def add(state: Any, given: Any, x: Any) -> Any:
        return state + x

    def run(step: Any, width: int) -> None:
        for _ in range(2):
            gpu.scan(step, gpu.asarray(np.zeros(width)), (), gpu.asarray(np.zeros((1, width))))

    for width in range(1, MAX_GRAPHS + 4):
        run(add, width)
    assert captured(gpu) == MAX_GRAPHS
    gpu.empty_cache()
    assert captured(gpu) == 0
    run(add, 1)
    assert [steps for steps, _ in gpu._captured.graphs()] == [1]
    del add
    gc.collect()
    assert captured(gpu) == 0
